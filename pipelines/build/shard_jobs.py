"""The work of one shard: described from manifest rows by the driver, done by a Dask worker."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from avstore.manifests.names import is_relative
from avstore.manifests.partials import JournalEntry
from avstore.manifests.path_text import path_text, text_path
from avstore.manifests.store import Store, file_sha256
from avstore.manifests.verdicts import EXTRACTED_AGAIN, Verdict
from avstore.pipelines.build.planner import PlannedShard
from avstore.pipelines.build.shard_writer import ShardId, ShardResult, continue_shard
from avstore.pipelines.extract.recipe import Recipe
from avstore.pipelines.extract.records import ClipSource, ExtractionResult
from avstore.pipelines.extract.sandbox import Sandbox

_CLIPS = """
SELECT c.clip_id, c.key, c.source_id, c.start_s, c.end_s, f.path, f.offset_s, f.started_at,
       CASE WHEN json_exists(c.extra, '$.masks') THEN c.extra END
FROM (SELECT unnest($ids) AS clip_id, unnest(range($count)) AS i) w
JOIN clips c USING (clip_id) JOIN last_fetch_of($ids) f USING (clip_id) ORDER BY w.i
"""


@dataclass(frozen=True)
class ClipJob:
    """One clip of a shard to build.

    Attributes:
        source: The media file and the seconds of it to extract.
        facts: Further entries of the clip's json member: source_id, start_s, end_s.
        fetched_at: When the media file was fetched, UTC.
        masks: (member suffix, file) of each mask image to store beside the frames.
    """

    source: ClipSource
    facts: Mapping[str, Any]
    fetched_at: datetime | None = None
    masks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ShardJob:
    """A shard to build, on a machine that sees the store and the media.

    Attributes:
        store: Root folder of the store.
        shard: The shard's path, dataset, recipe and split.
        recipe: How clips are extracted.
        clips: The clips, in the order of their members.
        alone: Whether no other shard is built beside it. A clip whose extraction the machine kills
            even then is recorded as `machine_killed`.
    """

    store: Path
    shard: ShardId
    recipe: Recipe
    clips: tuple[ClipJob, ...]
    alone: bool = False


@dataclass(frozen=True)
class PostponedShard:
    """A shard that was not built, because the machine killed the extraction of a clip.

    Attributes:
        path: Path of the tar, relative to the store.
        clip_id: The clip.
        detail: How its extraction ended.
    """

    path: str
    clip_id: str
    detail: str


class _MachineKilled(Exception):  # noqa: N818 - a finding about the machine, handled here
    """Report that the machine killed the extraction of a clip."""


def shard_job(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    dataset: str,
    planned: PlannedShard,
    recipe: Recipe,
    clip_seconds: float,
    seq: int,
    alone: bool = False,
) -> ShardJob:
    """Return the job of a planned shard, from the manifest's rows.

    Args:
        con: The manifest.
        store: The store that the shard is written to.
        dataset: Dataset of the shard.
        planned: The shard and its clips.
        recipe: How clips are extracted.
        clip_seconds: Length of a clip that has no start and end; 0 for the rest of its file.
        seq: Number of this extraction (manifests/sequence.py).
        alone: Whether no other shard is built beside it.
    """
    shard = ShardId(planned.path, dataset, recipe.name, recipe.fingerprint, planned.split, seq)
    root = store.root.resolve()
    ids = list(planned.clip_ids)
    rows = con.execute(_CLIPS, {"ids": ids, "count": len(ids)}).fetchall()
    clips = []
    for clip_id, key, source_id, start_s, end_s, path, offset_s, fetched_at, extra in rows:
        has_times = start_s is not None and end_s is not None
        span = end_s - start_s if has_times else clip_seconds or math.inf
        media = str(root / text_path(path))  # an absolute path stays as it is
        seconds = span if math.isinf(span) else min(span, recipe.duration_s)
        source = ClipSource(clip_id, key, media, offset_s or 0.0, seconds)
        facts = {"source_id": source_id, "start_s": start_s, "end_s": end_s}
        masks = mask_files(json.loads(extra), media) if extra else ()
        clips.append(ClipJob(source, facts, fetched_at, masks))
    return ShardJob(root, shard, recipe, tuple(clips), alone)


def mask_files(extra: Mapping[str, Any], media: str) -> tuple[tuple[str, str], ...]:
    """Return (`mask_<second>.png`, file) of every mask of an AVSBench clip that exists.

    Args:
        extra: Column `extra` of the clip, with `masks` as `avstore.datasets.avs` writes it.
        media: The clip's media file. The published folder is searched for in the folders above
            it, so masks of a clip that came out of an archive are not found.
    """
    masks = extra.get("masks")
    if not masks:
        return ()
    first = int(masks.get("first_frame", 0))
    pattern = str(masks["path"])
    if not is_relative(pattern):
        return ()
    names = {
        int(second): pattern.replace("{frame}", str(int(second) + first))
        for second in masks["seconds"]
    }
    for folder in Path(media).parents:
        files = {second: folder / name for second, name in sorted(names.items())}
        existing = {second: path for second, path in files.items() if path.is_file()}
        if existing:
            return tuple((f"mask_{second}.png", str(path)) for second, path in existing.items())
    return ()


@dataclass(frozen=True)
class ShardEvents:
    """Functions that a shard's build calls.

    Attributes:
        on_kept: Called with the ids of the clips that an interrupted build finished, if any.
        on_clip: Called after each clip that is extracted.
    """

    on_kept: Callable[[list[str]], None] = lambda _: None
    on_clip: Callable[[ExtractionResult], None] = lambda _: None


def build_shard(job: ShardJob, events: ShardEvents = ShardEvents()) -> ShardResult | PostponedShard:
    """Extract every clip of the job into one shard and commit it.

    Clips that an interrupted build of the same shard finished are kept if their sources are
    unchanged. The shard is postponed if the machine kills the extraction of a clip, unless it is
    built alone. So the clip keeps its place, and the shard's bytes do not depend on the memory that
    was free.
    """
    try:
        return _build(job, events)
    except _MachineKilled as killed:
        return PostponedShard(job.shard.path, *killed.args)


def _build(job: ShardJob, events: ShardEvents) -> ShardResult:
    """Build the shard. Raises _MachineKilled."""

    def keep(number: int, entry: JournalEntry) -> dict[str, Any] | None:
        return _kept_row(job.clips[number], entry) if number < len(job.clips) else None

    with (
        continue_shard(Store(job.store), job.shard, keep) as writer,
        Sandbox(job.recipe) as sandbox,
    ):
        if kept := [row["clip_id"] for row in writer.rows]:
            events.on_kept(kept)
        for clip in job.clips[len(kept) :]:
            source = _source_facts(clip)  # before it is read: a file that changes now is not kept
            extracted = sandbox.extract(clip.source)
            if extracted.verdict is Verdict.MACHINE_KILLED and not job.alone:
                raise _MachineKilled(extracted.clip_id, extracted.detail)
            if extracted.members:
                masks = ((suffix, Path(file).read_bytes()) for suffix, file in clip.masks)
                extracted = replace(extracted, members=(*extracted.members, *masks))
            writer.add(
                extracted,
                key=clip.source.key,
                facts=clip.facts,
                media=asdict(extracted.media) if extracted.media else {},
                path=clip.source.path,
                fetched_at=clip.fetched_at,
                source=source,
            )
            events.on_clip(extracted)
    return writer.result


def _source_facts(clip: ClipJob) -> dict[str, Any]:
    """Return what decides a clip's members, beside the recipe: its definition and its files."""
    source = asdict(clip.source)
    path = source.pop("path")
    definition = json.dumps([source, dict(clip.facts)], sort_keys=True)
    return {
        "definition": hashlib.sha256(definition.encode()).hexdigest(),
        "media": _file_facts(path),
        "masks": [[suffix, *_file_facts(file)] for suffix, file in clip.masks],
    }


def _file_facts(path: str) -> list[Any]:
    """Return a file's path, size and time of change; only the path of one that is unreadable."""
    try:
        found = os.stat(path)
    except OSError:
        return [path]
    return [path, found.st_size, found.st_mtime_ns]


def _kept_row(clip: ClipJob, entry: JournalEntry) -> dict[str, Any] | None:
    """Return the row of a clip that an interrupted build finished; None if it must be made again.

    A media file that was moved or fetched again is compared by its sha256.
    """
    row, found = entry.row, _source_facts(clip)
    media, before = found.pop("media"), entry.source.get("media")
    if row["verdict"] in EXTRACTED_AGAIN or found | {"media": before} != entry.source:
        return None
    if media != before:
        same_size = media[1:2] == [row.get("media_bytes")]
        if not same_size or file_sha256(Path(clip.source.path)) != row.get("media_sha256"):
            return None
    return row | {"media_path": path_text(clip.source.path), "media_fetched_at": clip.fetched_at}
