"""Derived features: what the runner costs beside decoding, preparation beside the library's own,
and the planning of a finished feature over many shards.

    python -m benchmarks.features --clips 64 --plan-shards 200

CPU seconds, one process, one thread a library; every ratio is of numbers of the same run.
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
from avstore.pipelines.features import base_shards as plan
from avstore.pipelines.features.companion import SCHEMA, FeatureJob, companion_path, compute
from avstore.pipelines.features.extractor import Batch
from avstore.pipelines.features.extractors.clip import ClipImage
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import Place, Weights
from avstore.pipelines.features.worker_model import ModelKey
from benchmarks.common import cpu_of, table, write

FRAMES = 30
PRINT = "ab" * 32


@dataclass(frozen=True)
class Nothing:
    """Decodes every frame and computes next to nothing: what is left is the runner."""

    name: ClassVar[str] = "nothing"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)
    weights: ClassVar[Place | None] = None
    batch_size: ClassVar[int] = 64
    shape: ClassVar[tuple[int | None, ...]] = (None, 1024)
    dtype: ClassVar[str] = "float16"

    def items(self, clip: StoredClip) -> NDArray[Any]:
        return np.stack(clip.frames())

    def load(self, weights: Weights, device: str) -> Batch:
        return lambda pictures: np.zeros((len(pictures), 1024), np.float16)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        return outputs


def main() -> None:
    """Measure, print, and write benchmarks/out/features.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--plan-shards", type=int, default=200)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        rows = [runner(store, asked.clips), preparation(), planning(store, asked.plan_shards)]
    table("Derived features", ("what", "ours", "beside", "ratio", "unit"), rows)
    names = ("what", "ours", "beside", "ratio", "unit")
    write("features", {"rows": [dict(zip(names, row, strict=True)) for row in rows]})


def runner(store: Store, clips: int) -> tuple[str, float, float, float, str]:
    """A whole companion shard beside the decoding of the same frames and nothing else."""
    base = "shards/made/uavm-abababab/train-000000.tar"
    jpegs = _base_shard(store, base, clips)
    decoding = cpu_of(lambda: [simplejpeg.decode_jpeg(content) for content in jpegs])
    key = ModelKey("benchmarks.features:Nothing", "{}", Weights("none", None), "cpu")
    path = companion_path(base, "nothing", PRINT)
    job = FeatureJob(store.root, path, PRINT, key, Nothing.batch_size, base, "")
    whole = cpu_of(lambda: compute(job))
    what = f"companion of {clips} clips x {FRAMES} frames / decoding alone"
    return what, whole, decoding, whole / decoding, "CPU s"


def _base_shard(store: Store, path: str, clips: int) -> list[bytes]:
    """Write a base shard of pictures; their JPEGs."""
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
                    "clip_id": f"made/k{position}",
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
    """CLIP's crop of a batch of 64 frames beside the library's processor, a frame at a time."""
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
    """What a build of a finished feature reads, beside a plain read of its sidecars."""
    con = duckdb.connect()
    schema.create_schema(con)
    stage = plan.Stage("planned", "uavm", PRINT)
    paths = []
    for number in range(shards):
        base = store.shard("planned", stage.name, "train", number)
        path = companion_path(base, "nothing", PRINT)
        _finished(store, path, number)
        con.execute(
            "INSERT INTO shards VALUES (?, 'planned', 'uavm', ?, 'train', 1000, 1, ?)",
            [base, PRINT, PRINT],
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
    ours = _seconds(lambda: found.extend(plan.outstanding(con, store, stage, "nothing", PRINT)))
    if found:
        raise RuntimeError(f"{len(found)} finished shards were planned again")
    what = f"plan of a finished feature, {shards} shards x 1,000 clips / plain read of sidecars"
    return what, ours, plain, ours / plain, "s"


def _finished(store: Store, path: str, number: int) -> None:
    """A companion with its sidecar of 1,000 rows, as far as planning looks."""
    (store.root / path).parent.mkdir(parents=True, exist_ok=True)
    (store.root / path).touch()
    count = 1000
    ids = [f"planned/{number:06d}{i:04d}" for i in range(count)]
    columns: dict[str, Any] = {
        "shard": [path] * count,
        "feature": ["nothing"] * count,
        "fingerprint": [PRINT] * count,
        "clip_id": ids,
        "position": range(count),
        "offset": [2048 * i + 512 for i in range(count)],
        "size": [1152] * count,
        "shape": ["[1024]"] * count,
        "dtype": ["float16"] * count,
        "source_sha256": [f"{hash(one) & (2**63 - 1):064x}" for one in ids],
        "crc32": [number * count + i for i in range(count)],
        "base_sha256": [PRINT] * count,
        "labels_sha256": [None] * count,
    }
    pq.write_table(pa.table(columns, schema=SCHEMA), store.root / sidecar_of(path))


def _seconds(work: Any) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
