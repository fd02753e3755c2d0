"""List the files of a store that carry a seal, and seal those that older versions wrote."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from avstore.manifests.annotation_sets import annotation_files
from avstore.manifests.sealed import (
    CheckedFiles,
    DamagedFileError,
    check_files,
    html_bytes,
    json_bytes,
    parquet_bytes,
    parse_json,
)
from avstore.manifests.store import Store, committing

LOG_PATTERN = "attempts-*.jsonl.part"
_WHOLE_LINE = re.compile(rb'avstore-seal:[0-9a-f]{64}"}')  # perhaps with a damaged newline


def indexed_files(store: Store) -> list[Path]:
    """Return the files that a manifest is made from."""
    return [
        *store.sidecars(),
        *store.feature_sidecars(),
        *sorted(store.ledger.glob("*.parquet")),
        *annotation_files(store),
    ]


def other_files(store: Store) -> list[Path]:
    """Return the other files with a seal: replaced annotations, reports, facts of snapshots."""
    patterns = ("ledger/annotations/*/*/*.parquet", "reports/*.html", "snapshots/*.json")
    found = (path for pattern in patterns for path in sorted(store.root.glob(pattern)))
    indexed = set(indexed_files(store))
    return [path for path in found if path not in indexed]


def all_files(store: Store) -> list[Path]:
    """Return all files that carry a seal, without logs of attempts, whose lines carry one each."""
    return [*indexed_files(store), *other_files(store)]


def seal_older_files(checked: CheckedFiles) -> CheckedFiles:
    """Write files without a seal again, with the same contents and a seal; check them.

    Returns:
        All files, with the state after that.
    """
    for path in checked.unsealed:
        content = path.read_bytes()
        match path.suffix:
            case ".parquet":
                content = parquet_bytes(pq.read_table(path))
            case ".json":
                content = json_bytes(json.loads(content), indent=1)
            case _:
                content = html_bytes(content.decode())
        mode = path.stat().st_mode
        with committing(path) as file:
            file.write(content)
        path.chmod(mode)
    again = check_files(checked.unsealed)
    return CheckedFiles(
        {**checked.digits, **again.digits}, {**checked.damage, **again.damage}, again.unsealed
    )


def damaged_lines(log: Path) -> Iterator[int]:
    """Yield the numbers of the damaged lines of a log of attempts, from 1.

    A torn last line, as a power failure leaves it, is not damage.
    """
    lines = _lines(log)
    for number, line in enumerate(lines, start=1):
        torn = number == len(lines) and not _WHOLE_LINE.search(line)
        if line and not torn and _row(line) is None:
            yield number


def sound_lines(log: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a log of attempts that agree with their seals."""
    return (row for line in _lines(log) if line and (row := _row(line)) is not None)


def _lines(log: Path) -> list[bytes]:
    try:
        return log.read_bytes().split(b"\n")
    except FileNotFoundError:  # its run has ended meanwhile
        return []


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        return parse_json(line)
    except DamagedFileError:
        return None
