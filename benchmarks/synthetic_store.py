"""Write the metadata of a synthetic store: annotations, ledger and sidecars, without media.

It has the shape of AudioSet: 527 classes with a long tail, 2.5 labels per clip, 80 frames per clip
(83 members), shards of 1,000 clips; 1 clip in 50 is gone and 1 in 100 rejected.
"""

import string
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from avstore.datasets.spec import Label
from avstore.manifests import annotation_sets as annotations
from avstore.manifests import ledger
from avstore.manifests.sealed import write_parquet
from avstore.manifests.sidecar import SCHEMA
from avstore.manifests.store import Store

DATASET = "audioset"
RECIPE = "uavm"
FINGERPRINT = "0123abcd" + "ef" * 28
STAGE = f"{RECIPE}-{FINGERPRINT[:8]}"
SHARD_CLIPS = 1000
CLASSES = 527
MEMBERS = ("json", "fbank.npy", "flac", *(f"f{i:03d}.jpg" for i in range(80)))
_AT = datetime(2026, 1, 1)
_ALPHABET = np.array(list(string.ascii_letters + string.digits + "-_"))


@dataclass(frozen=True)
class SyntheticStore:
    """A generated store.

    Attributes:
        store: Paths of the store.
        clips: Number of published clips.
        sidecars: Number of sidecars, late ones included.
        late: Sidecars outside the shards folder, to be ingested one at a time.
    """

    store: Store
    clips: int
    sidecars: int
    late: tuple[Path, ...]


def generate(root: Path, clips: int, late: int = 20, seed: int = 0) -> SyntheticStore:
    """Write a synthetic store's metadata.

    Args:
        root: The store's folder.
        clips: Number of clips.
        late: Number of sidecars to write to ROOT/late instead.
        seed: Seed of all random values.
    """
    store = Store(root)
    rng = np.random.default_rng(seed)
    ids = _ids(rng, clips)
    gone = np.arange(clips) % 50 == 49
    _annotations(store, rng, ids)
    _attempts(store, ids, gone)
    kept = np.array(ids, dtype=object)[~gone]
    parts = [kept[i : i + SHARD_CLIPS] for i in range(0, len(kept), SHARD_CLIPS)]
    late = min(late, len(parts) // 2)
    _plans(store, parts, np.flatnonzero(~gone))
    late_paths = []
    for number, part in enumerate(parts):
        shard = store.shard(DATASET, STAGE, "train", number)
        path = store.root / shard.replace(".tar", ".parquet")
        if number >= len(parts) - late:
            path = store.root / "late" / path.name
            late_paths.append(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(path, _sidecar(rng, shard, part))
    _stages(store)
    return SyntheticStore(store, clips, len(parts), tuple(late_paths))


def _ids(rng: np.random.Generator, count: int) -> list[str]:
    names = _ALPHABET[rng.integers(0, 64, size=(count, 11))]
    starts = rng.integers(0, 600, size=count)
    return [
        f"{DATASET}/{''.join(name)}_{start:06d}" for name, start in zip(names, starts, strict=True)
    ]


def _annotations(store: Store, rng: np.random.Generator, ids: list[str]) -> None:
    count = len(ids)
    lengths = rng.integers(1, 5, size=count)
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    # A long tail: the most frequent class has about 12 % of all labels.
    labels = (CLASSES * rng.random(int(ends[-1])) ** 3).astype(np.int32)
    names = pa.array([f"class {i}" for i in range(CLASSES)]).take(pa.array(labels))
    keys = pa.array([clip_id.split("/", 1)[1] for clip_id in ids])
    empty = pa.ListArray.from_arrays(np.zeros(count + 1, np.int32), pa.array([], pa.string()))
    clips = pa.table(
        {
            "clip_id": ids,
            "dataset": pa.repeat(DATASET, count),
            "key": keys,
            "source_id": keys,
            "start_s": pa.repeat(30.0, count),
            "end_s": pa.repeat(40.0, count),
            "split": pa.repeat("train", count),
            "subsets": empty,
            "labels": pa.ListArray.from_arrays(ends, names),
            "label_ids": pa.ListArray.from_arrays(ends, pa.array(labels)),
            "category": pa.nulls(count, pa.string()),
            "captions": empty,
            "extra": pa.repeat("{}", count),
            "position": np.arange(count, dtype=np.int64),
        }
    )
    facts = {
        "name": DATASET,
        "version": "1",
        "annotation_source": "synthetic",
        "annotation_sha256": f"{count:064d}",
        "licence": "none",
    }
    vocabulary = [Label(i, f"class {i}", f"/m/{i}") for i in range(CLASSES)]
    annotations.save_annotations(
        store, annotations.annotation_set(facts, clips, vocabulary, [], [])
    )


def _attempts(store: Store, ids: list[str], gone: np.ndarray) -> None:
    run_id = ledger.new_run("benchmark", {}).run_id
    store.ledger.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(ids), 50_000)):
        part, lost = ids[start : start + 50_000], gone[start : start + 50_000]
        table = pa.table(
            {
                "clip_id": part,
                "stage": pa.repeat("fetch", len(part)),
                "started_at": pa.repeat(pa.scalar(_AT, pa.timestamp("us")), len(part)),
                "seconds": pa.repeat(1.5, len(part)),
                "outcome": np.where(lost, "gone", "stored"),
                "error_class": pa.array(["private" if x else None for x in lost], pa.string()),
                "error_message": pa.nulls(len(part), pa.string()),
                "tool_version": pa.repeat("yt-dlp", len(part)),
                "run_id": pa.repeat(run_id, len(part)),
                "path": pa.array(
                    [None if x else f"raw/{c}.mp4" for c, x in zip(part, lost, strict=True)],
                    pa.string(),
                ),
                "offset_s": pa.repeat(0.0, len(part)),
                "not_before": pa.nulls(len(part), pa.timestamp("us")),
                "charged": pa.repeat(True, len(part)),
            }
        )
        write_parquet(store.ledger / f"attempts-{run_id}-{number:04d}.parquet", table)


def _plans(store: Store, parts: list[np.ndarray], positions: np.ndarray) -> None:
    rows = [
        {
            "shard": store.shard(DATASET, STAGE, "train", number),
            "dataset": DATASET,
            "stage": STAGE,
            "split": "train",
            "number": number,
            "clip_ids": list(part),
            "first_position": int(positions[number * SHARD_CLIPS]),
            "last_position": int(positions[number * SHARD_CLIPS + len(part) - 1]),
        }
        for number, part in enumerate(parts)
    ]
    ledger.save_plan(store, "benchmark", pa.Table.from_pylist(rows))


def _stages(store: Store) -> None:
    table = pa.table(
        {
            "stage": [STAGE],
            "dataset": [DATASET],
            "recipe": [RECIPE],
            "fingerprint": [FINGERPRINT],
        }
    )
    write_parquet(store.ledger / "stages.parquet", table)


def _sidecar(rng: np.random.Generator, shard: str, ids: np.ndarray) -> pa.Table:
    count = len(ids)
    stored = np.arange(count) % 100 != 99
    width = len(MEMBERS)
    sizes = rng.integers(6_000, 30_000, size=(int(stored.sum()), width)).astype(np.int64)
    steps = 512 + (sizes + 511) // 512 * 512
    offsets = np.cumsum(steps.ravel()) - steps.ravel() + 512
    ends = np.concatenate([[0], np.cumsum(stored * width)]).astype(np.int32)
    frames = np.concatenate([[0], np.cumsum(stored * 80)]).astype(np.int32)
    mask = pa.array(~stored)
    values: dict[str, object] = {
        "shard": pa.repeat(shard, count),
        "dataset": pa.repeat(DATASET, count),
        "recipe": pa.repeat(RECIPE, count),
        "fingerprint": pa.repeat(FINGERPRINT, count),
        "split": pa.repeat("train", count),
        "shard_clips": pa.repeat(int(stored.sum()), count),
        "shard_bytes": pa.repeat(int(steps.sum()) + 1024, count),
        "shard_sha256": pa.repeat("ab" * 32, count),
        "clip_id": pa.array(ids, pa.string()),
        "stored": stored,
        "verdict": pa.array([None if x else "no_audio" for x in stored], pa.string()),
        "extracted_at": pa.repeat(pa.scalar(_AT, pa.timestamp("us")), count),
        "position": pa.array(np.cumsum(stored) - 1, mask=~stored),
        "members": pa.array([" ".join(MEMBERS) if x else None for x in stored], pa.string()),
        "offsets": pa.ListArray.from_arrays(ends, offsets, mask=mask),
        "sizes": pa.ListArray.from_arrays(ends, sizes.ravel(), mask=mask),
        "frame_count": pa.array(np.full(count, 80), mask=~stored),
        "frame_times": pa.ListArray.from_arrays(
            frames, np.tile(np.arange(80, dtype=np.float32) / 8, int(stored.sum())), mask=mask
        ),
        "fbank_frames": pa.array(np.full(count, 998), mask=~stored),
        "duration_s": pa.array(np.full(count, 10.0), mask=~stored),
        "crc32": pa.array(rng.integers(0, 2**32, size=count), mask=~stored),
        **_measured(rng, ids),
    }
    columns = [
        pa.array(value).cast(kind) if not isinstance(value, pa.Array) else value.cast(kind)
        for value, kind in _columns(values, count)
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _columns(values: dict[str, object], count: int) -> Iterator[tuple[object, pa.DataType]]:
    for field in SCHEMA:
        yield values.get(field.name, pa.nulls(count, field.type)), field.type


def _measured(rng: np.random.Generator, ids: np.ndarray) -> dict[str, object]:
    count = len(ids)
    texts = {"container": "mov", "video_codec": "h264", "audio_codec": "aac"}
    numbers = {"width": 640, "height": 360, "fps": 30.0, "frames": 300, "audio_rate": 44100}
    return {
        **{f"media_{name}": pa.repeat(value, count) for name, value in texts.items()},
        **{f"media_{name}": pa.repeat(value, count) for name, value in numbers.items()},
        "media_path": pa.array([f"raw/{clip_id}.mp4" for clip_id in ids]),
        "media_bytes": rng.integers(200_000, 2_000_000, size=count),
        "media_sha256": pa.array([rng.bytes(32).hex() for _ in range(count)]),
        "media_duration_s": pa.repeat(10.0, count),
        "media_av_offset_ms": pa.repeat(0.0, count),
        "media_fetched_at": pa.repeat(pa.scalar(_AT, pa.timestamp("us")), count),
        "quality_silent_fraction": rng.random(count),
        "quality_loudness_lufs": -40 * rng.random(count),
        "quality_decode_errors": pa.repeat(0, count),
    }
