"""`python train/run.py` over a small store."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
import torch

from avstore.train import run as train_run
from avstore.train.data import BatchSpec, open_store, sample_list, steps_per_epoch
from avstore.train.step import Stepper
from tests.conftest import REPO
from tests.train.passes import one_pass

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


def small_words(store: Path, out: Path) -> list[str]:
    settings = [word for name in SMALL for word in ("--set", f"model.{name}")]
    return [
        *("--shards", str(store / "shards"), "--stream", "two", "--out", str(out)),
        *("--set", "epochs=3", "--set", "batch_size=2", *settings),
    ]


def test_run_writes_matrix_table_plot_and_checkpoints(
    two_task_store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = run(*small_words(two_task_store, tmp_path / "a"))
    assert done.returncode == 0, done.stderr
    assert "F(code)" in done.stdout
    assert "F(standard)" in done.stdout
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    assert results["tasks"] == ["banjo", "barking"]
    card = (tmp_path / "a" / "card.md").read_text()
    assert "| banjo | 3 of 3 | 2 of 2 |" in card, card
    assert "[optim]" in card
    for name in ("matrix.png", "metrics.parquet", "results.duckdb", "task-01.pt", "task-02.pt"):
        assert (tmp_path / "a" / name).stat().st_size > 1000
    with duckdb.connect(str(tmp_path / "a" / "results.duckdb"), read_only=True) as con:
        sql = "SELECT count(*) FROM metrics WHERE metric = 'a2v_avg' AND task <> 'all'"
        assert con.sql(sql).fetchall() == [(4,)]
        steps = con.sql("SELECT count(*) FROM metrics WHERE metric = 'loss'").fetchall()
        assert steps == [(2 * 3 * 1,)]
    capsys.readouterr()
    monkeypatch.delattr(Stepper, "step")  # a finished run takes no step
    assert train_run.main(small_words(two_task_store, tmp_path / "a")) == 0
    assert "finished already" in capsys.readouterr().out
    assert train_run.main([*small_words(two_task_store, tmp_path / "a"), "--seed", "7"]) == 2
    assert "other settings: seed 0 -> 7; give" in capsys.readouterr().err


def test_the_device_may_finish_the_batches(two_task_store: Path, tmp_path: Path) -> None:
    words = [*small_words(two_task_store, tmp_path / "a"), "--set", "data.finish=device"]
    assert train_run.main(words) == 0
    assert (tmp_path / "a" / "task-02.pt").is_file()


def test_batches_are_the_same_for_any_split_into_ranks(two_task_store: Path) -> None:
    samples = sample_list(open_store(two_task_store), "SELECT clip_id FROM trainable")
    spec = BatchSpec(batch_size=4, image_size=32, fbank_frames=256)
    whole = one_pass(samples, spec, 1, seed=3)
    assert len(whole) == steps_per_epoch(samples, spec) == 3
    assert sorted(c for b in whole for c in b.clip_ids) == samples.clip_ids
    parts = [one_pass(samples, spec, 1, seed=3, rank=r, world_size=2) for r in (0, 1)]
    for step, batch in enumerate(whole):
        for rank in (0, 1):
            assert parts[rank][step].clip_ids == batch.clip_ids[rank::2]
            assert torch.equal(parts[rank][step].video, batch.video[rank::2])
            assert torch.equal(parts[rank][step].audio, batch.audio[rank::2])
    rest = one_pass(samples, spec, 1, 1, seed=3, workers=1)
    assert [b.clip_ids for b in rest] == [b.clip_ids for b in whole[1:]]
    assert torch.equal(rest[0].video, whole[1].video)


def test_the_matching_module_is_pretrained_and_taken_over(
    two_task_store: Path, tmp_path: Path
) -> None:
    words = small_words(two_task_store, tmp_path / "avm")
    assert train_run.main([*words, "--method", "avm", "--device", "cpu"]) == 0
    first = torch.load(tmp_path / "avm" / "task-02.pt", weights_only=True)
    words = small_words(two_task_store, tmp_path / "stella")
    start = f"avm_init={tmp_path / 'avm' / 'task-02.pt'}"
    rate = ["--set", "optim.lr=1e-12"]  # so that it is still seen afterwards
    assert train_run.main([*words, "--method", "stella", "--set", start, *rate]) == 0
    second = torch.load(tmp_path / "stella" / "task-01.pt", weights_only=True)
    for name, value in first["avm"].items():
        assert torch.allclose(value, second["avm"][name], atol=1e-6)
    assert not torch.allclose(
        first["avm"]["score.weight"], torch.zeros_like(first["avm"]["score.weight"])
    )


def test_a_users_method_is_imported_from_the_current_directory(
    two_task_store: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from avstore.train.data.batch import join\n"
        "from avstore.train.methods import ReplayMethod\n\n\n"
        "class Mine(ReplayMethod):\n"
        "    def losses(self, batch, past):\n"
        "        rows = join(batch, past) if past else batch\n"
        "        return {'mine': self.objective(rows).loss.mean()}\n"
    )
    words = ["--shards", two_task_store, "--stream", "two", "--method", "mine:Mine"]
    settings = [*(f"model.{name}" for name in SMALL), "epochs=2", "batch_size=2"]
    sets = [word for item in settings for word in ("--set", item)]
    done = subprocess.run(
        [sys.executable, REPO / "train/run.py", *words, *sets],
        cwd=tmp_path, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    results = json.loads((folder / "results.json").read_text())
    assert results["config"]["options"]["memory_size"] == 2000  # a ReplayMethod's own options


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shards", "/no/such/store"], "/no/such/store"),
        (["--shards", "EMPTY"], "manifest.duckdb"),
        (["--shards", "STORE", "--stream", "nosuch"], "two"),
        (["--shards", "STORE", "--config", "nosuch"], "tiny"),
        (["--shards", "STORE", "--recipe", "nosuch"], "tiny"),  # the first name of --config
        (["--shards", "STORE", "--method", "nosuch"], "finetune"),
        (["--shards", "STORE", "--method", "no.such:Thing"], "no.such"),
        (["--shards", "STORE", "--stream", "two", "--method", "icarl"], "needs the logits"),
        (["--shards", "STORE", "--stream", "two", "--set", "options.nosuch=1"], "nosuch"),
        (["--shards", "STORE", "--set", "model.heads=5"], "divide"),
        (["--shards", "STORE", "--stream", "two", "--set", "init=/no/such.pt"], "/no/such.pt"),
        (["--shards", "STORE", "--set", "epochs=0"], "epochs"),
        (["--shards", "STORE", "--set", "model.widht=3"], "widht"),
    ],
)
def test_wrong_calls_give_one_line(
    two_task_store: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = {"STORE": str(two_task_store), "EMPTY": str(tmp_path)}
    out = ["--out", str(tmp_path / "out")]
    assert train_run.main([*(names.get(word, word) for word in words), *out]) == 2
    stderr = capsys.readouterr().err
    assert message in stderr
    _, *commands = stderr.strip().splitlines()
    assert bool(commands) == (words[-2:] == ["--stream", "nosuch"])
    assert all(line.startswith("  ") and " --stream " in line for line in commands)


def test_a_wrong_call_of_the_file_ends_without_a_traceback(tmp_path: Path) -> None:
    done = run("--shards", tmp_path / "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_quiet_and_verbose(two_task_store: Path, tmp_path: Path) -> None:
    done = run(*small_words(two_task_store, tmp_path / "a"), "-q", "-v")
    assert done.returncode == 0, done.stderr
    assert "F(code)" in done.stdout
    assert "after banjo" not in done.stdout
    assert "task banjo ends after step 3" in done.stderr
    assert "checkpoint of step 6 saved" in done.stderr
