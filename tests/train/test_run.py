"""`python train/run.py` over a small store, as a person runs it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from manifests.tasks import create_task_view
from tests.conftest import REPO
from tests.media import make_clip
from train.data import BatchSpec, batches, open_store, sample_list, steps_per_epoch

SMALL = ["width=32", "depth=1", "decoder_width=16", "decoder_heads=2", "image_size=32", "heads=2"]


def run(*words: str | Path, script: str = "train/run.py") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script, *map(str, words)],
        cwd=REPO,
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten clips of two classes, built by the command; two tasks of a class each."""
    folder = tmp_path_factory.mktemp("train")
    rows = []
    labels = ("playing banjo", "dog barking")
    for index in range(10):
        name = f"train{index:06d}"
        make_clip(folder / "videos" / f"{name}_000000.mp4", tone_hz=200 + 80 * index, seed=index)
        rows.append(f"{name},0,{labels[index % 2]},{'test' if index > 5 else 'train'}")
    (folder / "vggsound.csv").write_text("\n".join(rows) + "\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pipelines", "build", "vggsound"),
            *("--source", str(folder / "videos"), "--annotations", str(folder / "vggsound.csv")),
            *("--store", str(folder / "data")),
        ],
        cwd=REPO,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    _add_stream(folder / "data")
    return folder / "data"


def _add_stream(root: Path) -> None:
    from manifests.catalogue import open_write
    from manifests.lock import writing
    from manifests.store import Store

    store = Store(root)
    with writing(store), open_write(store) as writer:
        for position, label in enumerate(("playing banjo", "dog barking")):
            for role, split in (("train", "train"), ("retrieval", "test")):
                query = (
                    "SELECT clip_id FROM trainable WHERE labels[1] = "
                    f"'{label}' AND split = '{split}'"
                )
                writer.con.execute(
                    "INSERT INTO tasks VALUES ('two', ?, ?, ?, ?)",
                    [position, label.split()[-1], role, query],
                )
        create_task_view(writer.con)
        writer.publish()


def small_run(store: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    settings = [word for name in SMALL for word in ("--set", f"model.{name}")]
    return run(
        *("--shards", store / "shards", "--stream", "two", "--out", out),
        *("--set", "epochs=3", "--set", "batch_size=2", *settings, *more),
    )


def test_run_writes_a_plot_and_results(store: Path, tmp_path: Path) -> None:
    done = small_run(store, tmp_path / "a")
    assert done.returncode == 0, done.stderr
    assert "banjo" in done.stdout
    for name in ("matrix.png", "results.duckdb"):
        assert (tmp_path / "a" / name).stat().st_size > 1000


def test_batches_are_the_same_for_any_split_into_ranks(store: Path) -> None:
    samples = sample_list(open_store(store), "SELECT clip_id FROM trainable")
    spec = BatchSpec(batch_size=4, image_size=32, fbank_frames=256)
    whole = list(batches(samples, spec, seed=3, epoch=1))
    assert len(whole) == steps_per_epoch(samples, spec) == 3
    assert sorted(c for b in whole for c in b.clip_ids) == samples.clip_ids
    parts = [list(batches(samples, spec, seed=3, epoch=1, rank=r, world_size=2)) for r in (0, 1)]
    for step, batch in enumerate(whole):
        for rank in (0, 1):
            assert parts[rank][step].clip_ids == batch.clip_ids[rank::2]
            assert torch.equal(parts[rank][step].video, batch.video[rank::2])
            assert torch.equal(parts[rank][step].audio, batch.audio[rank::2])
    rest = list(batches(samples, spec, seed=3, epoch=1, start_step=1, workers=1))
    assert [b.clip_ids for b in rest] == [b.clip_ids for b in whole[1:]]
    assert torch.equal(rest[0].video, whole[1].video)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shards", "/no/such/store"], "/no/such/store"),
        (["--shards", "EMPTY"], "manifest.duckdb"),
        (["--shards", "STORE", "--recipe", "nosuch"], "tiny"),
    ],
)
def test_wrong_calls_give_one_line(
    store: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    names = {"STORE": str(store), "EMPTY": str(tmp_path)}
    done = run(*[names.get(word, word) for word in words])
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
