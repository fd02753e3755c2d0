"""A small store of real members: JPEG, FLAC, fbank, tars and the manifest that indexes them."""

import io
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

from avstore.datasets.spec import Label, Segment
from avstore.manifests import annotation_sets as annotations
from avstore.manifests.catalogue import open_write
from avstore.manifests.ingest import commit_shards, ingest_features, transaction
from avstore.manifests.sidecar import write_sidecar
from avstore.manifests.store import Store, committing, sidecar_of
from avstore.pipelines.build.shard_tar import ShardTar
from avstore.pipelines.extract.audio import encode_flac

FINGERPRINT = "abcdef01" + "23" * 28
FEATURE_FINGERPRINT = "feedbeef" + "45" * 28
CLASSES = 5


@dataclass(frozen=True)
class Shape:
    """How large the store is and what its clips hold."""

    clips: int = 23
    per_shard: int = 5
    frames: int = 8
    size: int = 32
    fbank_frames: int = 40
    mels: int = 16
    seconds: float = 10.0
    channels: int = 1
    rates: tuple[int, ...] = (16000,)


def clip_id(number: int) -> str:
    """Keys do not sort as they are stored."""
    return f"toy/k{(number * 7) % 1000:03d}_{number:06d}"


def labels_of(number: int) -> list[int]:
    """One label, and a second one of every third clip; class 0 is common."""
    first = 0 if number % 2 else number % CLASSES
    return sorted({first, (number + 1) % CLASSES}) if number % 3 == 0 else [first]


def frame(number: int, index: int, size: int) -> bytes:
    """A JPEG whose colours tell the clip and the frame."""
    pixels = np.empty((size, size, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = (number * 9) % 256, (index * 25) % 256
    pixels[..., 2] = np.linspace(0, 255, size).astype(np.uint8)
    return simplejpeg.encode_jpeg(pixels, quality=90)


def fbank(number: int, shape: Shape) -> np.ndarray:
    random = np.random.default_rng(number)
    values = random.normal(-5, 4, (shape.fbank_frames + number % 3, shape.mels))
    return values.astype(np.float16)


def wave(number: int, channel: int = 0) -> np.ndarray:
    """A tone whose pitch tells the clip and the channel."""
    seconds = np.arange(8000) / 16000
    hertz = 200 + 10 * number + 1000 * channel
    return (8000 * np.sin(2 * np.pi * hertz * seconds)).astype(np.int16)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def members(number: int, shape: Shape) -> list[tuple[str, bytes]]:
    waves = np.stack([wave(number, i) for i in range(shape.channels)])
    return [
        ("json", json.dumps({"clip_id": clip_id(number)}).encode()),
        ("fbank.npy", npy(fbank(number, shape))),
        ("flac", encode_flac(waves, shape.rates[number % len(shape.rates)])),
        *((f"f{i:03d}.jpg", frame(number, i, shape.size)) for i in range(shape.frames)),
    ]


def make_store(root: Path, shape: Shape = Shape(), feature: str | None = "toy-feature") -> Path:
    """Build it; the store's root. The last clip is published and not stored."""
    store = Store(root)
    root.mkdir(parents=True, exist_ok=True)
    with open_write(store) as writer:
        annotate(writer, store, shape)
        sidecars = [
            write_shard(
                store, number, range(start, min(start + shape.per_shard, shape.clips)), shape
            )
            for number, start in enumerate(range(0, shape.clips, shape.per_shard))
        ]
        commit_shards(writer.con, sidecars)
        if feature:
            companions = [write_companion(store, sidecar, feature) for sidecar in sidecars]
            with transaction(writer.con):
                ingest_features(writer.con, companions)
        writer.publish()
    return root


def annotate(writer, store: Store, shape: Shape) -> None:
    """Publish all clips, and one more."""
    rows = [
        {
            "clip_id": clip_id(n),
            "dataset": "toy",
            "key": clip_id(n).split("/")[1],
            "source_id": f"s{n}",
            "start_s": 0.0,
            "end_s": 10.0,
            "split": "test" if n % 4 == 3 else "train",
            "subsets": [],
            "labels": [f"class {k}" for k in labels_of(n)],
            "label_ids": labels_of(n),
            "category": None,
            "captions": [],
            "extra": {"n": n},
        }
        for n in range(shape.clips + 1)
    ]
    facts = {
        "name": "toy",
        "version": "1",
        "annotation_source": "made up",
        "annotation_sha256": f"{len(rows):064d}",
        "licence": "none",
    }
    segments = [
        Segment(clip_id(n), modality, f"class {k}", k, float(k), float(k + 2))
        for n in range(shape.clips)
        for k in labels_of(n)
        for modality in ("audio", "visual")[: 1 + n % 2]
    ]
    found = annotations.annotation_set(
        facts,
        annotations.clips_table(rows),
        [Label(k, f"class {k}") for k in range(CLASSES)],
        segments,
        [],
    )
    annotations.save_annotations(store, found)
    with transaction(writer.con):
        annotations.replace_annotations(writer.con, found)


def write_shard(store: Store, number: int, clips: range, shape: Shape, recipe: str = "toy") -> Path:
    """Commit one tar and its sidecar; the sidecar's path."""
    path = store.shard("toy", f"{recipe}-{FINGERPRINT[:8]}", "train", number)
    rows = []
    with committing(store.root / path) as file:
        tar = ShardTar(file)
        for position, n in enumerate(clips):
            key = clip_id(n).split("/")[1]
            parts = members(n, shape)
            rows.append(
                {
                    "shard": path,
                    "dataset": "toy",
                    "recipe": recipe,
                    "fingerprint": FINGERPRINT,
                    "split": "train",
                    "clip_id": clip_id(n),
                    "stored": True,
                    "position": position,
                    "members": " ".join(suffix for suffix, _ in parts),
                    "offsets": [tar.add(f"{key}.{suffix}", content) for suffix, content in parts],
                    "sizes": [len(content) for _, content in parts],
                    "frame_count": shape.frames,
                    "frame_times": [i * shape.seconds / shape.frames for i in range(shape.frames)],
                    "fbank_frames": shape.fbank_frames + n % 3,
                    "duration_s": shape.seconds,
                    "crc32": zlib.crc32(b"".join(content for _, content in parts)),
                }
            )
        tar.close()
    facts = {"shard_clips": len(rows), "shard_bytes": tar.bytes, "shard_sha256": tar.sha256}
    sidecar = store.root / sidecar_of(path)
    write_sidecar(sidecar, [row | facts for row in rows])
    return sidecar


def feature_value(number: int) -> np.ndarray:
    return np.full((3, 4), number, np.float32)


def write_companion(store: Store, sidecar: Path, feature: str) -> Path:
    """A derived feature's companion of one shard; its sidecar."""
    base = pq.read_table(sidecar).to_pylist()
    name = f"{base[0]['shard'].removesuffix('.tar')}.{feature}-{FEATURE_FINGERPRINT[:8]}"
    rows = []
    with committing(store.root / f"{name}.tar") as file:
        tar = ShardTar(file)
        for row in base:
            content = npy(feature_value(int(row["clip_id"][-6:])))
            key = row["clip_id"].split("/")[1]
            rows.append(
                {
                    "shard": f"{name}.tar",
                    "feature": feature,
                    "fingerprint": FEATURE_FINGERPRINT,
                    "clip_id": row["clip_id"],
                    "position": row["position"],
                    "offset": tar.add(f"{key}.{feature}.npy", content),
                    "size": len(content),
                    "shape": "[3, 4]",
                    "dtype": "float32",
                    "source_sha256": "00",
                    "crc32": zlib.crc32(content),
                }
            )
        tar.close()
    path = store.root / f"{name}.parquet"
    with committing(path) as file:
        pq.write_table(pa.Table.from_pylist(rows), file)
    return path
