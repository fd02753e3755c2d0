"""docs/interchange.md, "Stock readers": its lines run as printed, without special features."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from avstore.manifests.library import open_store
from tests.docs.pages import DOCS, blocks

pytestmark = pytest.mark.slow
SECTION = (DOCS / "interchange.md").read_text().split("## Stock readers")[1].split("\n## ")[0]


@pytest.fixture
def names(small_store, tmp_path: Path, monkeypatch) -> dict:
    """Run the page's commands and Python lines where `data` is the small store."""
    (tmp_path / "data").symlink_to(small_store[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for block in blocks(SECTION, ""):
        words = shlex.split(block)
        assert words[0] == "avstore"
        subprocess.run([sys.executable, "-m", *words], check=True, env={**os.environ})
    found: dict = {}
    for block in blocks(SECTION, "python"):
        exec(compile(block, "docs/interchange.md", "exec"), found)
    return found


def truth() -> dict[str, int]:
    with open_store("data") as store:
        rows = store.query("SELECT key, label_ids[1] AS label FROM trainable").rows()
    return {row["key"]: row["label"] for row in rows}


def test_the_lines_of_the_page_give_labels_to_every_clip(names: dict) -> None:
    known = truth()
    assert tuple(names["image"].shape[:1]) == (3,)
    exported = list(names["wds"].WebDataset("train/000000.tar", shardshuffle=False).decode())
    assert {s["__key__"]: s["cls"] for s in exported} == {
        key: label for key, label in known.items() if key in {s["__key__"] for s in exported}
    }
    assert len(exported) == 3
    for samples in (list(names["dataset"]), list(names["rows"])):
        assert len(samples) == 3
        assert {s["__key__"]: s["label"] for s in samples}.items() <= known.items()
    sample = next(iter(names["dataset"]))
    assert sample["fbank.npy"].dtype == np.float16
    row = next(iter(names["rows"]))
    assert row["flac"]["bytes"][:4] == b"fLaC"
    assert row["f000.jpg"]["bytes"][:2] == b"\xff\xd8"


def test_hugging_face_decodes_where_ffmpeg_is(names: dict) -> None:
    from datasets import load_dataset

    for files in (names["shards"], sorted(names["glob"]("train/*.tar"))):
        rows = load_dataset(
            "webdataset", data_files={"train": files}, split="train", streaming=True
        )
        try:
            row = next(iter(rows))
        except (RuntimeError, ImportError) as error:
            pytest.skip(f"no FFmpeg libraries for torchcodec: {str(error).splitlines()[0]}")
        assert row["f000.jpg"].size == (256, 256)
        sound = row["flac"].get_all_samples()
        assert sound.sample_rate == 16_000
        assert sound.data.shape[0] == 1


def test_a_parquet_export_needs_no_ffmpeg(names: dict) -> None:
    from datasets import load_dataset

    words = ["export", "--sql", "SELECT clip_id, labels FROM trainable", "--out", "table"]
    words += ["--format", "parquet"]
    subprocess.run([sys.executable, "-m", "avstore", *words], check=True)
    rows = list(
        load_dataset("parquet", data_files="table/*.parquet", split="train", streaming=True)
    )
    assert len(rows) == 5
    assert rows[0]["waveform"][:4] == b"fLaC"
    assert len(rows[0]["frames"]) == 80
    assert rows[0]["labels"]
