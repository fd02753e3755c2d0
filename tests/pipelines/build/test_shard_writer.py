"""Shards are plain WebDataset: stock readers read them without avstore."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avstore.pipelines.build.shard_jobs import ClipJob, ShardJob, build_shard
from avstore.pipelines.build.shard_writer import ShardId
from avstore.pipelines.extract.recipe import load_recipe
from avstore.pipelines.extract.records import ClipSource
from tests.media import make_clip


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard of three clips by the STELLA recipe."""
    folder = tmp_path_factory.mktemp("stock")
    paths = [make_clip(folder / f"clip-{i}.mp4", seed=i, tone_hz=300 + 100 * i) for i in range(3)]
    recipe = load_recipe("stella")
    path = "shards/toy/stella/train-000000.tar"
    clips = [
        ClipJob(ClipSource(f"toy/{p.stem}", p.stem, str(p), 0.0, 10.0), facts={}) for p in paths
    ]
    job = ShardJob(
        store=folder / "store",
        shard=ShardId(path, "toy", recipe.name, recipe.fingerprint, "train", 1),
        recipe=recipe,
        clips=tuple(clips),
    )
    done = build_shard(job)
    assert (done.stored, done.rejected) == (3, 0)
    return folder / "store" / done.path


def test_webdataset_reads_every_member(shard: Path) -> None:
    import webdataset

    samples = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["clip-0", "clip-1", "clip-2"]
    first = samples[0]
    frames = sorted(name for name in first if name.endswith(".jpg"))
    assert frames == [f"f{i:03d}.jpg" for i in range(80)]
    assert Image.open(io.BytesIO(first["f000.jpg"])).size == (256, 256)
    fbank = np.load(io.BytesIO(first["fbank.npy"]))
    assert (fbank.dtype, fbank.shape) == (np.float16, (998, 128))
    assert first["flac"][:4] == b"fLaC"


def test_hugging_face_datasets_reads_it(shard: Path, tmp_path: Path) -> None:
    """Audio stays bytes here: to decode it, `datasets` needs torchcodec and a system FFmpeg."""
    from datasets import Features, Image, Value, load_dataset

    frames = {f"f{i:03d}.jpg": Image() for i in range(80)}
    features = Features(
        {
            "__key__": Value("string"),
            "__url__": Value("string"),
            "flac": Value("binary"),
            **frames,
        }
    )
    rows = load_dataset(
        "webdataset",
        data_files={"train": str(shard)},
        split="train",
        features=features,
        cache_dir=str(tmp_path),
    )
    assert rows["__key__"] == ["clip-0", "clip-1", "clip-2"]
    assert rows[1]["f079.jpg"].size == (256, 256)
    assert rows[2]["flac"][:4] == b"fLaC"


def test_bytes_do_not_depend_on_host_or_clock(shard: Path) -> None:
    with tarfile.open(shard) as tar:
        members = list(tar)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    suffixes = [m.name.split(".", 1)[1] for m in members[:4]]
    assert suffixes == ["json", "fbank.npy", "flac", "f000.jpg"]
