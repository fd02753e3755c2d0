"""Build one shard: the work of one Dask task. Returns when tar and sidecar are committed."""

import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from avstore.manifests.ledger import now
from avstore.manifests.sidecar import MEDIA_COLUMNS, QUALITY_COLUMNS, write_sidecar
from avstore.manifests.store import Store, committing, sidecar_of
from avstore.pipelines.build.mask_files import Beside
from avstore.pipelines.build.shard_tar import ShardTar
from avstore.pipelines.extract.recipe import Recipe
from avstore.pipelines.extract.records import ClipSource, ExtractionResult
from avstore.pipelines.extract.sandbox import Sandbox


@dataclass(frozen=True)
class ShardJob:
    """Everything a worker needs to build a shard, on a machine that sees the store and the media.

    path: of the shard, relative to `store`. facts: per clip, what its json member says besides
    (source_id, start_s, end_s). fetched_at: per clip. beside: per clip, files that become members.
    """

    store: Path
    path: str
    dataset: str
    split: str
    recipe: Recipe
    sources: tuple[ClipSource, ...]
    facts: tuple[dict[str, Any], ...]
    fetched_at: tuple[datetime | None, ...]
    beside: tuple[Beside, ...]


@dataclass(frozen=True)
class ShardDone:
    """A committed shard. sidecar: path relative to the store."""

    path: str
    sidecar: str
    stored: int
    rejected: int


def build_shard(job: ShardJob, tell: Callable[[ExtractionResult], None] | None = None) -> ShardDone:
    """Extract every clip of the job into one tar; commit the tar, then its sidecar.

    tell: called after each clip. A shard none of whose clips is usable has a sidecar and no tar.
    """
    store = Store(job.store)
    rows: list[dict[str, Any]] = []
    stored = 0
    with (
        committing(store.root / job.path, keep=lambda: stored > 0) as file,
        Sandbox(job.recipe) as sandbox,
    ):
        tar = ShardTar(file)
        clips = zip(job.sources, job.facts, job.fetched_at, job.beside, strict=True)
        for source, facts, fetched_at, beside in clips:
            extracted = sandbox.extract(source)
            row = _row(job, source, extracted, fetched_at)
            if extracted.members:
                added = (
                    *extracted.members,
                    *((name, Path(file).read_bytes()) for name, file in beside),
                )
                extracted = replace(extracted, members=added)
                row |= _append(tar, job, source, facts, extracted, position=stored)
                stored += 1
            rows.append(row)
            if tell:
                tell(extracted)
        tar.close()
    if stored:
        shard = {"shard_clips": stored, "shard_bytes": tar.bytes, "shard_sha256": tar.sha256}
        rows = [row | shard for row in rows]
    sidecar = sidecar_of(job.path)
    write_sidecar(store.root / sidecar, rows)
    return ShardDone(job.path, sidecar, stored=stored, rejected=len(rows) - stored)


def _row(
    job: ShardJob, source: ClipSource, extracted: ExtractionResult, fetched_at: datetime | None
) -> dict[str, Any]:
    """The sidecar row of a clip, stored or not."""
    media = asdict(extracted.media) if extracted.media else {}
    media |= {"path": source.path, "fetched_at": fetched_at}
    quality = asdict(extracted.quality)
    return {
        "shard": job.path,
        "dataset": job.dataset,
        "recipe": job.recipe.name,
        "fingerprint": job.recipe.fingerprint,
        "split": job.split,
        "clip_id": source.clip_id,
        "stored": bool(extracted.members),
        "verdict": extracted.verdict,
        "detail": extracted.detail or None,
        "extracted_at": now(),
        **{f"media_{name}": media.get(name) for name in MEDIA_COLUMNS},
        **{f"quality_{name}": quality.get(name) for name in QUALITY_COLUMNS},
    }


def _append(
    tar: ShardTar,
    job: ShardJob,
    source: ClipSource,
    facts: dict[str, Any],
    extracted: ExtractionResult,
    position: int,
) -> dict[str, Any]:
    """Write a clip's members, json first; the sidecar columns that say where they are."""
    about = _about(job, source, facts, extracted)
    members = (("json", json.dumps(about, sort_keys=True).encode()), *extracted.members)
    offsets, crc = [], 0
    for suffix, content in members:
        offsets.append(tar.add(f"{source.key}.{suffix}", content))
        crc = zlib.crc32(content, crc)
    return {
        "position": position,
        "members": " ".join(suffix for suffix, _ in members),
        "offsets": offsets,
        "sizes": [len(content) for _, content in members],
        "frame_count": len(extracted.frame_times),
        "frame_times": list(extracted.frame_times),
        "fbank_frames": extracted.fbank_frames,
        "duration_s": extracted.duration_s,
        "crc32": crc,
    }


def _about(
    job: ShardJob, source: ClipSource, facts: dict[str, Any], extracted: ExtractionResult
) -> dict[str, Any]:
    """The json member: ids, timing and source facts. No labels (they live in the manifest), and
    nothing that differs between two builds of the same clip."""
    media = asdict(extracted.media) if extracted.media else {}
    return {
        **facts,
        "key": source.key,
        "clip_id": source.clip_id,
        "dataset": job.dataset,
        "recipe": job.recipe.name,
        "fingerprint": job.recipe.fingerprint,
        "duration_s": extracted.duration_s,
        "frame_times": [round(time, 6) for time in extracted.frame_times],
        "fbank_frames": extracted.fbank_frames,
        "verdict": extracted.verdict,
        "media": media,
    }
