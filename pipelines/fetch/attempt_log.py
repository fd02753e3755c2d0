"""The log of attempts: every row survives a kill at once, and ends up as Parquet in the ledger.

Rows go to `ledger/attempts-<run>-<n>.jsonl.part`, one write each, and are folded into
`ledger/attempts-<run>-<n>.parquet` every `FOLD_ROWS` rows and at the end. What a killed run left
is folded by `recover`. A torn last line (the machine lost power while writing) is dropped.
"""

import json
import os
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avstore.pipelines.fetch.source import FetchResult

#: Columns as the manifest's table `attempts`.
ATTEMPTS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("stage", pa.string()),
        ("started_at", pa.timestamp("us")),
        ("seconds", pa.float64()),
        ("outcome", pa.string()),
        ("error_class", pa.string()),
        ("error_message", pa.string()),
        ("tool_version", pa.string()),
        ("run_id", pa.string()),
        ("path", pa.string()),
        ("offset_s", pa.float64()),
        ("not_before", pa.timestamp("us")),
        ("charged", pa.bool_()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
    ]
)
FOLD_ROWS = 50_000
_SYNC_EVERY_S = 0.2
_SUFFIX = ".jsonl.part"


class AttemptLog:
    """Appends attempts of one run. Not for use by two processes at once."""

    def __init__(self, store: Path, run_id: str) -> None:
        self.folder = store / "ledger"
        self.run_id = run_id
        self._number = 0
        self._rows = 0
        self._handle: int | None = None
        self._synced_at = 0.0

    def append(self, fetched: FetchResult, stage: str = "fetch") -> None:
        """Write one attempt down; a killed process cannot lose it.

        It is on the disk itself at once where a later attempt may follow (status retryable), else
        within a fraction of a second of the next row, so that 200,000 files need no such syncs.
        """
        line = json.dumps(to_row(fetched, self.run_id, stage), default=_iso) + "\n"
        handle = self._open()
        os.write(handle, line.encode())
        if fetched.status == "retryable" or time.monotonic() - self._synced_at > _SYNC_EVERY_S:
            os.fsync(handle)
            self._synced_at = time.monotonic()
        self._rows += 1
        if self._rows >= FOLD_ROWS:
            self._fold()

    def close(self) -> None:
        """Fold what was appended into Parquet."""
        self._fold()

    def _open(self) -> int:
        if self._handle is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            part = self._part()
            self._handle = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_EXCL, 0o644)
            _sync_folder(self.folder)
        return self._handle

    def _part(self) -> Path:
        return self.folder / f"attempts-{self.run_id}-{self._number:04d}{_SUFFIX}"

    def _fold(self) -> None:
        if self._handle is None:
            return
        os.fsync(self._handle)
        os.close(self._handle)
        self._handle = None
        fold(self._part())
        self._number += 1
        self._rows = 0


def to_row(fetched: FetchResult, run_id: str, stage: str) -> dict[str, Any]:
    """The attempt as a row of `ATTEMPTS`."""
    row = asdict(fetched)
    row["outcome"] = row.pop("status")
    row["error_class"] = row.pop("verdict")
    row["error_message"] = row.pop("message") or None
    return {**row, "stage": stage, "run_id": run_id}


def recover(store: Path) -> int:
    """Fold the logs that killed runs left; how many. Only with the store's lock held."""
    parts = sorted((store / "ledger").glob(f"attempts-*{_SUFFIX}"))
    for part in parts:
        fold(part)
    return len(parts)


def fold(part: Path) -> None:
    """Make a log Parquet, then remove it. Killed in between, it does the same again."""
    rows, damaged = _read(part)
    if rows:
        target = part.with_name(part.name.removesuffix(_SUFFIX) + ".parquet")
        temp = target.with_name(f".{target.name}.tmp")
        with temp.open("wb") as file:
            pq.write_table(pa.Table.from_pylist(rows, schema=ATTEMPTS), file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temp.replace(target)
    if damaged:
        part.rename(part.with_name(part.name + ".damaged"))
    else:
        part.unlink()
    _sync_folder(part.parent)


def _read(part: Path) -> tuple[list[dict[str, Any]], bool]:
    """The rows of a log; whether a line other than a torn last one could not be read."""
    rows, damaged = [], False
    lines = part.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
            for name in ("started_at", "not_before"):
                row[name] = datetime.fromisoformat(row[name]) if row[name] else None
        except (ValueError, KeyError, TypeError):
            damaged = damaged or number < len(lines)
            continue
        rows.append(row)
    return rows, damaged


def _iso(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} has no place in a ledger row")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
