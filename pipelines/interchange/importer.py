"""Take what others have extracted into a store: shards, sidecars, manifest, as a build does."""

import hashlib
import json
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from avstore.datasets.clips import ArrowClips
from avstore.datasets.spec import DatasetSpec
from avstore.manifests import annotation_sets as published
from avstore.manifests import ledger
from avstore.manifests.catalogue import Writer, open_write
from avstore.manifests.ingest import commit_shards, refresh_status, transaction
from avstore.manifests.ledger import now
from avstore.manifests.lock import writing
from avstore.manifests.sidecar import write_sidecar
from avstore.manifests.store import Store, StoreError, committing, sidecar_of
from avstore.manifests.tasks import create_task_view, register
from avstore.pipelines.build import planner as planning
from avstore.pipelines.build.annotations import read_published
from avstore.pipelines.build.recovery import recover
from avstore.pipelines.build.shard_tar import ShardTar
from avstore.pipelines.build.task_streams import load_stream
from avstore.pipelines.interchange.convert import Converted, convert
from avstore.pipelines.interchange.foreign_media import Item

RECIPE = "imported"
_VERSION = "1"
_ABOUT = ("source_id", "start_s", "end_s", "media")


@dataclass(frozen=True)
class Imported:
    """stored, rejected: clips. known: were there already. unknown: names of no published clip."""

    stored: int
    rejected: int
    known: int
    unknown: tuple[str, ...]
    shards: int


@dataclass(frozen=True, slots=True)
class _Clip:
    """A published clip that something was found for."""

    clip_id: str
    key: str
    split: str
    position: int
    facts: dict[str, Any]

    @property
    def seconds(self) -> float | None:
        start, end = self.facts["start_s"], self.facts["end_s"]
        return None if start is None or end is None else float(end - start)


def import_items(
    store: Store,
    spec: DatasetSpec,
    items: Iterable[Item],
    annotations: Sequence[Path] = (),
    wait_s: float = 0.0,
    shard_clips: int | None = None,
    tell: Callable[[int], None] | None = None,
) -> Imported:
    """Put every item that is a clip of `spec` into shards of the store.

    annotations: published files to take in first (not needed where the store has them). A clip
    that the store has from the same recipe is left alone, so a second run does nothing. Items of
    a store's own shards keep recipe and fingerprint, and their members byte for byte; all others
    are of the recipe `imported`. Raises StoreError, AnnotationError.
    """
    store.root.mkdir(parents=True, exist_ok=True)
    run = ledger.new_run(f"import {spec.name}", {"annotations": [str(p) for p in annotations]})
    with writing(store, wait_s), open_write(store) as writer:
        recover(writer, store)
        _annotate(writer.con, store, spec, annotations)
        work = _Import(store, writer, spec, run.run_id, shard_clips or spec.shard_clips)
        outcome = "failed"
        try:
            imported = work.run(items, tell)
            outcome = "done"
        finally:
            ledger.finish_run(writer.con, store, run, outcome)
            writer.publish()
    return imported


def _annotate(
    con: duckdb.DuckDBPyConnection, store: Store, spec: DatasetSpec, paths: Sequence[Path]
) -> None:
    if paths:
        found = read_published(spec, paths)
        published.save(store, found)
        with transaction(con):
            published.ingest(con, found)
            refresh_status(con)
    elif not con.execute("SELECT 1 FROM clips WHERE dataset = ? LIMIT 1", [spec.name]).fetchall():
        raise StoreError(
            f"the store knows no clip of {spec.name}: give its annotation files (--annotations)"
        )
    with transaction(con):
        for stream in spec.streams:
            register(con, load_stream(stream))
        create_task_view(con)
    ledger.save_table(con, store, "tasks")


@dataclass(frozen=True)
class _Import:
    """One import's parts."""

    store: Store
    writer: Writer
    spec: DatasetSpec
    run_id: str
    shard_clips: int

    def run(self, items: Iterable[Item], tell: Callable[[int], None] | None) -> Imported:
        names = self.names()
        have = self.stored()
        unknown: list[str] = []
        counts: Counter[str] = Counter()
        waiting: dict[tuple[str, str, str], list[tuple[_Clip, Item]]] = {}
        for item in items:
            if tell:
                tell(1)
            clip = names.get(_name(item))
            if clip is None:
                unknown.append(item.name)
                continue
            recipe, fingerprint = _recipe(item)
            if (clip.clip_id, fingerprint) in have:
                counts["known"] += 1
                continue
            have.add((clip.clip_id, fingerprint))
            group = (recipe, fingerprint, clip.split)
            waiting.setdefault(group, []).append((clip, item))
            if len(waiting[group]) >= self.shard_clips:
                counts += self.shard(*group, waiting.pop(group))
        for group, rest in sorted(waiting.items()):
            counts += self.shard(*group, rest)
        return Imported(
            stored=counts["stored"],
            rejected=counts["rejected"],
            known=counts["known"],
            unknown=tuple(unknown),
            shards=counts["shards"],
        )

    def names(self) -> dict[str, _Clip]:
        """Every name a clip may go by. A name of two clips is of neither."""
        table = self.writer.con.sql(
            "SELECT * FROM clips WHERE dataset = ? ORDER BY position", params=[self.spec.name]
        ).to_arrow_table()
        found: dict[str, _Clip | None] = {}
        for position, clip in zip(table["position"].to_pylist(), ArrowClips(table), strict=True):
            facts = {"source_id": clip.source_id, "start_s": clip.start_s, "end_s": clip.end_s}
            ours = _Clip(clip.clip_id, clip.key, clip.split, position, facts)
            stems = {name.stem for name in self.spec.media_names(clip)} | {clip.source_id}
            for name in stems - {clip.key}:
                found[name] = None if name in found else ours
            found[clip.clip_id] = found[clip.key] = found[f"{clip.dataset}_{clip.key}"] = ours
        return {name: clip for name, clip in found.items() if clip is not None}

    def stored(self) -> set[tuple[str, str]]:
        rows = self.writer.con.execute(
            "SELECT s.clip_id, s.fingerprint FROM samples s JOIN clips c USING (clip_id) "
            "WHERE c.dataset = ? UNION ALL SELECT q.clip_id, q.fingerprint FROM quality q "
            "JOIN clips c USING (clip_id) WHERE c.dataset = ?",
            [self.spec.name, self.spec.name],
        ).fetchall()
        return set(rows)

    def shard(
        self, recipe: str, fingerprint: str, split: str, parts: list[tuple[_Clip, Item]]
    ) -> Counter[str]:
        """Write one shard of these clips and tell the manifest."""
        stage = f"{recipe}-{fingerprint[:8]}"
        parts.sort(key=lambda part: part[0].position)
        path = self.plan(stage, split, [clip for clip, _ in parts])
        rows = []
        stored = 0
        with committing(self.store.root / path, keep=lambda: stored > 0) as file:
            tar = ShardTar(file)
            for clip, item in parts:
                done = convert(item, clip.seconds or self.spec.clip_seconds)
                row = _row(path, self.spec.name, (recipe, fingerprint, split), clip, item, done)
                if done.members:
                    row |= _append(tar, clip, _about(row, clip, item, done), done, stored)
                    stored += 1
                rows.append(row)
            tar.close()
        if stored:
            facts = {"shard_clips": stored, "shard_bytes": tar.bytes, "shard_sha256": tar.sha256}
            rows = [row | facts for row in rows]
        sidecar = self.store.root / sidecar_of(path)
        write_sidecar(sidecar, rows)
        commit_shards(self.writer.con, [sidecar])
        ledger.save_table(self.writer.con, self.store, "stages")
        self.writer.publish(force=False)
        return Counter(stored=stored, rejected=len(rows) - stored, shards=int(stored > 0))

    def plan(self, stage: str, split: str, clips: list[_Clip]) -> str:
        """The shard's path, written down before the work so that no other takes its number."""
        con = self.writer.con
        ((number,),) = con.execute(
            "SELECT coalesce(max(number) + 1, 0) FROM plans "
            "WHERE dataset = ? AND stage = ? AND split = ?",
            [self.spec.name, stage, split],
        ).fetchall()
        path = self.store.shard(self.spec.name, stage, split, number)
        positions = [clip.position for clip in clips]
        table = pa.Table.from_pylist(
            [
                {
                    "shard": path,
                    "dataset": self.spec.name,
                    "stage": stage,
                    "split": split,
                    "number": number,
                    "clip_ids": [clip.clip_id for clip in clips],
                    "first_position": min(positions),
                    "last_position": max(positions),
                }
            ]
        )
        ledger.save_plan(self.store, f"{self.run_id}-{uuid.uuid4().hex[:4]}", table)
        planning.record_plan(con, table)
        return path


def _name(item: Item) -> str:
    """What the item calls itself: its json's clip id, else the name of its files."""
    return str(item.about.get("clip_id") or item.name)


def _recipe(item: Item) -> tuple[str, str]:
    """Recipe and fingerprint: those of a store's own shard, else those of imports."""
    recipe, fingerprint = item.about.get("recipe"), item.about.get("fingerprint")
    if isinstance(recipe, str) and isinstance(fingerprint, str) and len(fingerprint) == 64:
        return recipe, fingerprint
    return RECIPE, hashlib.sha256(f"{RECIPE} {_VERSION}".encode()).hexdigest()


def _row(
    path: str,
    dataset: str,
    group: tuple[str, str, str],
    clip: _Clip,
    item: Item,
    done: Converted,
) -> dict[str, Any]:
    """The sidecar row of a clip, stored or not."""
    recipe, fingerprint, split = group
    media = item.about.get("media")
    quality = asdict(done.quality)
    return {
        "shard": path,
        "dataset": dataset,
        "recipe": recipe,
        "fingerprint": fingerprint,
        "split": split,
        "clip_id": clip.clip_id,
        "stored": bool(done.members),
        "verdict": done.verdict,
        "detail": done.detail or None,
        "extracted_at": now(),
        **{f"media_{k}": v for k, v in (media.items() if isinstance(media, dict) else ())},
        **{f"quality_{name}": value for name, value in quality.items()},
    }


def _about(row: dict[str, Any], clip: _Clip, item: Item, done: Converted) -> dict[str, Any]:
    """The json member, as a build writes it."""
    media = item.about.get("media")
    return {
        **clip.facts,
        "key": clip.key,
        "clip_id": clip.clip_id,
        "dataset": row["dataset"],
        "recipe": row["recipe"],
        "fingerprint": row["fingerprint"],
        "duration_s": done.duration_s,
        "frame_times": [round(time, 6) for time in done.frame_times],
        "fbank_frames": done.fbank_frames,
        "verdict": done.verdict,
        "media": media if isinstance(media, dict) else {},
    }


def _append(
    tar: ShardTar, clip: _Clip, about: dict[str, Any], done: Converted, position: int
) -> dict[str, Any]:
    members = (("json", json.dumps(about, sort_keys=True).encode()), *done.members)
    offsets, crc = [], 0
    for suffix, content in members:
        offsets.append(tar.add(f"{clip.key}.{suffix}", content))
        crc = zlib.crc32(content, crc)
    return {
        "position": position,
        "members": " ".join(suffix for suffix, _ in members),
        "offsets": offsets,
        "sizes": [len(content) for _, content in members],
        "frame_count": len(done.frame_times),
        "frame_times": list(done.frame_times),
        "fbank_frames": done.fbank_frames,
        "duration_s": done.duration_s,
        "crc32": crc,
    }
