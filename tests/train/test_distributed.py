"""Two processes over Gloo: losses, steps, whole runs."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import multiprocessing as mp

from avstore.train import dist
from avstore.train.systems.cavmae import model as cavmae
from avstore.train.systems.cavmae.losses import contrast
from tests.conftest import REPO
from tests.train.test_resume import SMALL, numbers, reached
from tests.train.test_step import in_order, loaded, parameters, stepper


def _contrast(rank: int, folder: str) -> None:
    generator = torch.Generator().manual_seed(0)
    a, v = torch.randn(6, 8, generator=generator), torch.randn(6, 8, generator=generator)
    own = slice(3 * rank, 3 * rank + 3)
    mine = a[own].clone().requires_grad_()
    loss = contrast(mine, v[own], 0.1)
    loss.sum().backward()
    torch.save((loss.detach(), mine.grad, dist.mean(loss.mean())), f"{folder}/contrast-{rank}.pt")


def _step(rank: int, folder: str) -> None:
    cavmae.shuffle = in_order
    own = stepper()
    own.step(loaded(slice(rank, None, 2)), 0)
    rows = torch.full((1 + 2 * rank, 2), float(rank), requires_grad=True)
    gathered = dist.gather_rows(rows)
    gathered.sum().backward()
    torch.save((parameters(own), gathered.detach(), rows.grad), f"{folder}/step-{rank}.pt")


COPIES = {
    "clser": ("plastic", "stable", "steps"),
    "esmer": ("stable", "steps", "running"),
}


def _copies(rank: int, folder: str) -> None:
    for name, parts in COPIES.items():
        own = stepper(method=name, memory_size=8)
        for step in range(8):
            own.step(loaded(slice(rank, None, 2)), step)
        state = own.method.state_dict()
        kept = {key: x for key, x in state.items() if key.startswith((*parts, "objective."))}
        torch.save(kept, f"{folder}/{name}-{rank}.pt")


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    _contrast(rank, folder)
    _copies(rank, folder)
    _step(rank, folder)
    dist.stop()


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes computed together; starting them takes longest, so it is done once."""
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(_process, args=(str(folder),), nprocs=2)
    return folder


def test_negatives_come_from_all_ranks(processes: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    a, v = torch.randn(6, 8, generator=generator), torch.randn(6, 8, generator=generator)
    whole = contrast(a, v, 0.1)
    parts = [torch.load(processes / f"contrast-{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert torch.allclose(torch.cat([part[0] for part in parts]), whole, atol=1e-6)
    assert torch.allclose(parts[0][2], whole.mean(), atol=1e-6)
    # The gradient is that of all rows' losses, which the processes add up.
    a = a.requires_grad_()
    contrast(a, v, 0.1).sum().backward()
    assert torch.allclose(torch.cat([part[1] for part in parts]), a.grad, atol=1e-6)


def test_two_processes_take_the_step_of_one(
    processes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [torch.load(processes / f"step-{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert torch.equal(parts[0][0], parts[1][0])
    monkeypatch.setattr(cavmae, "shuffle", in_order)
    one = stepper()
    one.step(loaded(), 0)
    # Adam's first step is lr · sign(gradient), whose sign is random for gradients near 0.
    apart = (parameters(one) - parts[0][0]).abs() > 1e-5
    assert apart.float().mean() < 1e-3
    # Unequal numbers of rows are gathered in order, and their gradients added up.
    for rank in (0, 1):
        assert parts[rank][1][:, 0].tolist() == [0.0, 1.0, 1.0, 1.0]
        assert parts[rank][2].tolist() == [[2.0, 2.0]] * (1 + 2 * rank)


@pytest.mark.parametrize("name", COPIES)
def test_every_process_keeps_the_same_slow_copies(processes: Path, name: str) -> None:
    first, second = (
        torch.load(processes / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    assert any(key.startswith("stable.") for key in first)
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


@pytest.mark.slow
@pytest.mark.parametrize("method", ["derpp", "esmer", "stella"])
def test_torchrun_trains_and_keeps_processes_equal(
    two_task_store: Path, tmp_path: Path, method: str
) -> None:
    out = tmp_path / method
    settings = (*SMALL, "options.memory_size=4", "batch_size=2")
    sets = [word for item in settings for word in ("--set", item)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "train/run.py"),
            *("--shards", str(two_task_store), "--stream", "two", "--out", str(out)),
            *("--method", method, "--device", "cpu", *sets),
        ],
        cwd=REPO,
        check=False,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("F(standard)") == 1
    step = max((out / "checkpoints").glob("step-*"))
    kept = [torch.load(step / f"rank-{r}.pt", weights_only=True) for r in (0, 1)]
    if method == "esmer":
        rows = [own["memory"]["rows"]["video"] for own in kept]
    else:  # each process keeps one of the two reservoirs, of two rows
        assert [list(own["beside"]) for own in kept] == [[0], [1]]
        name = "audio" if method == "derpp" else "z_a"
        rows = [own["beside"][rank][name] for rank, own in enumerate(kept)]
    assert [len(own) for own in rows] == [2, 2]
    assert not torch.equal(rows[0], rows[1])


@pytest.mark.slow
def test_stopped_processes_continue_exactly(two_task_store: Path, tmp_path: Path) -> None:
    settings = (*SMALL, "options.memory_size=4", "batch_size=2", "epochs=10")
    sets = [word for item in settings for word in ("--set", item)]

    def command(out: Path) -> list[str]:
        return [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "train/run.py", "--shards", str(two_task_store)),
            *("--stream", "two", "--out", str(out), "--method", "stella", "--device", "cpu", *sets),
        ]

    whole, half = tmp_path / "whole", tmp_path / "half"
    assert (
        subprocess.run(command(whole), cwd=REPO, check=False, capture_output=True).returncode == 0
    )
    with subprocess.Popen(
        command(half), cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as run:
        deadline = time.monotonic() + 200
        while not reached(half, 3):
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        run.terminate()
        assert run.wait(200) != 0
    again = subprocess.run(
        command(half), cwd=REPO, check=False, capture_output=True, text=True, timeout=250
    )
    assert again.returncode == 0, again.stderr[-2000:]
    assert "continuing" in again.stdout
    assert numbers(half) == numbers(whole)
