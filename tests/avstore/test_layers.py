"""Imports point down, as docs/architecture.md orders the rooms; imports by name are imports too."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.conftest import REPO

FOLDERS = {
    "avstore": "avstore",
    "av_datasets": "datasets",
    "manifests": "manifests",
    "pipelines": "pipelines",
    "train": "train",
}
BASE = {"datasets", "manifests"}
STEPS = {"pipelines.fetch", "pipelines.extract", *BASE}
BUILD = {"pipelines.build", *STEPS}
FEATURES = {"pipelines.features", *BUILD}
CLI = {"pipelines.interchange", "pipelines.report", "pipelines.browse", *FEATURES}
# Room: the rooms that it may import. `train` from the CLI only inside functions.
ALLOWED: dict[str, set[str]] = {
    "avstore": {"pipelines.cli", "train", "manifests"},
    "pipelines.cli": CLI,
    "pipelines.interchange": FEATURES,
    "pipelines.report": {"pipelines.browse", *FEATURES},
    "pipelines.browse": FEATURES,
    "pipelines.features": BUILD,
    "pipelines.build": STEPS,
    "pipelines.fetch": BASE,
    "pipelines.extract": BASE,
    "train": BASE,
    "manifests": set(),
    "datasets": set(),
    "pipelines": set(),
}
# (file, imported room) of imports that are still to be removed.
KNOWN_VIOLATIONS: set[tuple[str, str]] = set()
_MODULE_NAME = re.compile(r"avstore(\.\w+)+[.:\w]*")
_TOP_LEVEL = re.compile(r"(av_datasets|manifests|pipelines|train)(\.|$)")
_TOP_LEVEL_CODE = re.compile(
    r"(^|\n|;)\s*(from (av_datasets|manifests|pipelines|train)[.\w]* import\b"
    r"|import (av_datasets|manifests|pipelines|train)\b)"
)


def room_of(module: str) -> str:
    """Return the room of an imported name, such as pipelines.build for avstore.pipelines.build.x.

    The root's own names are imported from train, all but the version.
    """
    parts = module.removesuffix(".").replace(":", ".").split(".")[1:]
    if parts[:1] == ["pipelines"] and len(parts) > 1:
        return ".".join(parts[:2])
    if parts == ["__version__"]:
        return ""
    if not parts:
        return "avstore"
    return parts[0] if parts[0] in ALLOWED else "train"


def room_of_file(path: str) -> str:
    """Return the room that a file belongs to."""
    parts = path.split("/")
    if parts[0] == "pipelines" and len(parts) > 2:
        return ".".join(parts[:2])
    return FOLDERS[parts[0]]


def imported_names(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Yield what a module imports: by statements, and by strings that name a module of avstore."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Constant) and _is_module_name(node.value):
            yield node, node.value


def _is_module_name(value: object) -> bool:
    """Return whether a constant names a module of avstore; entry point groups only look like it."""
    if not isinstance(value, str) or value == "avstore.extractors":
        return False
    return _MODULE_NAME.fullmatch(value) is not None


# Import what a table or a user names; what they may reach is in the table or the user's own.
_IMPORT_BY_NAME = {"av_datasets/references.py", "av_datasets/registry.py", "pipelines/cli/app.py"}
_DYNAMIC = {"import_module", "__import__", "exec", "eval", "run_module", "run_path"}


def dynamic_imports(tree: ast.AST) -> Iterator[str]:
    """Yield calls that import a name which cannot be read from the source."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
        if name not in _DYNAMIC or (name == "eval" and isinstance(called, ast.Attribute)):
            continue  # model.eval() is no import
        first = node.args[0] if node.args else None
        absolute = isinstance(first, ast.Constant) and not str(first.value).startswith(".")
        if name in {"exec", "eval"} or not absolute:
            yield ast.unparse(called)


def violations(path: str, source: str) -> set[tuple[str, str]]:
    """Return (file, imported room) of every import that does not point down."""
    tree = ast.parse(source)
    room = room_of_file(path)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    found = set()
    for node, name in imported_names(tree):
        if name.startswith("."):
            found.add((path, name))  # relative imports are not used
        if name.split(".")[0] != "avstore":
            continue
        target = room_of(name)
        allowed = ALLOWED[room] | {room, ""}
        if room == "pipelines.cli" and id(node) in inside and not isinstance(node, ast.Constant):
            allowed |= {"train"}
        if target not in allowed:
            found.add((path, target))
    if path not in _IMPORT_BY_NAME:
        found |= {(path, called) for called in dynamic_imports(tree)}
    return found


def top_level_imports(source: str) -> set[str]:
    """Return imports of the folders under their own names, which exist only in a clone."""
    tree = ast.parse(source)
    found = {
        name
        for node, name in imported_names(tree)
        if not isinstance(node, ast.Constant) and _TOP_LEVEL.match(name)
    }
    for node in ast.walk(tree):
        texts = [n.value for n in ast.iter_child_nodes(node) if isinstance(n, ast.Constant)]
        names = [b for a, b in pairwise(texts) if a == "-m"]
        if isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            names += texts[:1]
        found |= {n for n in names if isinstance(n, str) and _TOP_LEVEL.match(n)}
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {match[0].strip() for match in _TOP_LEVEL_CODE.finditer(node.value)}
    return found


def sources(*folders: str) -> dict[str, str]:
    """Return the sources under folders by path; links are not followed."""
    paths = [path for folder in folders for path in sorted((REPO / folder).rglob("*.py"))]
    return {str(path.relative_to(REPO)): path.read_text() for path in paths}


def own_sources() -> dict[str, str]:
    root = {f"avstore/{name}": (REPO / "avstore" / name) for name in ("__init__.py", "__main__.py")}
    return {
        **{path: file.read_text() for path, file in root.items()},
        **sources("av_datasets", "manifests", "pipelines", "train"),
    }


def test_imports_point_down() -> None:
    found = {each for path, source in own_sources().items() for each in violations(path, source)}
    assert found == KNOWN_VIOLATIONS


def test_every_room_is_in_the_order() -> None:
    assert {room_of_file(path) for path in own_sources()} == ALLOWED.keys()


def test_no_file_imports_a_folder_as_a_top_level_package() -> None:
    every = own_sources() | sources("tests", "benchmarks")
    del every["tests/avstore/test_layers.py"]  # whose examples are such imports
    found = {path: names for path, source in every.items() if (names := top_level_imports(source))}
    assert found == {}


@pytest.mark.parametrize(
    ("path", "source", "target"),
    [
        ("manifests/x.py", "from avstore.pipelines.build import driver", "pipelines.build"),
        ("manifests/x.py", "import avstore.datasets.spec", "datasets"),
        ("manifests/x.py", "def f():\n    from avstore import Loader", "train"),
        ("av_datasets/x.py", "import avstore", "avstore"),
        ("pipelines/fetch/x.py", "from avstore.pipelines import build", "pipelines.build"),
        ("pipelines/fetch/x.py", "import_module('avstore.train.data')", "train"),
        ("pipelines/build/x.py", "__import__(f'avstore.pipelines.cli.{name}')", "pipelines.cli"),
        ("train/x.py", "run([python, '-m', 'avstore.pipelines.build.x'])", "pipelines.build"),
        ("train/x.py", "METHOD = 'avstore.pipelines.build.driver:build'", "pipelines.build"),
        ("pipelines/cli/x.py", "from avstore.train import data", "train"),
        ("pipelines/cli/x.py", "def f():\n    import_module('avstore.train')", "train"),
        ("train/x.py", "from ..pipelines import build", "..pipelines.build"),
        ("train/x.py", "import_module('.pipelines.build', 'avstore')", "import_module"),
        ("train/x.py", "importlib.import_module('avstore.' + name)", "importlib.import_module"),
        ("train/x.py", "import_module('.'.join(['avstore', 'pipelines']))", "import_module"),
        ("train/x.py", "__import__(f'{P}.pipelines.build')", "__import__"),
        ("train/x.py", "exec('from avstore.pipelines import build')", "exec"),
    ],
)
def test_an_import_upwards_is_found(path: str, source: str, target: str) -> None:
    assert (path, target) in violations(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("pipelines/cli/x.py", "def f():\n    from avstore.train import data"),
        ("pipelines/cli/x.py", "from avstore import __version__"),
        ("pipelines/build/x.py", "from avstore.pipelines.fetch.source import Source"),
        ("train/x.py", "model.eval(); import_module('json')"),
        ("train/x.py", '"""Like avstore.pipelines.build, but other."""'),
    ],
)
def test_an_import_downwards_is_allowed(path: str, source: str) -> None:
    assert violations(path, source) == set()


@pytest.mark.parametrize(
    "source",
    [
        "import train",
        "from pipelines.build import driver",
        "importlib.import_module('manifests.store')",
        "run([python, '-m', 'train.run'])",
        "CODE = 'import os; from train.data import Loader'",
    ],
)
def test_an_import_of_a_folder_is_found(source: str) -> None:
    assert top_level_imports(source)
