"""A store of own data leaves avstore as that of a published dataset does: exports, lists, -v."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import webdataset as wds

from tests.media import make_clip

SQL = "SELECT clip_id, split, labels, captions FROM trainable"


def avstore(*words: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "avstore", *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store of one clip of a user's own list, and what -v logged while it was built."""
    folder = tmp_path_factory.mktemp("own")
    make_clip(folder / "garden.mp4", 3)
    rows = "file,start,end,labels,split,caption\ngarden.mp4,1,3,robin;wren,train,A robin.\n"
    (folder / "birds.csv").write_text(rows)
    done = avstore("build", folder / "birds.csv", "--store", folder / "data", "-v")
    return folder / "data", done.stderr


def export(store: Path, out: Path, output: str) -> str:
    words = ("--format", output, "--features", "frames,waveform,fbank", "--store", store)
    return avstore("export", "--sql", SQL, "--out", out, *words).stdout


def test_webdataset_reads_an_export(built: tuple[Path, str], tmp_path: Path) -> None:
    assert "1 clip in 1 file" in export(built[0], tmp_path / "out", "webdataset")
    (tar,) = (tmp_path / "out").glob("*.tar")
    (sample,) = wds.WebDataset(str(tar), shardshuffle=False).decode()
    row = {"split": "train", "labels": ["robin", "wren"], "captions": ["A robin."]}
    assert {name: sample["json"][name] for name in row} == row
    assert len([name for name in sample if name.endswith(".jpg")]) == 16
    assert sample["fbank.npy"].shape[1] == 128
    assert sample["flac"]


def test_parquet_and_folders_hold_the_same(built: tuple[Path, str], tmp_path: Path) -> None:
    export(built[0], tmp_path / "rows", "parquet")
    rows = pd.concat(map(pd.read_parquet, (tmp_path / "rows").glob("*.parquet")))
    assert rows["clip_id"].tolist() == ["birds/garden_000001"]
    assert rows["labels"][0].tolist() == ["robin", "wren"]
    export(built[0], tmp_path / "files", "folders")
    (flac,) = (tmp_path / "files").rglob("*flac")
    assert flac.read_bytes() == rows["waveform"][0]


def test_the_lists_of_published_code(built: tuple[Path, str], tmp_path: Path) -> None:
    words = ("--out", tmp_path, "--media", "--store", built[0])
    printed = avstore("exchange", "to", "cavmae", "--sql", SQL, *words).stdout
    assert " media files of 1 clip in " in printed
    (row,) = json.loads((tmp_path / "clips.json").read_text())["data"]
    assert "garden_000001" in row["video_id"]


def test_verbose_says_what_a_build_does(built: tuple[Path, str]) -> None:
    store, logged = built
    (shard,) = (str(path.relative_to(store)) for path in store.glob("shards/**/*.tar"))
    for fact in (
        f"source {store.parent}: folder",
        "birds: annotations of ",
        "birds: 1 clip to fetch",
        ": 1 clip planned in new shards",
        ": 1 shard to build",
        f"{shard}: committed, 1 clip",
    ):
        assert fact in logged
