"""Find, read and remove partial shards: what interrupted builds keep of shards they did not finish.

A partial shard is two files beside the shard's place, `.NAME.tar.<8 digits>.partial` with the first
clips of the tar and `.NAME.tar.<8 digits>.rows.partial` with its journal: a sealed JSON line for
what the shard is made of, then one for each finished clip. Every writer of a shard has files of its
own, so that one that lost its connection cannot disturb the next.
"""

import json
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from avstore.manifests.sealed import DamagedFileError, parse_json, read_parquet
from avstore.manifests.store import Store

_NAME = re.compile(r"\.(?P<shard>.+\.tar)\.(?P<writer>[0-9a-f]{8})(\.rows)?\.partial")


@dataclass(frozen=True)
class PartialShard:
    """The files of one partial shard; either may be missing.

    Attributes:
        shard: Where the finished tar belongs.
        writer: The 8 digits that tell writers apart.
    """

    shard: Path
    writer: str

    @property
    def tar(self) -> Path:
        """The tar as far as it is written, perhaps with a part of a clip at its end."""
        return self.shard.with_name(f".{self.shard.name}.{self.writer}.partial")

    @property
    def journal(self) -> Path:
        """The lines of the finished clips, perhaps with a part of a line at the end."""
        return self.shard.with_name(f".{self.shard.name}.{self.writer}.rows.partial")

    def remove(self) -> None:
        """Delete both files."""
        self.tar.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)


@dataclass(frozen=True)
class JournalEntry:
    """A finished clip of a partial shard.

    Attributes:
        row: Its row of the sidecar, with times as text.
        source: What it was made from; the shard's writer decides what that is.
        end: Bytes of the tar up to the end of its last member.
        crc32: Of the tar's bytes from the clip before to `end`.
    """

    row: dict[str, Any]
    source: Mapping[str, Any]
    end: int
    crc32: int


def new_partial(shard: Path) -> PartialShard:
    """Return a partial of a shard whose files no other writer has."""
    return PartialShard(shard, uuid.uuid4().hex[:8])


def partials_of(shard: Path) -> list[PartialShard]:
    """Return the partials of one shard."""
    return [partial for partial in _in_folder(shard.parent) if partial.shard == shard]


def find_partials(store: Store) -> list[PartialShard]:
    """Return all partials of a store."""
    folders = (path for path in sorted(store.shards.glob("*/*")) if path.is_dir())
    return [partial for folder in folders for partial in _in_folder(folder)]


def _in_folder(folder: Path) -> list[PartialShard]:
    names = (match for path in folder.glob(".*.partial") if (match := _NAME.fullmatch(path.name)))
    found = {PartialShard(folder / match["shard"], match["writer"]) for match in names}
    return sorted(found, key=lambda partial: (partial.shard, partial.writer))


def read_journal(partial: PartialShard) -> tuple[dict[str, Any], list[JournalEntry]]:
    """Return what a partial shard is made of, and its finished clips up to the first torn line.

    Without a readable first line, both are empty.
    """
    try:
        lines = partial.journal.read_bytes().split(b"\n")
        header = parse_json(lines[0])
    except (OSError, DamagedFileError):
        return {}, []
    entries = []
    for line in lines[1:]:
        try:
            entries.append(JournalEntry(**parse_json(line)))
        except (DamagedFileError, TypeError):
            break
    return header, entries


def count_kept(store: Store, companions: bool = False) -> tuple[int, int]:
    """Return the numbers of clips and of shards that partials keep.

    Args:
        store: The store's paths.
        companions: Count those of derived features instead of base shards.
    """
    clips: dict[Path, int] = {}
    for partial in find_partials(store):
        shard = str(partial.shard.relative_to(store.root))
        if (base_of(shard) != shard) != companions:
            continue
        kept = len(read_journal(partial)[1])
        clips[partial.shard] = max(kept, clips.get(partial.shard, 0))
    return sum(clips.values()), sum(1 for kept in clips.values() if kept)


def unneeded_partials(con: duckdb.DuckDBPyConnection, store: Store) -> list[PartialShard]:
    """Return the partials that no build will continue. The lock must be held.

    A base shard's is needed while the shard is planned and not finished, a companion's while its
    base shard (or the vocabulary it is computed from) is there, until the companion is finished.
    """
    planned = _planned(con, store)
    stored = _names(con, "SELECT path FROM shards")
    unneeded = []
    for partial in find_partials(store):
        shard = str(partial.shard.relative_to(store.root))
        base = base_of(shard)
        if base == shard:
            needed = shard in planned
        else:
            needed = (base in stored or "/labels-" in base) and not _finished(partial)
        if not needed:
            unneeded.append(partial)
    return unneeded


def _finished(partial: PartialShard) -> bool:
    """Return whether the shard was finished after its partial was written to."""
    try:
        sidecar = partial.shard.with_suffix(".parquet").stat()
        return partial.journal.stat().st_mtime_ns <= sidecar.st_mtime_ns
    except FileNotFoundError:
        return not partial.journal.is_file()


def _planned(con: duckdb.DuckDBPyConnection, store: Store) -> set[str]:
    """Return the planned, unfinished shards; a killed build's plan may be in the ledger alone."""
    planned = _names(con, "SELECT shard FROM plans")
    for path in store.ledger.glob("plans-*.parquet"):
        with suppress(DamagedFileError):
            planned |= set(read_parquet(path, ["shard"])["shard"].to_pylist())
    return planned - _names(
        con, "SELECT shard FROM plans WHERE done UNION FROM dropped SELECT shard"
    )


def base_of(shard: str) -> str:
    """Return the path of a companion's base shard; a base shard's own path."""
    folder, _, name = shard.rpartition("/")
    return f"{folder}/{name.split('.', 1)[0]}.tar"


def same_facts(header: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Return whether a journal's header has exactly these facts."""
    return bool(header == json.loads(json.dumps(facts)))


def _names(con: duckdb.DuckDBPyConnection, query: str) -> set[str]:
    return {row[0] for row in con.execute(query).fetchall()}
