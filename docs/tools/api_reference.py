"""Generate the API pages: one entry for each name that a package exports."""

import importlib
import inspect
from types import ModuleType
from typing import get_type_hints

import avstore
from docs.tools.docstrings import cell, summary, table

PACKAGES = {
    "avstore.train.data": "reference/train_data.md",
    "avstore.train.data.spatial": "reference/spatial.md",
    "avstore.manifests": "reference/manifests.md",
}
"""Package -> its page under docs/."""


def index() -> str:
    """Return the page of what `import avstore` offers."""
    rows = [
        (f"[`{name}`][{identifier('avstore', name)}]", _first_line(getattr(avstore, name)))
        for name in avstore.__all__
        if not name.startswith("_")
    ]
    lines = ["# API", "", "`import avstore` offers what a notebook needs. Each name is imported "
             "when it is first used.", ""]  # fmt: skip
    lines += table(("name", "purpose"), rows)
    lines += ["Everything else is in the packages:", ""]
    for package, path in PACKAGES.items():
        purpose = _first_line(importlib.import_module(package))
        lines += [f"- [`{package}`]({path.rpartition('/')[2]}): {purpose}"]
    return "\n".join(lines) + "\n"


def page(package: str) -> str:
    """Return a package's page, rendered by mkdocstrings from the docstrings."""
    module = importlib.import_module(package)
    lines = [f"# {package}", "", summary(module), ""]
    documented = [identifier(package, name) for name in module.__all__]
    documented += [result for result in _results(module) if result not in documented]
    for path in documented:
        lines += [f"::: {path}", ""]
    return "\n".join(lines)


def _results(module: ModuleType) -> list[str]:
    """Return the classes that the exported functions return, in order, each once."""
    functions = [
        held for name in module.__all__ if inspect.isfunction(held := getattr(module, name))
    ]
    kinds = [get_type_hints(function).get("return") for function in functions]
    own = [
        kind for kind in kinds if inspect.isclass(kind) and kind.__module__.startswith("avstore")
    ]
    return list(dict.fromkeys(f"{kind.__module__}.{kind.__name__}" for kind in own))


def identifier(package: str, name: str) -> str:
    """Return where an exported name is defined: a module may hide a function of its name."""
    held = getattr(importlib.import_module(package), name)
    home = held.__module__ if inspect.isclass(held) or inspect.isfunction(held) else package
    return f"{home}.{name}"


def _first_line(documented: object) -> str:
    return cell(summary(documented).split("\n\n")[0])
