"""Log attempts so that a killed run loses none, and keep them as Parquet in the ledger.

Each row is written at once to `ledger/attempts-<run>-<n>.jsonl.part`. A part is converted to
`ledger/attempts-<run>-<n>.parquet` every `PART_ROWS` rows and at the end of the run;
`recover_attempts` converts what a killed run left. A line that is not an attempt (torn when power
was lost, or damaged) goes to `ledger/attempts-<run>-<n>.jsonl.bad`, which nothing reads again.
"""

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from avstore.manifests.columns import table_schema
from avstore.manifests.path_text import path_text, valid_value
from avstore.manifests.sealed import json_bytes, parse_json, write_parquet
from avstore.manifests.store import committing, sync_folder
from avstore.manifests.verdicts import STATUSES
from avstore.pipelines.fetch.source import FetchResult

#: The columns of the manifest's table `attempts`.
ATTEMPTS_SCHEMA = table_schema("attempts")
PART_ROWS = 50_000
_SYNC_EVERY_S = 0.2
_SUFFIX = ".jsonl.part"
_YEARS = range(1970, 3000)
_LOG = logging.getLogger("avstore")


class AttemptLog:
    """The attempts of one run; used by one process at a time."""

    def __init__(self, store: Path, run_id: str) -> None:
        self.folder = store / "ledger"
        self.run_id = run_id
        self._number = 0
        self._rows = 0
        self._handle: int | None = None
        self._synced_at = 0.0

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one attempt (from `to_row`), so that it survives a kill of this process.

        It is synced to disk at once where another attempt may follow (outcome retryable). Other
        rows are synced at most every `_SYNC_EVERY_S`, since 200,000 local files need no more.
        """
        line = json_bytes(row, default=_encode_time)
        handle = self._open()
        os.write(handle, line + b"\n")
        if row["outcome"] == "retryable" or time.monotonic() - self._synced_at > _SYNC_EVERY_S:
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


def to_row(result: FetchResult, run_id: str, seq: int, stage: str = "fetch") -> dict[str, Any]:
    """Return an attempt as a row of `ATTEMPTS_SCHEMA`, with texts that can be recorded.

    Args:
        result: The attempt's result.
        run_id: The run's id.
        seq: The attempt's number (manifests/sequence.py).
        stage: The stage that the attempt belongs to.
    """
    row = asdict(result)
    row["outcome"] = row.pop("status")
    row["error_class"] = row.pop("verdict")
    row["error_message"] = row.pop("message") or None
    row["path"] = None if result.path is None else path_text(result.path)
    recorded: dict[str, Any] = valid_value({**row, "stage": stage, "run_id": run_id, "seq": seq})
    return recorded


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
    rows, bad = _read_part(part)
    stem = part.name.removesuffix(_SUFFIX)
    if bad:
        path = part.with_name(f"{stem}.jsonl.bad")
        with committing(path) as file:
            file.write(b"".join(line + b"\n" for line in bad))
        _LOG.warning("%d lines of %s are not attempts; they are kept in %s", len(bad), part, path)
    if rows:
        target = part.with_name(f"{stem}.parquet")
        write_parquet(target, pa.Table.from_pylist(rows, schema=ATTEMPTS_SCHEMA))
    part.unlink()
    sync_folder(part.parent)


def _read_part(part: Path) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return a log's rows and its lines that are no rows."""
    decoded, bad = [], []
    for line in part.read_bytes().split(b"\n"):
        try:
            if line:
                decoded.append((line, _decode(line)))
        except _NO_ROW:
            bad.append(line)
    rows = [row for _, row in decoded]
    if not _fits(rows):
        bad += [line for line, row in decoded if not _fits([row])]
        rows = [row for row in rows if _fits([row])]
    return rows, bad


_NO_ROW = (ValueError, KeyError, TypeError, OverflowError, RecursionError, pa.ArrowException)


def _fits(rows: list[dict[str, Any]]) -> bool:
    """Return whether the values have the types of `ATTEMPTS_SCHEMA`."""
    try:
        pa.Table.from_pylist(rows, schema=ATTEMPTS_SCHEMA)
    except _NO_ROW:
        return False
    return True


def _decode(line: bytes) -> dict[str, Any]:
    """Return the row of a line; names that an older version logged undecoded are made valid.

    Raises:
        _NO_ROW: The line differs from its seal, or is no attempt.
    """
    row = valid_value(parse_json(line))
    for name in ("started_at", "not_before", "modified_at"):
        row[name] = _decode_time(row.get(name))
    if row["clip_id"] is None or row["started_at"] is None or row["outcome"] not in STATUSES:
        raise ValueError(f"an attempt of {row['clip_id']} with the outcome {row['outcome']}")
    return {name: row.get(name) for name in ATTEMPTS_SCHEMA.names}


def _decode_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    if time.year not in _YEARS or time.tzinfo:
        raise ValueError(f"the time {text}")
    return time


def _encode_time(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} cannot be written to the attempt log")
