"""Log attempts so that a killed run loses none, and keep them as Parquet in the ledger.

Each row is written at once to `ledger/attempts-<run>-<n>.jsonl.part`. A part is converted to
`ledger/attempts-<run>-<n>.parquet` every `PART_ROWS` rows and at the end of the run;
`recover_attempts` converts what a killed run left. A torn last line (power was lost while it was
written) is dropped.
"""

import os
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from avstore.manifests.sealed import json_bytes, parse_json, write_parquet
from avstore.manifests.store import sync_folder
from avstore.pipelines.fetch.source import FetchResult

#: The columns of the manifest's table `attempts`.
ATTEMPTS_SCHEMA = pa.schema(
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
PART_ROWS = 50_000
_SYNC_EVERY_S = 0.2
_SUFFIX = ".jsonl.part"


class AttemptLog:
    """The attempts of one run; used by one process at a time."""

    def __init__(self, store: Path, run_id: str) -> None:
        self.folder = store / "ledger"
        self.run_id = run_id
        self._number = 0
        self._rows = 0
        self._handle: int | None = None
        self._synced_at = 0.0

    def append(self, result: FetchResult, stage: str = "fetch") -> None:
        """Write one attempt, so that it survives a kill of this process.

        It is synced to disk at once where another attempt may follow (status retryable). Other
        rows are synced at most every `_SYNC_EVERY_S`, since 200,000 local files need no more.
        """
        line = json_bytes(to_row(result, self.run_id, stage), default=_encode_time)
        handle = self._open()
        os.write(handle, line + b"\n")
        if result.status == "retryable" or time.monotonic() - self._synced_at > _SYNC_EVERY_S:
            os.fsync(handle)
            self._synced_at = time.monotonic()
        self._rows += 1
        if self._rows >= PART_ROWS:
            self._convert()

    def close(self) -> None:
        """Convert the rows to Parquet."""
        self._convert()

    def _open(self) -> int:
        if self._handle is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            part = self._part()
            self._handle = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_EXCL, 0o644)
            sync_folder(self.folder)
        return self._handle

    def _part(self) -> Path:
        return self.folder / f"attempts-{self.run_id}-{self._number:04d}{_SUFFIX}"

    def _convert(self) -> None:
        if self._handle is None:
            return
        os.fsync(self._handle)
        os.close(self._handle)
        self._handle = None
        _convert_part(self._part())
        self._number += 1
        self._rows = 0


def to_row(result: FetchResult, run_id: str, stage: str) -> dict[str, Any]:
    """Return an attempt as a row of `ATTEMPTS_SCHEMA`."""
    row = asdict(result)
    row["outcome"] = row.pop("status")
    row["error_class"] = row.pop("verdict")
    row["error_message"] = row.pop("message") or None
    return {**row, "stage": stage, "run_id": run_id}


def recover_attempts(store: Path) -> int:
    """Convert the logs that killed runs left; call it only with the store's lock held.

    Returns:
        The number of logs.
    """
    parts = sorted((store / "ledger").glob(f"attempts-*{_SUFFIX}"))
    for part in parts:
        _convert_part(part)
    return len(parts)


def _convert_part(part: Path) -> None:
    """Convert a log to Parquet and remove it; repeating it after a kill gives the same file."""
    rows, damaged = _read_part(part)
    if rows:
        target = part.with_name(part.name.removesuffix(_SUFFIX) + ".parquet")
        write_parquet(target, pa.Table.from_pylist(rows, schema=ATTEMPTS_SCHEMA))
    if damaged:
        part.rename(part.with_name(part.name + ".damaged"))
    else:
        part.unlink()
    sync_folder(part.parent)


def _read_part(part: Path) -> tuple[list[dict[str, Any]], bool]:
    """Return a log's rows and whether any line but a torn last one is unreadable."""
    rows, damaged = [], False
    lines = part.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            row = parse_json(line)
            for name in ("started_at", "not_before"):
                row[name] = datetime.fromisoformat(row[name]) if row[name] else None
        except (ValueError, KeyError, TypeError):
            damaged = damaged or number < len(lines)
            continue
        rows.append(row)
    return rows, damaged


def _encode_time(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} cannot be written to the attempt log")
