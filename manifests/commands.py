"""Write the command lines that messages print, so that they work when they are copied.

Programs are named as the current shell finds them, words are quoted, paths are relative if shorter.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

BY_MAKE = "AVSTORE_BY_MAKE"
"""Set by the Makefile: commands that have a make target are then printed as one."""

Word = str | Path


def avstore(*words: Word, store: Word | None = None) -> str:
    """Return a line that calls `avstore`.

    Args:
        words: Subcommand, options and arguments; a Path is made short.
        store: The store, added as --store.

    Example:
        >>> avstore("index", store="my data").endswith("avstore index --store 'my data'")
        True
    """
    place: tuple[Word, ...] = () if store is None else ("--store", short_path(store))
    return _line(*_program("avstore"), *words, *place)


def train(shards: Word, *words: Word) -> str:
    """Return a line that calls train/run.py, or its module where there is no clone.

    Args:
        shards: The store or its folder of shards.
        words: Further options.
    """
    return _script("run", shards, words)


def evaluate(shards: Word, *words: Word) -> str:
    """Return a line that calls train/evaluate.py, as `train` does train/run.py."""
    return _script("evaluate", shards, words)


def _script(name: str, shards: Word, words: Sequence[Word]) -> str:
    here = Path(f"train/{name}.py")
    own = Path(__file__).parents[1] / here
    is_clone = here.is_file() and own.is_file() and here.samefile(own)
    module = ".".join(("avstore", *here.with_suffix("").parts))
    script = (str(here),) if is_clone else ("-m", module)
    return _line(*_program("python"), *script, "--shards", short_path(shards), *words)


def build(
    dataset: str,
    store: Word,
    source: Word | None = None,
    annotations: Word | None = None,
) -> str:
    """Return a line that builds a dataset: by make for a user of the Makefile.

    Args:
        dataset: Name of the dataset.
        store: The store.
        source: The videos; None for the embedded sample.
        annotations: The annotation file.
    """
    given = {"SOURCE": source, "ANNOTATIONS": annotations, "STORE": store}
    values = {name: short_path(value) for name, value in given.items() if value is not None}
    if by_make():
        pairs = (f"{name}={_make_value(value)}" for name, value in values.items())
        return " ".join(["make", f"{dataset}-shards", *pairs])
    words = [word for name, value in values.items() for word in (f"--{name.lower()}", value)]
    return avstore("build", dataset, *words)


def pip(extra: str) -> str:
    """Return the line that installs an extra of avstore, from the clone if it runs from one."""
    python = _program("python")
    root = Path(__file__).resolve().parents[1]
    if (root / "pyproject.toml").is_file():
        place = short_path(root)
        return _line(*python, "-m", "pip", "install", "-e", f"{place}[{extra}]")
    return _line(*python, "-m", "pip", "install", f"avstore[{extra}]")


def make_store(place: Word) -> str:
    """Return what to do where a store has no manifest, with the command line."""
    if (Path(place) / "ledger").is_dir():
        return f"to rebuild it from the shards, run: {avstore('index', store=place)}"
    return f"give the folder of a store, or build the sample there, run: {build('vggsound', place)}"


def by_make() -> bool:
    """Return whether the user called make."""
    return bool(os.environ.get(BY_MAKE))


def short_path(path: Word) -> str:
    """Return a path relative to the current directory if that is shorter; an address as it is."""
    text = str(path)
    if "://" in text:
        return text
    try:
        absolute = os.path.abspath(text)
        text = min(os.path.relpath(absolute), absolute, key=len)
    except OSError:  # the current directory was removed
        return text
    return f"./{text}" if text.startswith("-") else text


def quote(word: object) -> str:
    r"""Return a word of a shell command, quoted where needed; `$'caf\xe9'` if it is not UTF-8."""
    text = str(word)
    if text.isprintable():
        return shlex.quote(text)
    octets = (chr(x) if 32 <= x < 127 and x not in b"'\\" else f"\\x{x:02x}" for x in _bytes(text))
    return f"$'{''.join(octets)}'"


def _bytes(text: str) -> bytes:
    return os.fsencode(text.encode(errors="replace") if _unpaired(text) else text)


def _unpaired(text: str) -> bool:
    """Return whether a text has surrogates that stand for no byte of a file name."""
    return any("\ud800" <= x <= "\udfff" and not "\udc80" <= x <= "\udcff" for x in text)


def _make_value(value: str) -> str:
    """Return a value of a make variable, quoted for the shell; make expands dollars."""
    return quote(value.replace("$", "$$"))


def _line(*words: Word) -> str:
    return " ".join(quote(short_path(x) if isinstance(x, Path) else x) for x in words)


def _program(name: str) -> tuple[str, ...]:
    """Return how the current shell calls a program of this environment."""
    folder = Path(sys.executable).parent
    found = shutil.which(name)
    if found and Path(found).parent.resolve() == folder.resolve():
        return (name,)
    if (folder / name).is_file():
        return (short_path(folder / name),)
    python = short_path(sys.executable or "python3")
    return (python,) if name == "python" else (python, "-m", name)
