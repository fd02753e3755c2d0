"""Check names that come from files before they become paths: the one place for it.

Sidecars, ledger, annotations, manifests and imports are written by others. A name in them is used
in a path only after `check_name`, `check_rows` or `shard_file`.
"""

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from avstore.manifests.store import Store, StoreError, sidecar_of

if TYPE_CHECKING:
    import pyarrow as pa

_WORD = r"[A-Za-z0-9_-]{1,200}"
_PATTERNS = {
    "dataset": _WORD,
    "feature": _WORD,
    "key": _WORD,
    "split": _WORD,
    "recipe": r"[a-z][a-z0-9_]{0,99}",
    "fingerprint": r"[0-9a-f]{64}",
    "sha256": r"[0-9a-f]{64}",
    "clip_id": f"{_WORD}/{_WORD}",
    "snapshot": r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}",
    "stream": r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}",
    "shard": rf"shards/{_WORD}/{_WORD}/{_WORD}-[0-9]{{6,9}}(\.{_WORD})?\.tar",
}
_COMPILED = {kind: re.compile(pattern) for kind, pattern in _PATTERNS.items()}


def is_name(kind: str, value: object) -> bool:
    """Return whether a value is a valid name of its kind: dataset, key, split, recipe, shard, …."""
    return isinstance(value, str) and _COMPILED[kind].fullmatch(value) is not None


def check_name(kind: str, value: object, where: str = "") -> str:
    """Return the value if it is a valid name of its kind.

    Args:
        kind: dataset, key, split, recipe, feature, fingerprint, sha256, clip_id, snapshot or shard.
        value: The name.
        where: The file that it is from, for the error message.

    Raises:
        StoreError: It is not.
    """
    if is_name(kind, value):
        return str(value)
    place = f"{where}: " if where else ""
    expected = "the name of a shard" if kind == "shard" else f"a {kind} of letters, digits, - and _"
    raise StoreError(f"{place}{kind} {str(value)[:200]!r} is not {expected}")


def check_rows(table: "pa.Table", kinds: dict[str, str], where: str) -> None:
    """Check the names in columns of a table.

    Args:
        table: The rows.
        kinds: Kind of name by column.
        where: The file that the rows are from, for the error message.

    Raises:
        StoreError: A name is missing or invalid.
    """
    import pyarrow.compute as pc  # noqa: PLC0415 -- heavy, and most commands need names alone

    for column, kind in kinds.items():
        values = table[column]
        valid = pc.match_substring_regex(values, rf"\A(?:{_PATTERNS[kind]})\z")
        if not pc.all(pc.fill_null(valid, False), min_count=0).as_py():
            wrong = next(value for value in values.to_pylist() if not is_name(kind, value))
            check_name(kind, wrong, where)


def is_relative(path: str) -> bool:
    """Return whether a path is relative and stays below its folder."""
    parts = PurePosixPath(path).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and "\0" not in path


def check_relative(name: str, what: str = "file") -> str:
    """Return the path if it is relative and stays below its folder.

    Raises:
        StoreError: It is absolute, or leads out of its folder.
    """
    if is_relative(name):
        return name
    raise StoreError(f"{what} {name[:200]!r} is not a path below its folder")


def shard_file(store: Store, name: object) -> Path:
    """Return the file of a shard that a table or another file names.

    Raises:
        StoreError: It is not the name of a shard.
    """
    return store.root / check_name("shard", name)


def sidecar_file(store: Store, name: object) -> Path:
    """Return the sidecar of a shard that a table or another file names; as `shard_file`."""
    return store.root / sidecar_of(check_name("shard", name))
