"""Test that a decoder that dies or hangs costs one clip."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.recipe import load_recipe
from avstore.pipelines.extract.sandbox import Sandbox
from tests.pipelines.extract.media import make_clip, source

STELLA = load_recipe("stella")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("media") / "a.mp4", size="160x120")


def bad_decoder(monkeypatch, tmp_path, body: str) -> None:
    """Make every worker started from now on run `body` in place of extract_clip."""
    code = f"import avstore.pipelines.extract.clip as c\ndef bad(source, recipe):\n    {body}\n"
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'avstore.pipelines.extract.worker' in ' '.join(sys.orig_argv):\n"
        + "".join(f"    {line}\n" for line in (code + "c.extract_clip = bad").splitlines())
    )
    monkeypatch.syspath_prepend(str(tmp_path))


def test_it_gives_what_the_extractor_gives(clip):
    with Sandbox(STELLA) as sandbox:
        first = sandbox.extract(source(clip))
        second = sandbox.extract(source(clip))
    assert first == second == extract_clip(source(clip), STELLA)


def test_a_decoder_that_dies_costs_one_clip(clip, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        bad_decoder(patch, tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
        sandbox = Sandbox(STELLA)
        result = sandbox.extract(source(clip))
    assert result.verdict is Verdict.CRASHED_DECODER
    assert "SIGSEGV" in result.detail
    with sandbox:
        assert sandbox.extract(source(clip)).verdict is None


def test_a_decoder_that_hangs_is_killed_with_all_it_started(clip, monkeypatch, tmp_path):
    mark = tmp_path / "grandchild"
    body = (
        "import subprocess, time; p = subprocess.Popen(['sleep', '300']);"
        f" open({str(mark)!r}, 'a').write(f'{{p.pid}} '); time.sleep(300)"
    )
    bad_decoder(monkeypatch, tmp_path, body)
    with Sandbox(STELLA, timeout_s=2.0) as sandbox:
        result = sandbox.extract(source(clip))
    assert result.verdict is Verdict.CRASHED_DECODER
    assert "timeout 2 s" in result.detail
    grandchildren = [int(pid) for pid in mark.read_text().split()]
    assert len(grandchildren) == 2
    for pid in grandchildren:
        assert not alive(pid)


def alive(pid: int) -> bool:
    """Return whether a process still runs after 30 s."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return False
        except FileNotFoundError:
            return False
        time.sleep(0.05)
    return True


def test_memory_is_limited(clip, monkeypatch, tmp_path):
    bad_decoder(monkeypatch, tmp_path, "hog = bytearray(3 << 30)")
    with Sandbox(STELLA, memory_bytes=1 << 30) as sandbox:
        result = sandbox.extract(source(clip))
    assert result.verdict is Verdict.CRASHED_DECODER
    assert "out of memory (limit 1024 MiB)" in result.detail


def test_a_missing_file_raises(tmp_path):
    with Sandbox(STELLA) as sandbox, pytest.raises(FileNotFoundError, match=r"missing\.mp4"):
        sandbox.extract(source(tmp_path / "missing.mp4"))


def test_prints_of_libraries_do_not_break_the_reply(clip, monkeypatch, tmp_path):
    body = "import os; os.write(1, b'noise'); print('noise', flush=True); raise OSError(28, 'full')"
    bad_decoder(monkeypatch, tmp_path, body)
    with Sandbox(STELLA) as sandbox, pytest.raises(OSError, match="full"):
        sandbox.extract(source(clip))


def test_the_worker_ends_with_its_parent(clip):
    code = (
        "import sys, time\nfrom avstore.pipelines.extract.sandbox import Sandbox\n"
        "from avstore.pipelines.extract.recipe import load_recipe\n"
        "from avstore.pipelines.extract.records import ClipSource\n"
        "sandbox = Sandbox(load_recipe('stella'))\n"
        f"sandbox.extract(ClipSource('c', 'k', {str(clip)!r}, 0.0, 10.0))\n"
        "print(sandbox._worker._process.pid, flush=True)\ntime.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    child = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert not alive(child)


def test_threads_take_turns(clip):
    result = []
    with Sandbox(STELLA) as sandbox:
        tasks = [
            threading.Thread(target=lambda: result.append(sandbox.extract(source(clip))))
            for _ in range(3)
        ]
        for task in tasks:
            task.start()
        for task in tasks:
            task.join()
    assert len(result) == 3
    assert result[0] == result[1] == result[2]


def from_a_worker(path: str) -> tuple:
    from avstore.pipelines.extract.records import ClipSource

    with Sandbox(STELLA) as sandbox:
        result = sandbox.extract(ClipSource("test/a", "key", path, 0.0, 10.0))
    return result.verdict, len(result.members)


@pytest.mark.parametrize("processes", [True, False])
def test_it_works_in_a_dask_worker(clip, processes):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=processes, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        tasks = [client.submit(from_a_worker, str(clip), pure=False) for _ in range(2)]
        assert client.gather(tasks) == [(None, 82)] * 2
