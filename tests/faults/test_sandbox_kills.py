"""Kill the extraction process from outside, as the kernel does when memory is short."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from avstore.datasets.registry import get
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from avstore.manifests.verdicts import POLICIES, Verdict
from avstore.manifests.verify import verify
from avstore.pipelines.build.cluster import connect
from avstore.pipelines.build.driver import BuildOptions, build
from avstore.pipelines.extract.recipe import load_recipe
from avstore.pipelines.extract.records import ClipSource
from avstore.pipelines.extract.sandbox import Sandbox
from avstore.pipelines.fetch.retry import mark_for_retry, matching_failures
from avstore.pipelines.fetch.source import MachineError
from tests.conftest import REPO
from tests.media import make_clip

VGGSOUND = get("vggsound")
STELLA = load_recipe(VGGSOUND.recipe)
CLIPS = ("a__00000000", "b__00000001", "c__00000002", "d__00000003")
VICTIM = f"{CLIPS[2]}_000000"
# The worker says that it begins a clip; while a file says so, it waits there to be killed.
WORKER = """
import os, sys, time
if 'avstore.pipelines.extract.worker' in ' '.join(sys.orig_argv):
    import avstore.pipelines.extract.clip as c
    extract = c.extract_clip
    def extract_clip(source, recipe):
        with open({log!r}, 'a') as log:
            log.write(f'begin {{source.key}} {{os.getpid()}}\\n')
        while source.key == {victim!r} and os.path.exists({wait!r}):
            time.sleep(0.01)
        result = extract(source, recipe)
        with open({log!r}, 'a') as log:
            log.write(f'end {{source.key}} {{os.getpid()}}\\n')
        return result
    c.extract_clip = extract_clip
"""


class Machine:
    """Sends signals to the worker that extracts the victim."""

    def __init__(self, folder: Path) -> None:
        self.log, self.wait = folder / "worker.log", folder / "wait"
        self.log.touch()
        code = WORKER.format(log=str(self.log), wait=str(self.wait), victim=VICTIM)
        (folder / "sitecustomize.py").write_text(code)

    def events(self) -> list[tuple[str, str, int]]:
        rows = (line.split() for line in self.log.read_text().splitlines())
        return [(what, key, int(pid)) for what, key, pid in rows]

    @contextmanager
    def kills(self, most: int, number: int = signal.SIGKILL):
        """Signal the victim's worker each time it begins, at most so often; then let it go on."""
        self.wait.touch()
        sent: list[int] = []
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.005) and len(sent) < most:
                begun = [
                    pid for what, key, pid in self.events() if (what, key) == ("begin", VICTIM)
                ]
                for pid in begun[len(sent) :]:
                    time.sleep(0.02)
                    os.kill(pid, number)
                    sent.append(pid)
            self.wait.unlink()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield sent
        finally:
            ended.set()
            thread.join()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    folder = tmp_path / "machine"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return Machine(folder)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    for seed, name in enumerate(CLIPS):
        make_clip(folder / "videos" / f"{name}_000000.mp4", tone_hz=200 + 90 * seed, seed=seed)
    rows = (f"{name},0,playing banjo,train\n" for name in CLIPS)
    (folder / "vggsound.csv").write_text("".join(rows))
    return folder


def run_build(media: Path, store: Path) -> dict[str, int]:
    """Build and return the number of clips by status, after verifying the store."""
    options = BuildOptions(
        store, str(media / "videos"), (media / "vggsound.csv",), shard_clips=2, workers=2
    )
    result = build(VGGSOUND, STELLA, options)
    with open_read(Store(store)) as con:
        assert [str(problem) for problem in verify(con, Store(store))] == []
    (account,) = [account for account in result.accounts if account.stage == result.stage]
    return {s: n for s in ("stored", "rejected", "retryable") if (n := getattr(account, s))}


def shard_hashes(store: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.glob("shards/*/*/*.tar"))
    }


@pytest.fixture(scope="module")
def undisturbed(media: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    store = tmp_path_factory.mktemp("undisturbed")
    assert run_build(media, store) == {"stored": 4}
    return shard_hashes(store)


def victim(media: Path) -> ClipSource:
    path = media / "videos" / f"{VICTIM}.mp4"
    return ClipSource(f"vggsound/{VICTIM}", VICTIM, str(path), 0.0, 10.0)


def test_one_kill_costs_nothing(media: Path, machine: Machine) -> None:
    with Sandbox(STELLA) as sandbox, machine.kills(1) as sent:
        assert sandbox.extract(victim(media)).verdict is None
    assert len(sent) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_two_kills_are_the_machines_fault(media: Path, machine: Machine, number: int) -> None:
    with Sandbox(STELLA) as sandbox:
        with machine.kills(2, number):
            result = sandbox.extract(victim(media))
        assert result.verdict is Verdict.MACHINE_KILLED
        assert POLICIES[result.verdict].status == "retryable"
        assert f"2 times: signal {signal.Signals(number).name}" in result.detail
        assert sandbox.extract(victim(media)).verdict is None


def test_two_signals_of_a_fault_are_the_clips_fault(media: Path, machine: Machine) -> None:
    with Sandbox(STELLA) as sandbox, machine.kills(2, signal.SIGBUS):
        assert sandbox.extract(victim(media)).verdict is Verdict.CRASHED_DECODER


def test_a_stopped_worker_is_the_machines_fault(media: Path, machine: Machine) -> None:
    with Sandbox(STELLA, timeout_s=3.0) as sandbox, machine.kills(2, signal.SIGSTOP):
        result = sandbox.extract(victim(media))
    assert result.verdict is Verdict.MACHINE_KILLED
    assert "stopped by a signal" in result.detail


def test_a_killed_clip_is_extracted_alone_at_the_end(
    media: Path, machine: Machine, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    with machine.kills(2) as sent:
        assert run_build(media, tmp_path / "data") == {"stored": 4}
    assert len(sent) == 2
    assert shard_hashes(tmp_path / "data") == undisturbed
    open_clips: set[str] = set()
    for what, key, pid in machine.events():
        if (what, key) == ("begin", VICTIM) and pid not in sent:
            assert open_clips <= {VICTIM}, "another clip is extracted beside it"
        open_clips = open_clips | {key} if what == "begin" else open_clips - {key}


def test_a_clip_that_is_killed_alone_too_is_left_to_the_next_build(
    media: Path, machine: Machine, tmp_path: Path
) -> None:
    store = tmp_path / "data"
    with machine.kills(100) as sent:
        assert run_build(media, store) == {"stored": 3, "retryable": 1}
    assert len(sent) == 4, "twice beside others and twice alone"
    with open_read(Store(store)) as con:
        rows = con.execute(
            "SELECT clip_id, status, verdict, detail FROM failures WHERE stage <> 'fetch'"
        ).fetchall()
    assert [row[:3] for row in rows] == [(f"vggsound/{VICTIM}", "retryable", "machine_killed")]
    assert "signal SIGKILL" in rows[0][3]
    found = matching_failures(Store(store), "vggsound", "class = 'machine_killed'")
    assert [row[:2] for row in found] == [(f"vggsound/{VICTIM}", "machine_killed")]
    (store / "manifest.duckdb").unlink()
    before = shard_hashes(store)
    assert run_build(media, store) == {"stored": 4}
    assert shard_hashes(store).items() > before.items(), "a new shard, no rewritten one"


def test_retry_reaches_a_clip_that_an_extraction_rejected(
    media: Path, machine: Machine, tmp_path: Path
) -> None:
    store = Store(tmp_path / "data")
    with machine.kills(2, signal.SIGSEGV):
        assert run_build(media, store.root) == {"stored": 3, "rejected": 1}
    assert run_build(media, store.root) == {"stored": 3, "rejected": 1}, "not by itself"
    ((clip_id, reason, _),) = matching_failures(store, "vggsound", "class = 'crashed_decoder'")
    assert reason == "crashed_decoder"
    with writing(store), open_write(store) as writer:
        mark_for_retry(writer, store, "vggsound", [clip_id])
    assert run_build(media, store.root) == {"stored": 4}


def limited(limit: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python under a limit on the address space."""
    shell = f'ulimit -v {limit >> 10} && exec "$@"'
    command = ["sh", "-c", shell, "sh", sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=REPO, timeout=400, check=False
    )


EXTRACT = """
from avstore.pipelines.extract.sandbox import Sandbox
from avstore.pipelines.extract.recipe import load_recipe
from avstore.pipelines.extract.records import ClipSource
with Sandbox(load_recipe("stella")) as box:
    result = box.extract(ClipSource("c", "k", "{path}", 0.0, 10.0))
    print(result.verdict, len(result.members), box._worker.memory_bytes)
"""


def test_a_smaller_inherited_limit_on_memory_holds(media: Path) -> None:
    limit = 3_500_000 << 10
    done = limited(limit, "-c", EXTRACT.format(path=media / "videos" / f"{VICTIM}.mp4"))
    assert done.stdout.split() == ["None", "82", str(limit)], done.stderr


def test_a_lack_of_memory_under_an_inherited_limit_is_the_machines_fault(
    media: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'avstore.pipelines.extract.worker' in ' '.join(sys.orig_argv):\n"
        "    import avstore.pipelines.extract.clip as c\n"
        "    c.extract_clip = lambda source, recipe: bytearray(3 << 30)\n"
    )
    code = f'import sys; sys.path.insert(0, "{tmp_path}")\n' + EXTRACT.replace(
        ", box._worker.memory_bytes", ""
    ).format(path=media / "videos" / f"{VICTIM}.mp4")
    done = limited(2 << 30, "-c", code)
    assert done.stdout.split() == ["machine_killed", "0"], done.stderr


def test_a_build_works_under_a_limit_on_memory(
    media: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    done = limited(
        3_500_000 << 10, "-m", "avstore", "build", "vggsound", "--source", media / "videos",
        "--annotations", media / "vggsound.csv", "--store", tmp_path, "--shard-clips", "2",
        "--workers", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert shard_hashes(tmp_path) == undisturbed


def test_a_limit_below_the_need_of_every_build_is_refused_first(tmp_path: Path) -> None:
    words = ("-m", "avstore", "build", "vggsound", "--store", tmp_path / "store")
    done = limited(2 << 30, *words)
    assert done.returncode == 4
    assert done.stderr == (
        "avstore: the build does not start; the limit on memory is 2048 MiB (ulimit -v), and a "
        "build needs about 3072 MiB: raise it\n"
    )
    assert not (tmp_path / "store").exists()


def test_a_limit_on_open_files_is_one_line(media: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 24 && exec "$@"', "sh", sys.executable, "-m", "avstore",
         "build", "vggsound", "--source", media / "videos", "--annotations",
         media / "vggsound.csv", "--store", tmp_path],
        capture_output=True, text=True, cwd=REPO, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert "the limit on open files is 24 (ulimit -n): raise it to 256" in line


def test_a_cluster_that_does_not_start_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**_settings: object) -> None:
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr("distributed.LocalCluster", fail)
    monkeypatch.setattr("resource.getrlimit", lambda kind: (2 << 30, 2 << 30))
    problem = r"does not start: Nanny failed to start; the limit on memory is 2048 MiB"
    with pytest.raises(MachineError, match=problem), connect(None, 1):
        pass
