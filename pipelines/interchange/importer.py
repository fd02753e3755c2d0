"""Import clips that others extracted into a store: shards, sidecars and manifest, as by a build."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from avstore.datasets.clips import ArrowClips
from avstore.datasets.spec import DatasetSpec
from avstore.manifests import ledger
from avstore.manifests.catalogue import Writer, open_write
from avstore.manifests.lock import writing
from avstore.manifests.path_text import path_text
from avstore.manifests.sequence import numbers
from avstore.manifests.sidecar import SCHEMA
from avstore.manifests.store import Store, StoreError
from avstore.pipelines.build import annotations, planner
from avstore.pipelines.build.dispatch import commit
from avstore.pipelines.build.recorded_run import recorded_run
from avstore.pipelines.build.recovery import recover
from avstore.pipelines.build.shard_writer import ShardId, open_shard
from avstore.pipelines.extract.sandbox import Sandbox
from avstore.pipelines.interchange.convert import convert
from avstore.pipelines.interchange.foreign_media import ForeignItem

RECIPE = "imported"
_VERSION = "1"


@dataclass(frozen=True)
class ImportResult:
    """The result of an import.

    Attributes:
        stored: Clips stored in new shards.
        rejected: Clips that could not be used, recorded with their verdict.
        known: Clips that the store had already from the same recipe.
        unknown: Names of items that match no published clip.
        shards: Shards written.
    """

    stored: int
    rejected: int
    known: int
    unknown: tuple[str, ...]
    shards: int


@dataclass(frozen=True, slots=True)
class _Clip:
    """A published clip that an item may belong to; seconds: its length."""

    clip_id: str
    key: str
    split: str
    position: int
    seconds: float
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class _Group:
    """What the clips of one shard share."""

    recipe: str
    fingerprint: str
    split: str

    @property
    def stage(self) -> str:
        return f"{self.recipe}-{self.fingerprint[:8]}"


def import_items(
    store: Store,
    spec: DatasetSpec,
    items: Iterable[ForeignItem],
    paths: Sequence[Path] = (),
    wait_s: float = 0.0,
    shard_clips: int | None = None,
    on_item: Callable[[int], None] | None = None,
    arguments: Sequence[str] = (),
) -> ImportResult:
    """Write every item that is a clip of the dataset into shards of the store.

    A clip that the store has from the same recipe is skipped, so a second run does nothing. Items
    of a store's own shards keep recipe, fingerprint and the bytes of their members; all others
    get the recipe `imported`.

    Args:
        store: The store; created if missing.
        spec: The dataset that the items belong to.
        items: The extracted clips.
        paths: Published annotation files, ingested first; not needed if the store has them.
        wait_s: Seconds to wait for another writer; -1 waits for ever.
        shard_clips: Clips per shard (default: the dataset's).
        on_item: Called with 1 for each item.
        arguments: Words of the command without --store, with which `avstore` imports this again.

    Raises:
        StoreError: The store has no clip of the dataset and no annotation file is given.
        AnnotationError: The annotation files cannot be used.
    """
    store.root.mkdir(parents=True, exist_ok=True)
    run = ledger.new_run(f"import {spec.name}", _config(paths, arguments))
    with writing(store, wait_s), open_write(store) as writer:
        recover(writer, store)
        annotations.ensure_annotations(writer.con, store, spec, paths)
        size = shard_clips or spec.shard_clips
        with recorded_run(writer, store, run) as recorded, Sandbox() as sandbox:
            importer = _Importer(store, writer, spec, recorded.run_id, size, sandbox)
            result = importer.run(items, on_item)
    return result


def _config(paths: Sequence[Path], arguments: Sequence[str]) -> dict[str, object]:
    return {
        "annotations": [path_text(path) for path in paths],
        "arguments": [path_text(word) for word in arguments],
    }


@dataclass(frozen=True)
class _Importer:
    """The parts that every step of one import shares."""

    store: Store
    writer: Writer
    spec: DatasetSpec
    run_id: str
    shard_clips: int
    sandbox: Sandbox

    def run(
        self, items: Iterable[ForeignItem], on_item: Callable[[int], None] | None
    ) -> ImportResult:
        """Match items to clips, group them by recipe and split, and write each full shard."""
        clips = _clips_by_name(self.writer.con, self.spec)
        present = _present(self.writer.con, self.spec)
        unknown: list[str] = []
        counts: Counter[str] = Counter()
        pending: dict[_Group, list[tuple[_Clip, ForeignItem]]] = {}
        for item in items:
            if on_item:
                on_item(1)
            clip = clips.get(str(item.metadata.get("clip_id") or item.name))
            if clip is None:
                unknown.append(item.name)
                continue
            group = _Group(*(item.own_recipe or _imported()), clip.split)
            if (clip.clip_id, group.fingerprint) in present:
                counts["known"] += 1
                continue
            present.add((clip.clip_id, group.fingerprint))
            pending.setdefault(group, []).append((clip, item))
            if len(pending[group]) >= self.shard_clips:
                counts += self.write_shard(group, pending.pop(group))
        for group, rest in sorted(pending.items()):
            counts += self.write_shard(group, rest)
        numbers = {name: counts[name] for name in ("stored", "rejected", "known", "shards")}
        return ImportResult(**numbers, unknown=tuple(unknown))

    def write_shard(self, group: _Group, members: list[tuple[_Clip, ForeignItem]]) -> Counter[str]:
        """Plan, write and commit one shard of these clips; return its counts."""
        con, name = self.writer.con, self.spec.name
        _refuse_ambiguous(con, name, group)
        members.sort(key=lambda member: member[0].position)
        positions = {clip.clip_id: clip.position for clip, _ in members}
        path = planner.planned_shard(con, name, group.stage, group.split, list(positions))
        if path is None:
            plan = planner.plan_shard(con, self.store, name, group.stage, group.split, positions)
            planner.record_plan(con, self.store, self.run_id, plan)
            path = str(plan["shard"][0].as_py())
        seq = next(numbers(con))
        shard = ShardId(path, name, group.recipe, group.fingerprint, group.split, seq)
        with open_shard(self.store, shard) as writer:
            for clip, item in members:
                writer.add(
                    convert(item, clip.clip_id, clip.seconds, self.sandbox),
                    key=clip.key,
                    facts=clip.facts,
                    media=_media(item.metadata.get("media")),
                )
        result = writer.result
        commit(self.writer, [result])
        ledger.save_table(con, self.store, "stages")
        return Counter(
            stored=result.stored, rejected=result.rejected, shards=int(result.stored > 0)
        )


def _refuse_ambiguous(con: duckdb.DuckDBPyConnection, dataset: str, group: _Group) -> None:
    """Raise StoreError if the store has another recipe of the same folder."""
    other = con.execute(
        "SELECT fingerprint FROM stages WHERE dataset = ? AND stage = ? AND fingerprint <> ?",
        [dataset, group.stage, group.fingerprint],
    ).fetchall()
    if other:
        raise StoreError(
            f"the fingerprint {group.fingerprint} of imported clips begins like that of "
            f"{group.stage} in the store, {other[0][0]}; import them into another store"
        )


def _media(stated: Any) -> dict[str, Any]:
    """Return an item's facts of its media file that have the type of their column."""
    if not isinstance(stated, dict):
        return {}
    types = {
        name.removeprefix("media_"): SCHEMA.field(name).type
        for name in SCHEMA.names
        if name.startswith("media_") and name not in ("media_path", "media_fetched_at")
    }
    return {
        name: value for name, value in stated.items() if name in types and _fits(value, types[name])
    }


def _fits(value: Any, kind: pa.DataType) -> bool:
    try:
        return value is None or pa.scalar(value, kind).as_py() == value
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return False


def _clips_by_name(con: duckdb.DuckDBPyConnection, spec: DatasetSpec) -> dict[str, _Clip]:
    """Return the dataset's clips by every name in use; a name of two clips is left out."""
    table = con.sql(
        "SELECT * FROM clips WHERE dataset = ? ORDER BY position", params=[spec.name]
    ).to_arrow_table()
    by_name: dict[str, _Clip | None] = {}
    for position, clip in zip(table["position"].to_pylist(), ArrowClips(table), strict=True):
        facts = {"source_id": clip.source_id, "start_s": clip.start_s, "end_s": clip.end_s}
        has_times = clip.start_s is not None and clip.end_s is not None
        seconds = clip.end_s - clip.start_s if has_times else spec.clip_seconds  # type: ignore[operator]
        target = _Clip(clip.clip_id, clip.key, clip.split, position, seconds, facts)
        stems = {name.stem for name in spec.media_names(clip)} | {clip.source_id}
        for name in stems - {clip.key}:
            by_name[name] = None if name in by_name else target
        by_name |= dict.fromkeys((clip.clip_id, clip.key, f"{clip.dataset}_{clip.key}"), target)
    return {name: clip for name, clip in by_name.items() if clip is not None}


def _present(con: duckdb.DuckDBPyConnection, spec: DatasetSpec) -> set[tuple[str, str]]:
    """Return (clip id, fingerprint) of every clip that is stored or rejected for good."""
    rows = con.execute(
        "SELECT s.clip_id, s.fingerprint FROM samples s JOIN clips c USING (clip_id) "
        "WHERE c.dataset = ? UNION ALL SELECT q.clip_id, q.fingerprint FROM quality q "
        "JOIN clips c USING (clip_id) WHERE c.dataset = ? "
        "AND extraction_status(false, q.verdict) = 'rejected'",
        [spec.name, spec.name],
    ).fetchall()
    return set(rows)


def _imported() -> tuple[str, str]:
    """Return recipe and fingerprint of clips that are of no store."""
    return RECIPE, hashlib.sha256(f"{RECIPE} {_VERSION}".encode()).hexdigest()
