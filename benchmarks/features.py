"""Measure derived features: the runner, picture preparation, and planning of a finished feature.

    python -m benchmarks.features --clips 64 --plan-shards 200

Values are CPU seconds of one process with one thread per library; each ratio compares two values
of the same run.
"""

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from numpy.typing import NDArray

from avstore.manifests import schema
from avstore.manifests.ingest import ingest_features
from avstore.manifests.sidecar import write_sidecar
from avstore.manifests.store import Store, sidecar_of
from avstore.pipelines.build.shard_tar import ShardTar
from avstore.pipelines.features.base_shards import FeatureInput, outstanding_shards
from avstore.pipelines.features.companion import (
    COMPANION_SCHEMA,
    FeatureJob,
    companion_path,
    compute_companion,
)
from avstore.pipelines.features.extractor import BatchFunction
from avstore.pipelines.features.extractors.clip import ClipImage
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import Weights, WeightsSource
from avstore.pipelines.features.worker_model import ModelKey
from benchmarks.common import cpu_of, table, write

FRAMES = 30
FINGERPRINT = "ab" * 32


@dataclass(frozen=True)
class Nothing:
    """Decode every frame and compute nothing, so that the runner's cost remains."""

    name: ClassVar[str] = "nothing"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)
    weights: ClassVar[WeightsSource | None] = None
    batch_size: ClassVar[int] = 64
    shape: ClassVar[tuple[int | None, ...]] = (None, 1024)
    dtype: ClassVar[str] = "float16"

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """Return all stored frames."""
        return np.stack(clip.frames())

    def load(self, weights: Weights, device: str) -> BatchFunction:
        """Return a function that gives zeros."""
        return lambda pictures: np.zeros((len(pictures), 1024), np.float16)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """Return the rows."""
        return outputs


def main() -> None:
    """Measure, print, and write benchmarks/out/features.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--plan-shards", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        rows = [runner(store, options.clips), preparation(), planning(store, options.plan_shards)]
    table("Derived features", ("what", "ours", "reference", "ratio", "unit"), rows)
    names = ("what", "ours", "reference", "ratio", "unit")
    write("features", {"rows": [dict(zip(names, row, strict=True)) for row in rows]})


def runner(store: Store, clips: int) -> tuple[str, float, float, float, str]:
    """Compare a whole companion shard with the decoding of its frames alone."""
    base = "shards/toy/uavm-abababab/train-000000.tar"
    jpegs = _base_shard(store, base, clips)
    decoding = cpu_of(lambda: [simplejpeg.decode_jpeg(content) for content in jpegs])
    key = ModelKey("benchmarks.features:Nothing", "{}", Weights("none", None), "cpu")
    path = companion_path(base, "nothing", FINGERPRINT)
    job = FeatureJob(store.root, path, FINGERPRINT, key, Nothing.batch_size, base, "")
    whole = cpu_of(lambda: compute_companion(job))
    what = f"companion of {clips} clips x {FRAMES} frames / decoding alone"
    return what, whole, decoding, whole / decoding, "CPU s"


def _base_shard(store: Store, path: str, clips: int) -> list[bytes]:
    """Write a base shard of pictures; return their JPEGs."""
    rng = np.random.default_rng(1)
    rows, jpegs = [], []
    (store.root / path).parent.mkdir(parents=True, exist_ok=True)
    with (store.root / path).open("wb") as file:
        tar = ShardTar(file)
        for position in range(clips):
            coarse = rng.integers(0, 256, (14, 25, 3)).astype(np.uint8)
            picture = np.ascontiguousarray(coarse.repeat(16, 0).repeat(16, 1)[:, :398])
            contents = [simplejpeg.encode_jpeg(picture, quality=95)] * FRAMES
            names = [f"f{i:03d}.jpg" for i in range(FRAMES)]
            pairs = zip(names, contents, strict=True)
            offsets = [tar.add(f"k{position}.{name}", content) for name, content in pairs]
            rows.append(
                {
                    "shard": path,
                    "clip_id": f"toy/k{position}",
                    "stored": True,
                    "position": position,
                    "members": " ".join(names),
                    "offsets": offsets,
                    "sizes": [len(content) for content in contents],
                }
            )
            jpegs += contents
        tar.close()
    write_sidecar(store.root / sidecar_of(path), rows)
    return jpegs


def preparation() -> tuple[str, float, float, float, str]:
    """Compare CLIP's crop of 64 frames in a batch with the library's, one frame at a time."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch
    from transformers import CLIPImageProcessor

    torch.set_num_threads(1)
    pictures = np.random.default_rng(1).integers(0, 256, (64, 224, 398, 3)).astype(np.uint8)
    library = CLIPImageProcessor()
    library(images=pictures[0], return_tensors="pt")
    theirs = cpu_of(lambda: [library(images=one, return_tensors="pt") for one in pictures])
    extractor = ClipImage(fit="crop")
    ours = cpu_of(lambda: extractor.prepare(torch.from_numpy(pictures), 224))
    return "CLIP crop of 64 frames / library's, one by one", ours, theirs, ours / theirs, "CPU s"


def planning(store: Store, shards: int) -> tuple[str, float, float, float, str]:
    """Compare the planning of a finished feature with a plain read of its sidecars."""
    con = duckdb.connect()
    schema.create_schema(con)
    source = FeatureInput("planned", "uavm", FINGERPRINT)
    paths = []
    for number in range(shards):
        base = store.shard("planned", source.name, "train", number)
        path = companion_path(base, "nothing", FINGERPRINT)
        _finished(store, path, number)
        con.execute(
            "INSERT INTO shards VALUES (?, 'planned', 'uavm', ?, 'train', 1000, 1, ?)",
            [base, FINGERPRINT, FINGERPRINT],
        )
        paths.append(store.root / sidecar_of(path))
    ingest_features(con, paths)
    plain = _seconds(
        lambda: con.execute(
            "CREATE OR REPLACE TEMP TABLE plain AS SELECT * FROM read_parquet(?)",
            [[str(path) for path in paths]],
        )
    )
    found: list[Any] = []
    ours = _seconds(
        lambda: found.extend(outstanding_shards(con, store, source, "nothing", FINGERPRINT))
    )
    if found:
        raise RuntimeError(f"{len(found)} finished shards were planned again")
    what = f"plan of a finished feature, {shards} shards x 1,000 clips / plain read of sidecars"
    return what, ours, plain, ours / plain, "s"


def _finished(store: Store, path: str, number: int) -> None:
    """Write an empty companion with a sidecar of 1,000 rows; planning reads no more."""
    (store.root / path).parent.mkdir(parents=True, exist_ok=True)
    (store.root / path).touch()
    count = 1000
    ids = [f"planned/{number:06d}{i:04d}" for i in range(count)]
    columns: dict[str, Any] = {
        "shard": [path] * count,
        "feature": ["nothing"] * count,
        "fingerprint": [FINGERPRINT] * count,
        "clip_id": ids,
        "position": range(count),
        "offset": [2048 * i + 512 for i in range(count)],
        "size": [1152] * count,
        "shape": ["[1024]"] * count,
        "dtype": ["float16"] * count,
        "source_sha256": [f"{hash(one) & (2**63 - 1):064x}" for one in ids],
        "crc32": [number * count + i for i in range(count)],
        "base_sha256": [FINGERPRINT] * count,
        "labels_sha256": [None] * count,
    }
    pq.write_table(pa.table(columns, schema=COMPANION_SCHEMA), store.root / sidecar_of(path))


def _seconds(work: Any) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
