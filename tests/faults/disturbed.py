"""Small real builds as separate processes, and what can be done to them at a chosen moment."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.conftest import REPO
from tests.media import make_clip

LABELS = ("playing banjo", "dog barking")
PHASES = ("fetching", "extracting", "recording")
AVSTORE = (sys.executable, "-m", "avstore")
TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Corpus:
    """A folder of small clips with their annotation file.

    Attributes:
        folder: Folder with videos/ and vggsound.csv.
        clips: Number of clips.
    """

    folder: Path
    clips: int

    def command(self, store: Path, *more: str) -> list[str]:
        """Return the command that builds a store of these clips with two workers."""
        source, csv = self.folder / "videos", self.folder / "vggsound.csv"
        words = ["--source", str(source), "--annotations", str(csv), "--store", str(store)]
        return [
            *AVSTORE,
            "build",
            "vggsound",
            *words,
            "--shard-clips",
            "3",
            "--workers",
            "2",
            *more,
        ]


def make_corpus(folder: Path, clips: int = 12) -> Corpus:
    """Write clips and annotations of two classes."""
    rows = []
    for index in range(clips):
        name = f"id{index:09d}"
        make_clip(folder / "videos" / f"{name}_000030.mp4", tone_hz=200 + 40 * index, seed=index)
        rows.append(f"{name},30,{LABELS[index % 2]},{'test' if index % 4 == 3 else 'train'}\n")
    (folder / "vggsound.csv").write_text("".join(rows))
    return Corpus(folder, clips)


def shard_hashes(store: Path) -> dict[str, str]:
    """Return the sha256 of every shard by its path in the store."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.glob("shards/*/*/*.tar"))
    }


def phase(store: Path) -> tuple[str, int]:
    """Return what a build of the store is doing, and how far it is: outcomes, or shards."""
    sidecars = len(list(store.glob("shards/*/*/*.parquet")))
    if sidecars:
        return "recording", sidecars
    if list(store.glob("ledger/plans-*.parquet")):
        return "extracting", 0
    parts = list(store.glob("ledger/attempts-*"))
    if parts or list(store.glob("ledger/annotations/*/facts.json")):
        lines = sum(path.read_bytes().count(b"\n") for path in parts if path.suffix == ".part")
        return "fetching", lines
    return "starting", 0


@dataclass
class Build:
    """A running build.

    Attributes:
        process: Its driver.
        store: Its store.
    """

    process: subprocess.Popen[bytes]
    store: Path

    def wait_for(self, wanted: str, part: float, seconds: float) -> bool:
        """Wait for a moment of a phase.

        Args:
            wanted: One of `PHASES`.
            part: How far into the phase, from 0 to 1.
            seconds: How long the phase takes in an undisturbed build.

        Returns:
            False if the build ended before.
        """
        order = ("starting", *PHASES)
        while self.process.poll() is None:
            with suppress(FileNotFoundError):  # renamed while it was counted
                if order.index(phase(self.store)[0]) >= order.index(wanted):
                    time.sleep(part * seconds)
                    return self.process.poll() is None
            time.sleep(0.002)
        return False

    def end(self) -> tuple[int, str]:
        """Wait for the end; return exit code and standard error. A hang is exit code -1."""
        try:
            _, said = self.process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            kill_tree(self.process.pid)
            self.process.communicate()
            return -1, "did not end"
        return self.process.returncode, said.decode(errors="replace")


def start(command: Sequence[str], store: Path, prepare: Callable[[], None] | None = None) -> Build:
    """Start a build. prepare: run in its process first, to set limits."""
    process = subprocess.Popen(
        command,
        cwd=REPO,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=prepare,  # noqa: PLW1509 -- this process has no threads
        start_new_session=True,
    )
    return Build(process, store)


def tree(pid: int) -> list[psutil.Process]:
    """Return the processes below a process, those of sessions of their own included."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def matching(pid: int, text: str) -> list[int]:
    """Return the processes below a process whose command line has a text, sorted."""
    found = []
    for process in tree(pid):
        with suppress(psutil.Error):
            if text in " ".join(process.cmdline()):
                found.append(process.pid)
    return sorted(found)


def kill_tree(pid: int) -> None:
    """Kill a process and all below it."""
    below = [process.pid for process in tree(pid)]
    for each in (pid, *below):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


@dataclass
class Cluster:
    """A Dask cluster of processes of their own: a scheduler and two nannies with a worker each.

    Attributes:
        scheduler: The scheduler's process.
        nannies: The nannies' processes.
        address: The scheduler's address.
    """

    scheduler: subprocess.Popen[bytes]
    address: str
    nannies: list[subprocess.Popen[bytes]] = field(default_factory=list)


@contextmanager
def cluster(folder: Path, memory_limit: str = "0") -> Iterator[Cluster]:
    """Start a cluster and end it afterwards.

    Args:
        folder: Folder for the scheduler's address and the workers' files.
        memory_limit: Memory limit of each worker, at which its nanny restarts it.
    """
    facts = folder / "scheduler.json"
    facts.unlink(missing_ok=True)
    dask = [sys.executable, "-m", "dask"]
    quiet = {"cwd": REPO, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    own = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    words = [*dask, "scheduler", *own, "--scheduler-file", str(facts)]
    running = Cluster(subprocess.Popen(words, **quiet), "")  # type: ignore[call-overload]
    try:
        while not facts.is_file() or not facts.read_text().strip():
            time.sleep(0.05)
        running.address = json.loads(facts.read_text())["address"]
        words = [*dask, "worker", running.address, "--nthreads", "1", "--no-dashboard"]
        words += ["--memory-limit", memory_limit, "--local-directory", str(folder)]
        running.nannies = [subprocess.Popen(words, **quiet) for _ in range(2)]  # type: ignore[call-overload]
        yield running
    finally:
        for process in (running.scheduler, *running.nannies):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
            kill_tree(process.pid)
            process.wait()


def completes(corpus: Corpus, store: Path, expected: dict[str, str]) -> list[str]:
    """Run the build again without a fault; return what is not as after an undisturbed build."""
    code, said = start(corpus.command(store, "--wait", "60"), store).end()
    wrong = [f"the rerun ended with {code}: {said.strip()[-300:]}"] if code else []
    words = [*AVSTORE, "verify", "--store", str(store)]
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, check=False)
    if done.returncode:
        wrong.append(f"verify: {(done.stdout + done.stderr).strip()[-300:]}")
    if shard_hashes(store) != expected:
        wrong.append("the shards differ from those of an undisturbed build")
    if left := list(store.rglob(".*.tmp")):
        wrong.append(f"{left[0].name} is left")
    return wrong


def remove(store: Path) -> None:
    """Delete a store, read-only folders included."""
    for path in (store, *store.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(store, ignore_errors=True)
