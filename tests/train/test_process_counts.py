"""A run that goes on with another number of processes gives the losses of one process."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing as mp

from avstore.train import dist
from tests.train.test_resume import Killed, dying_before, numbers, start

METHODS = ("finetune", "joint", "er", "derpp", "stella", "stella_plus")
OWN_ROWS = ("esmer", "gmed")


def settings(method: str) -> list[str]:
    memory = () if method in ("finetune", "joint", "ewc") else ("options.memory_size=8",)
    return ["batch_size=4", "epochs=3", *memory]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def begin(store: Path, out: Path, method: str) -> int:
    """Train CAV-MAE."""
    return start(store, out, method, *settings(method))


Begin = Callable[[Path, Path, str], int]


def until(store: Path, out: Path, method: str, stop: int | None, begin: Begin = begin) -> None:
    """Train to a step, before which the process dies."""
    try:
        with dying_before(stop):
            assert begin(store, out, method) == 0
    except Killed:
        dist.stop()


def _process(
    rank: int, world_size: int, ports: list[int], store: Path, runs: list[Any], begin: Begin
) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        MASTER_ADDR="127.0.0.1", WORLD_SIZE=str(world_size), RANK=str(rank), LOCAL_RANK=str(rank)
    )
    for port, (method, out, stop) in zip(ports, runs, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        until(store, out, method, stop, begin)


def processes(
    world_size: int,
    store: Path,
    runs: list[tuple[str, Path, int | None]],
    begin: Begin = begin,
) -> None:
    """Take runs on so many processes to their steps."""
    ports = [free_port() for _ in runs]
    mp.spawn(_process, args=(world_size, ports, store, runs, begin), nprocs=world_size)


@pytest.mark.slow
def test_losses_are_those_of_one_process(two_task_store: Path, tmp_path: Path) -> None:
    stops = {method: (1 + n % 2, 3 + n % 2) for n, method in enumerate(METHODS)}
    for method in METHODS:
        until(two_task_store, tmp_path / "whole" / method, method, None)
        until(two_task_store, tmp_path / method, method, stops[method][0])
    on_four = [(method, tmp_path / method, stops[method][1]) for method in METHODS]
    processes(4, two_task_store, on_four)
    processes(2, two_task_store, [(method, tmp_path / method, None) for method in METHODS])
    for method in METHODS:
        assert apart(tmp_path / "whole" / method, tmp_path / method) == []


def apart(whole: Path, other: Path) -> list[Any]:
    """The losses of a whole run that another one has not, up to the order of summation."""
    losses = {row[:4]: row[4] for row in numbers(other) if row[1] is None}
    expected = [row for row in numbers(whole) if row[1] is None]
    assert len(losses) == len(expected)
    return [
        (*row, losses.get(row[:4]))
        for row in expected
        if losses.get(row[:4]) != pytest.approx(row[4], rel=1e-3, abs=1e-5)
    ]


@pytest.mark.slow
def test_rows_in_host_memory_need_as_many_processes(
    two_task_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    processes(2, two_task_store, [(method, tmp_path / method, 2) for method in OWN_ROWS])
    for method in OWN_ROWS:
        assert start(two_task_store, tmp_path / method, method, *settings(method)) == 2
        assert "written by 2 processes" in capsys.readouterr().err
