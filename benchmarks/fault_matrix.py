"""Disturb small real builds in every way, and count what holds.

    python -m benchmarks.fault_matrix --instants 3
    python -m benchmarks.fault_matrix --quick
    python -m benchmarks.fault_matrix --only kill-driver stop-worker

A disturbed build ends by itself, with an exit code and a line. It holds if the same build then
completes, `verify` finds nothing, and every shard has the bytes of an undisturbed build.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from avstore.manifests.library import open_store
from benchmarks.common import write
from tests.faults import disturbed
from tests.faults.disturbed import PHASES, Build, Cluster, Corpus, matching, shard_hashes, start

STOP_S = 3.0
READERS = 200
_EXPECTED = {0, 2, 3, 4}  # what a build that is not killed itself may end with
_NO_LIMIT = resource.RLIM_INFINITY


@dataclass
class Row:
    """The trials of one fault.

    Attributes:
        name: The fault.
        tried: Number of disturbed builds.
        held: Those after which everything was as after an undisturbed build.
        missed: Builds that ended before the fault.
        failures: What did not hold, by trial.
    """

    name: str
    tried: int = 0
    held: int = 0
    missed: int = 0
    failures: list[str] = field(default_factory=list)

    def note(self, trial: str, wrong: Sequence[str]) -> None:
        """Count a trial."""
        self.tried += 1
        self.held += not wrong
        self.failures += [f"{trial}: {each}" for each in wrong]


@dataclass(frozen=True)
class Bench:
    """The parts that every row shares.

    Attributes:
        folder: Folder of the stores.
        corpus: The clips.
        expected: The sha256 of the shards of an undisturbed build.
        seconds: Duration of each phase of it.
        instants: Number of instants in each phase.
    """

    folder: Path
    corpus: Corpus
    expected: dict[str, str]
    seconds: dict[str, float]
    instants: int

    def moments(self, phases: Sequence[str]) -> Iterator[tuple[str, float]]:
        """Yield the phases with instants that are spread over each."""
        for phase in phases:
            for number in range(self.instants):
                yield phase, (number + 0.5) / self.instants

    def store(self) -> Path:
        """Return the folder of a new store."""
        return Path(tempfile.mkdtemp(prefix="store-", dir=self.folder)) / "data"

    def check(self, row: Row, trial: str, store: Path, ended: list[str]) -> None:
        """Complete the build, compare, and note the trial."""
        row.note(trial, [*ended, *disturbed.completes(self.corpus, store, self.expected)])
        disturbed.remove(store.parent)


def ended_well(build: Build, killed: bool = False) -> list[str]:
    """Wait for a disturbed build; return how its end was not one line and an exit code."""
    code, said = build.end()
    wrong = [] if code in _EXPECTED or killed else [f"it ended with {code}"]
    if "Traceback" in said:
        wrong.append(f"a traceback: {said.strip().splitlines()[-1][:200]}")
    return wrong


# Signals


def _targets(build: Build, cluster: Cluster | None) -> dict[str, list[int]]:
    sandbox = "avstore.pipelines.extract.worker"
    if cluster is None:
        below = build.process.pid
        workers = matching(below, "spawn_main")
        return {"driver": [below], "worker": workers, "sandbox": matching(below, sandbox)}
    nannies = [process.pid for process in cluster.nannies]
    return {"nanny": nannies, "scheduler": [cluster.scheduler.pid]}


def _wait_for_target(build: Build, cluster: Cluster | None, target: str) -> list[int]:
    """Return the processes of a target; a build's workers and sandboxes start one by one."""
    while build.process.poll() is None:
        if pids := _targets(build, cluster)[target]:
            return pids
        time.sleep(0.01)
    return []


def _signal(row: Row, bench: Bench, target: str, stop: bool, phase: str, part: float) -> None:
    store = bench.store()
    own = target in ("nanny", "scheduler")
    with disturbed.cluster(bench.folder) if own else _no_cluster() as cluster:
        more = ("--scheduler", cluster.address) if cluster else ()
        build = start(bench.corpus.command(store, *more), store)
        reached = build.wait_for(phase, part, bench.seconds[phase])
        pids = _wait_for_target(build, cluster, target) if reached else []
        if not pids:
            row.missed += 1
            build.end()
            return disturbed.remove(store.parent)
        with suppress(ProcessLookupError):
            if stop:
                os.kill(pids[0], signal.SIGSTOP)
                time.sleep(STOP_S)
                os.kill(pids[0], signal.SIGCONT)
            else:
                os.kill(pids[0], signal.SIGKILL)
        ended = ended_well(build, killed=target == "driver" and not stop)
    return bench.check(row, f"{phase} at {part:.2f}", store, ended)


@contextmanager
def _no_cluster() -> Iterator[None]:
    yield None


def signals(row: Row, bench: Bench, target: str, stop: bool) -> None:
    """Kill, or stop for some seconds, one process at instants of each phase that has it."""
    # The cluster that a build starts, and its sandboxes, exist from extraction on.
    phases = PHASES if target in ("driver", "scheduler", "nanny") else PHASES[1:]
    for phase, part in bench.moments(phases):
        _signal(row, bench, target, stop, phase, part)


# Limits


def _limited(row: Row, bench: Bench, trial: str, prepare: Callable[[], None]) -> None:
    store = bench.store()
    build = start(bench.corpus.command(store), store, prepare)
    bench.check(row, trial, store, ended_well(build))


def limits(row: Row, bench: Bench, kind: int, values: Sequence[int]) -> None:
    """Build with a limit of open files (`ulimit -n`) or of address space (`ulimit -v`)."""
    for value in values:
        set_limit = partial(resource.setrlimit, kind, (value, value))
        _limited(row, bench, f"limit {value}", set_limit)


def memory(row: Row, bench: Bench) -> None:
    """Build on workers that their nannies restart for their memory, at once or later."""
    for limit in ("120MB", "250MB"):
        store = bench.store()
        with disturbed.cluster(bench.folder, limit) as cluster:
            command = bench.corpus.command(store, "--scheduler", cluster.address)
            ended = ended_well(start(command, store))
        bench.check(row, f"workers of {limit}", store, ended)


def read_only(row: Row, bench: Bench) -> None:
    """Build into a store, and from a source, that cannot be written."""
    for where in ("store", "source"):
        store = bench.store()
        corpus = bench.corpus
        if where == "store":
            store.mkdir()
            store.chmod(0o555)
        else:
            corpus = Corpus(store.parent / "corpus", corpus.clips)
            shutil.copytree(bench.corpus.folder, corpus.folder)
            for path in (corpus.folder, *corpus.folder.rglob("*")):
                path.chmod(0o555 if path.is_dir() else 0o444)
        command = [*_without_privileges(), *corpus.command(store)]
        ended = ended_well(start(command, store))
        if where == "store":
            store.chmod(0o755)
        bench.check(row, f"read-only {where}", store, ended)


def _without_privileges() -> list[str]:
    """Return the words that make root obey permissions, as every other user does."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return []
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


def full_disk(row: Row, bench: Bench, sizes: Sequence[int]) -> str:
    """Build on a disk that is too small; return how the disk was made."""
    how = "a tmpfs"
    for size in sizes:
        folder = Path(tempfile.mkdtemp(prefix="disk-", dir=bench.folder))
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(folder)]
        done = subprocess.run(mount, capture_output=True, check=False)
        store = folder / "data"
        if done.returncode:
            how = "RLIMIT_FSIZE, as no tmpfs can be mounted"
            limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size << 10, _NO_LIMIT))
            ended = ended_well(start(bench.corpus.command(store), store, limit))
        else:
            ended = ended_well(start(bench.corpus.command(store), store))
            grow = ["mount", "-o", "remount,size=1g", str(folder)]
            subprocess.run(grow, capture_output=True, check=True)
        wrong = disturbed.completes(bench.corpus, store, bench.expected)
        row.note(f"{size} KiB", [*ended, *wrong])
        if not done.returncode:
            subprocess.run(["umount", "-l", str(folder)], check=False)
    return how


# Others at the same time


def two_builds(row: Row, bench: Bench) -> None:
    """Build one store twice at the same time: the second is refused, or waits."""
    for words, codes in (((), {3}), (("--wait", "-1"), {0})):
        store = bench.store()
        first = start(bench.corpus.command(store), store)
        first.wait_for("fetching", 0.5, bench.seconds["fetching"])
        second = start(bench.corpus.command(store, *words), store)
        code, said = second.end()
        ended = ended_well(first)
        if code not in codes:
            ended.append(f"the second build ended with {code}: {said[-200:]}")
        bench.check(row, "second " + (" ".join(words) or "at once"), store, ended)


def readers(row: Row, bench: Bench) -> None:
    """Read the store from many threads, each with its own connections, while it is built."""
    store, errors, counts = bench.store(), [], [0]
    build = start(bench.corpus.command(store), store)
    over = threading.Event()

    def read() -> None:
        before = 0
        while not over.is_set():
            try:
                sql = "SELECT count(*) AS n, count(DISTINCT clip_id) AS ids FROM samples"
                (found,) = open_store(store).query(sql).rows()
            except Exception as error:  # all of them are counted
                if (store / "manifest.duckdb").exists():
                    errors.append(f"{type(error).__name__}: {error}"[:200])
                time.sleep(0.2)
                continue
            if found["n"] < before or found["n"] != found["ids"]:
                errors.append(f"{found['n']} samples of {found['ids']} after {before}")
            before = found["n"]
            counts[0] += 1

    threads = [threading.Thread(target=read, daemon=True) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    ended = ended_well(build)
    over.set()
    for thread in threads:
        thread.join(60)
    ended += [f"{len(errors)} reads failed, for example {errors[0]}"] if errors else []
    ended += [] if counts[0] else ["no read succeeded"]
    bench.check(row, f"{counts[0]} reads of {READERS} readers", store, ended)


def rows(quick: bool) -> dict[str, Callable[[Row, Bench], object]]:
    """Return what each row does."""
    targets = ("driver", "worker", "nanny", "scheduler", "sandbox")
    found: dict[str, Callable[[Row, Bench], object]] = {}
    for verb, stop in (("kill", False), ("stop", True)):
        for target in ("driver", "sandbox") if quick else targets:
            if not (quick and stop):
                found[f"{verb}-{target}"] = partial(signals, target=target, stop=stop)
    files, gigabytes = ((64,), (2,)) if quick else ((24, 48, 96, 256), (1, 2, 4, 8))
    found["ulimit-n"] = partial(limits, kind=resource.RLIMIT_NOFILE, values=files)
    space = tuple(value << 30 for value in gigabytes)
    found["ulimit-v"] = partial(limits, kind=resource.RLIMIT_AS, values=space)
    found["read-only"] = read_only
    found["full-disk"] = partial(full_disk, sizes=(2048,) if quick else (64, 1024, 2048, 4096))
    found["two-builds"] = two_builds
    found["readers"] = readers
    if not quick:
        found["memory"] = memory
    return found


def prepare(folder: Path, instants: int, clips: int) -> Bench:
    """Build once without a fault, and time its phases."""
    corpus = disturbed.make_corpus(folder / "corpus", clips)
    store = folder / "undisturbed" / "data"
    build, began = start(corpus.command(store), store), {}
    while build.process.poll() is None:
        with suppress(FileNotFoundError):
            began.setdefault(disturbed.phase(store)[0], time.monotonic())
        time.sleep(0.002)
    code, said = build.end()
    if code:
        raise SystemExit(f"the undisturbed build ended with {code}: {said}")
    times = [*(began[phase] for phase in PHASES), time.monotonic()]
    seconds = {name: times[i + 1] - times[i] for i, name in enumerate(PHASES)}
    return Bench(folder, corpus, shard_hashes(store), seconds, instants)


def markdown(done: Sequence[Row]) -> str:
    """Return the rows as a table, and below it what did not hold."""
    lines = ["| fault | tried | held | ended before | not held |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.name} | {row.tried} | {row.held} | {row.missed} | {row.tried - row.held} |"
        for row in done
    ]
    wrong = [f"- {row.name}, {' '.join(text.split())}" for row in done for text in row.failures]
    return "\n".join([*lines, "", *wrong])


def main() -> None:
    """Run the rows, print the table, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--instants", type=int, default=2, help="instants in each phase")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="rows to run")
    parser.add_argument("--quick", action="store_true", help="few rows, one instant each")
    arguments = parser.parse_args()
    chosen = rows(arguments.quick)
    if unknown := [name for name in arguments.only if name not in chosen]:
        parser.error(f"{unknown[0]!r} is not one of {', '.join(chosen)}")
    done, notes = [], {}
    with tempfile.TemporaryDirectory(prefix="fault-matrix-") as folder:
        instants = 1 if arguments.quick else arguments.instants
        bench = prepare(Path(folder), instants, clips=12)
        for name, work in chosen.items():
            if arguments.only and name not in arguments.only:
                continue
            began, row = time.monotonic(), Row(name)
            if isinstance(how := work(row, bench), str):
                notes[name] = how
            done.append(row)
            print(
                f"{name}: {row.held} of {row.tried}, {time.monotonic() - began:.0f} s", flush=True
            )
        print(f"\n{markdown(done)}")
        for name, note in notes.items():
            print(f"- {name}: by {note}")
        result = {"seconds": bench.seconds, "notes": notes, "rows": [asdict(row) for row in done]}
    print(write("fault_matrix", json.loads(json.dumps(result))))


if __name__ == "__main__":
    main()
