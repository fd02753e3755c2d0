"""Write a shard's tar so that an interrupted build keeps its finished clips.

Each finished clip is journalled (`manifests/partials.py`). The next writer of the shard copies what
is sound and still wanted into files of its own, and continues after it with the same bytes.
"""

import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from avstore.manifests.partials import (
    JournalEntry,
    new_partial,
    partials_of,
    read_journal,
    same_facts,
)
from avstore.manifests.sealed import json_bytes
from avstore.manifests.store import sync_folder
from avstore.pipelines.build.shard_tar import ShardTar
from avstore.pipelines.fetch.source import MachineError

CLIPS_PER_SYNC = 16
"""Finished clips that a power failure may cost a writer; a kill costs it none."""

KeepRow = Callable[[int, JournalEntry], dict[str, Any] | None]


@contextmanager
def open_partial(shard: Path, facts: Mapping[str, Any]) -> "Iterator[PartialTar]":
    """Open a shard's tar for writing.

    The block commits the tar and then whatever names it. After an exception, the finished clips are
    kept for the next writer.

    Args:
        shard: Where the finished tar belongs.
        facts: What decides the shard's bytes beside its clips. Partials with others are removed.
    """
    shard.parent.mkdir(parents=True, exist_ok=True)
    partial = PartialTar(shard, facts)
    try:
        yield partial
    except BaseException:
        partial.close(keep=True)
        raise
    partial.close(keep=False)


class PartialTar:
    """The tar that `open_partial` opened.

    Attributes:
        tar: Takes the members.
    """

    def __init__(self, shard: Path, facts: Mapping[str, Any]) -> None:
        self._shard = shard
        self._facts = facts
        self._files = new_partial(shard)
        self._clips = self._unsynced = 0
        self._taking_over = False
        self._file = _Checked(self._files.tar.open("xb"))
        self._journal = self._files.journal.open("xb")
        self._journal.write(json_bytes(facts) + b"\n")
        self.tar = ShardTar(self._file)

    def take_over(self, keep: KeepRow) -> list[dict[str, Any]]:
        """Take over the finished clips of the shard's other partials, and remove these.

        Args:
            keep: Called with the number of a clip, from 0, and its journal entry; returns the
                clip's row, or None if this clip and those after it must be made again.

        Returns:
            The rows of the clips that the tar now has.
        """
        rows: list[dict[str, Any]] = []
        self._taking_over = True
        others = [each for each in partials_of(self._shard) if each != self._files]
        journals = [(each, *read_journal(each)) for each in others]
        for partial, header, entries in sorted(journals, key=lambda j: len(j[2]), reverse=True):
            if same_facts(header, self._facts):
                # A writer that was killed after its last rename left the tar in its final place.
                tar = partial.tar if partial.tar.is_file() else self._shard
                self._copy(tar, entries, rows, keep)
        self._sync()
        sync_folder(self._shard.parent)
        for partial in others:
            partial.remove()
        self._taking_over = False
        return rows

    def record(self, row: Mapping[str, Any], source: Mapping[str, Any]) -> None:
        """Journal a clip whose members are all in the tar, if it has any.

        Args:
            row: Its row of the sidecar.
            source: What it was made from, for `take_over`.

        Raises:
            MachineError: Another writer has taken the shard over.
        """
        self._require_own_files()
        self._file.flush()
        entry = {"row": row, "source": source, "end": self.tar.bytes, "crc32": self._file.crc32}
        self._journal.write(json_bytes(entry, default=_encode_time) + b"\n")
        self._journal.flush()
        self._file.crc32 = 0
        self._clips += 1
        self._unsynced += 1
        if self._unsynced >= CLIPS_PER_SYNC:
            self._sync()

    def commit(self, keep: bool = True) -> None:
        """Move the tar to its final place; with `keep` False, there will be none."""
        self._sync()
        self._require_own_files()
        if keep:
            self._files.tar.replace(self._shard)
            sync_folder(self._shard.parent)

    def close(self, keep: bool) -> None:
        """Close the files, and remove them unless they are to be kept and hold a clip."""
        for file in (self._file, self._journal):
            with suppress(OSError):  # closing flushes: what a full disk refused is torn, or unused
                file.close()
        if not keep or self._taking_over or not self._clips:
            self._files.remove()

    def _copy(
        self, tar: Path, entries: list[JournalEntry], rows: list[dict[str, Any]], keep: KeepRow
    ) -> None:
        """Append clips of another partial after those of `rows`, up to the first bad one."""
        if not tar.is_file():
            return
        with tar.open("rb") as file:
            for number in range(len(rows), len(entries)):
                entry, start = entries[number], self.tar.bytes
                before = entries[number - 1].end if number else 0
                row = keep(number, entry)
                if row is None or before != start or entry.end < start:
                    return
                file.seek(start)
                content = file.read(entry.end - start)
                if len(content) != entry.end - start or zlib.crc32(content) != entry.crc32:
                    return
                self.tar.append(content)
                self.record(row, entry.source)
                rows.append(row)

    def _require_own_files(self) -> None:
        """Raise MachineError if another writer has taken the shard over.

        One of the two lost its scheduler and does not know. If it is the other, Dask runs this
        job again, which takes over what both have done.
        """
        if not self._files.journal.exists():
            raise MachineError(
                f"{self._shard}: another worker is writing this shard; stop the workers of earlier "
                "builds, then run the same command again"
            )

    def _sync(self) -> None:
        """Flush both files to the disk."""
        self._file.flush()
        self._journal.flush()
        os.fsync(self._file.fileno())
        os.fsync(self._journal.fileno())
        self._unsynced = 0


class _Checked:
    """A file that keeps the CRC-32 of what was written since `crc32` was set to 0."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.crc32 = 0
        self.flush, self.fileno, self.close = file.flush, file.fileno, file.close

    def write(self, data: bytes) -> int:
        self.crc32 = zlib.crc32(data, self.crc32)
        return self._file.write(data)


def _encode_time(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} cannot be journalled")
