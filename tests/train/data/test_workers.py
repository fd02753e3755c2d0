"""Worker processes that live on: the same batches, whatever ended the pass before."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.train.data import Batch, BatchSpec, Loader, LoaderError, Steps, sample_list
from avstore.train.data.process_server import ProcessServer
from avstore.train.data.workers import stream
from tests.train.data.troubled import Troubled
from tests.train.passes import one_pass

SPEC = BatchSpec(batch_size=4, frames=2, image_size=24, fbank_frames=48)
LARGE = replace(SPEC, batch_size=2, image_size=128, fbank_frames=512)


def same(found, expected):
    assert [b.clip_ids for b in found] == [b.clip_ids for b in expected]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.video, other.video)
        assert torch.equal(one.audio, other.audio)


def process_ids():
    """Numbers of the server and the workers of this process."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it ended meanwhile
            if "process_server" in " ".join(process.cmdline()):
                found.add(process.pid)
    return found


def worker_ids():
    servers = {p.pid for p in psutil.Process().children()}
    return process_ids() - servers


def runs(number):
    """Return whether a process has not ended; who adopts it may not wait for it."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    return False


def kill(numbers):
    for process in map(psutil.Process, numbers):
        process.kill()
        while runs(process.pid):
            time.sleep(0.001)


def troubled(samples, trouble):
    return Troubled(samples, SPEC, 0, 0, trouble=trouble, main=os.getpid())


def test_workers_live_on_between_epochs_and_lists(toy_store, toy_list):
    loader = Loader(toy_list, SPEC, seed=5, workers=2)
    same(list(loader), one_pass(toy_list, SPEC, 0, seed=5))
    first = worker_ids()
    assert len(first) >= 2
    same(list(loader), one_pass(toy_list, SPEC, 1, seed=5))
    few = sample_list(toy_store, "SELECT clip_id FROM clips LIMIT 7")
    for samples, spec in ((few, LARGE), (toy_list, SPEC)):
        same(list(Loader(samples, spec, workers=2)), list(Loader(samples, spec)))
    assert worker_ids() == first


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([SPEC, LARGE]), st.integers(1, 3), st.integers(0, 7))))
def test_a_pass_that_is_left_early_leaves_nothing_behind(toy_list, passes):
    expected = {spec: one_pass(toy_list, spec) for spec in (SPEC, LARGE)}
    for spec, workers, taken in passes:
        running = iter(Loader(toy_list, spec, workers=workers))
        same(list(itertools.islice(running, taken)), expected[spec][:taken])
        del running
    same(list(Loader(toy_list, SPEC, workers=2)), expected[SPEC])


def test_several_loaders_at_once(toy_list):
    one, other = Loader(toy_list, SPEC, workers=2), Loader(toy_list, SPEC, seed=1, workers=1)
    pairs = list(zip(one, other, strict=True))
    same([a for a, _ in pairs], one_pass(toy_list, SPEC))
    same([b for _, b in pairs], one_pass(toy_list, SPEC, seed=1))


def test_a_worker_that_died_between_passes_is_replaced(toy_list):
    loader = Loader(toy_list, SPEC, workers=2)
    list(loader)
    kill(worker_ids())
    same(list(loader), one_pass(toy_list, SPEC, 1))


def test_the_server_that_died_is_replaced(toy_list):
    loader = Loader(toy_list, SPEC, workers=1)
    list(loader)
    kill(process_ids())
    same(list(loader), one_pass(toy_list, SPEC, 1))


def test_after_a_killed_worker_the_run_goes_on(toy_list):
    loader = Loader(troubled(toy_list, "kill"), SPEC, workers=2)
    taken = []
    with pytest.raises(LoaderError, match=r"loader process \d+ was killed by signal 9 before step"):
        taken.extend(loader)
    rest = Loader(toy_list, SPEC, workers=2)
    rest.step = loader.step
    same(list(rest), one_pass(toy_list, SPEC, step=loader.step))


def test_a_hung_worker_is_ended(toy_list):
    steps = Steps(troubled(toy_list, "sleep"), SPEC)
    list(Loader(toy_list, SPEC, workers=1))  # they run, so that no start counts as hanging
    before = worker_ids()
    with pytest.raises(LoaderError, match="did not answer before step 2"):
        list(stream(steps, workers=1, timeout_s=2.0))
    assert not before & worker_ids()


def test_an_exception_of_the_order_keeps_its_type_and_place(toy_list):
    with pytest.raises(ZeroDivisionError, match="a defect of the order") as caught:
        list(Loader(troubled(toy_list, "raise"), SPEC, workers=2))
    assert "in rows" in "".join(caught.value.__notes__)
    same(list(Loader(toy_list, SPEC, workers=2)), one_pass(toy_list, SPEC))


def test_ctrl_c_ends_workers_that_are_waited_for(toy_list):
    before = worker_ids()
    running = iter(Loader(troubled(toy_list, "sleep"), SPEC, workers=1))
    assert [next(running).step for _ in range(2)] == [0, 1]
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        next(running)
    assert worker_ids() <= before
    same(list(Loader(toy_list, SPEC, workers=1)), one_pass(toy_list, SPEC))


FORKING = """
import os, sys
sys.path.insert(0, {tests!r})
from avstore.train.data import BatchSpec, Loader, open_store, sample_list
samples = sample_list(open_store({root!r}), "SELECT clip_id FROM clips")
spec = BatchSpec(batch_size=4, frames=1, image_size=16, fbank_frames=8)
def clips():
    return [batch.clip_ids for batch in Loader(samples, spec, workers=1)]
expected = clips()
child = os.fork()
if not child:
    os._exit(0 if clips() == expected else 1)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print("child", code, "parent", clips() == expected)
"""


def test_a_forked_process_starts_workers_of_its_own(toy_store):
    """In a process of its own: this one has threads, which a fork does not take along."""
    text = FORKING.format(tests=str(Path(__file__).parents[3]), root=str(toy_store.root))
    ran = subprocess.run(
        [sys.executable, "-c", text], check=False, capture_output=True, text=True, timeout=120
    )
    assert ran.stdout == "child 0 parent True\n", ran.stderr


def test_batches_are_no_files_in_shared_memory(toy_list):
    def shared():
        return Path("/proc/self/maps").read_text().count("/dev/shm/")

    if not Path("/proc/self/maps").exists():
        pytest.skip("memory maps are read from /proc, which is Linux's")
    before = shared()
    held = list(Loader(toy_list, LARGE, workers=2))
    assert len(held) == 12
    assert shared() <= before


def test_page_locked_batches_come_in_order(toy_list, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Batch, "pin_memory", lambda batch: batch.rows(slice(None)))
    loader = Loader(toy_list, SPEC, workers=2, pin_memory=True)
    assert next(iter(loader)).step == 0
    same(list(loader), one_pass(toy_list, SPEC, 1))


def test_a_server_without_its_module_starts_nothing(capfd):
    server = ProcessServer("avstore.train.data.no_such_module", "work")
    with server.start() as connection, pytest.raises(EOFError):
        connection.recv()
    server.close()
    assert "no_such_module" in capfd.readouterr().err


SCRIPT = """
import sys, os, multiprocessing, psutil
sys.path[:0] = [{tests!r}, {mine!r}]
multiprocessing.get_context("forkserver").Process(target=print).start()
from avstore.train.data import BatchSpec, Loader, open_store, sample_list
from mine import Mine
samples = sample_list(open_store({root!r}), "SELECT clip_id FROM clips")
spec = BatchSpec(batch_size=4, frames=1, image_size=16, fbank_frames=8)
loader = Loader(Mine(samples, spec, seed=0), spec, workers=2)
running = iter(loader)
print(next(running).step, next(running).step)
print("processes", *(p.pid for p in psutil.Process().children(recursive=True)), flush=True)
{end}
"""
MINE = """
from avstore.train.data import EpochOrder
class Mine(EpochOrder):
    pass
"""


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), 9)"])
def test_no_process_is_left_and_imports_are_those_of_the_script(toy_store, tmp_path, end):
    """Another library's fork server runs already, and the script alone knows where modules are."""
    (tmp_path / "mine.py").write_text(MINE)
    values = {"tests": str(Path(__file__).parents[3]), "mine": str(tmp_path), "end": end}
    text = SCRIPT.format(root=str(toy_store.root), **values)
    ran = subprocess.run(
        [sys.executable, "-c", text], check=False, capture_output=True, text=True, timeout=120
    )
    assert "0 1" in ran.stdout, ran.stderr
    numbers = [int(word) for word in ran.stdout.split("processes")[1].split()]
    assert len(numbers) >= 3
    until = time.monotonic() + 30
    while any(map(runs, numbers)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(runs, numbers))
    assert "Traceback" not in ran.stderr
