"""Compare the loader with those of others over the same clips, in turns, in one run.

    python -m benchmarks.loader_peers --sample STORE --store DIR --python PEERS/bin/python

--sample: a built store with 80 frames, fbank and sound of each clip; its clips are repeated.
--python: an environment with what is to be compared; what it lacks is named and left out:

    uv venv PEERS
    uv pip install --python PEERS/bin/python torch==2.11.0 webdataset litdata mosaicml-streaming \\
        pylance datasets spdl simplejpeg av psutil

Every loader runs in a process of its own and decodes by libjpeg-turbo and FFmpeg, frames at their
stored size. CPU seconds are of all its processes. The first pass of each is not counted.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from avstore.train.data import open_store, sample_list
from benchmarks.common import table, write
from benchmarks.loader_store import repeat
from benchmarks.peers.decoding import FRAMES, JOBS

OURS = "avstore"
PEERS = (
    *("stock DataLoader", "webdataset", "LitData", "MosaicML streaming", "Lance", "HF datasets"),
    "SPDL",
)


def main() -> None:
    """Measure, print a table a job, write the JSON."""
    args = _arguments()
    root = repeat(args.sample, args.store / f"r{args.clips}", args.clips).root
    index = write_index(root, args.store / f"index-{args.clips}.json")
    children = {OURS: Child(sys.executable, OURS, index, root)}
    children |= {name: Child(args.python, name, index, args.store / name) for name in args.loaders}
    found: dict[str, Any] = {}
    for job in args.jobs:
        clips = args.clips // 4 if JOBS[job].frames == FRAMES else args.clips
        for workers in args.workers:
            request = {"job": job, "workers": workers, "clips": clips}
            found[f"{job}, {workers} workers"] = measured(children, request, args.rounds)
    for name, rows in found.items():
        table(name, ("loader", "CPU ms a clip", "clips/s", "CPU / ours"), shown(rows))
    print(write("loader_peers", found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=Path, default=Path("data"))
    parser.add_argument("--store", type=Path, default=Path("data/benchmarks"))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--clips", type=int, default=600, help="a quarter for all frames")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2, 4])
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--loaders", nargs="+", default=list(PEERS), choices=list(PEERS))
    return parser.parse_args()


def write_index(root: Path, path: Path) -> Path:
    """Write where each clip's members are, for those who do not read the manifest."""
    query = "SELECT clip_id FROM samples ORDER BY shard, position"
    samples = sample_list(open_store(root), query)
    names = ["fbank.npy", "flac", *(f"f{number:03d}.jpg" for number in range(FRAMES))]
    rows = []
    for sample in map(samples.sample, range(len(samples))):
        places = {name: sample.range(name) for name in names}
        rows.append({"shard": str(root.resolve() / sample.shard.path), "places": places})
    path.write_text(json.dumps(rows))
    return path


class Child:
    """A process with one loader."""

    def __init__(self, python: str, name: str, index: Path, folder: Path) -> None:
        command = [python, "-m", "benchmarks.peers.child", name, str(index), str(folder)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parent.parent,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer; an error if the process ended."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            answer: dict[str, Any] = json.loads(stdout.readline() or '{"error": "it ended"}')
        except BrokenPipeError:
            answer = {"error": "it ended"}
        return answer


def measured(children: dict[str, Child], request: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Return by loader the medians of a job, or why it has none."""
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in children}
    for _ in range(rounds + 1):
        for name, child in children.items():
            if not any("error" in answer for answer in answers[name]):
                answers[name].append(child.ask(request))
    found: dict[str, Any] = {}
    for name, rows in answers.items():
        children[name].ask({})
        if "error" in rows[-1]:
            found[name] = rows[-1]
            continue
        found[name] = {
            "cpu_ms": median(row["cpu"] / row["clips"] for row in rows[1:]) * 1e3,
            "per_s": median(row["clips"] / row["seconds"] for row in rows[1:]),
        }
    print(request, {name: row.get("cpu_ms") or row for name, row in found.items()}, flush=True)
    return found


def shown(rows: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a table."""
    own = rows[OURS]["cpu_ms"]
    return [
        (name, row["error"], "", "")
        if "error" in row
        else (name, row["cpu_ms"], row["per_s"], row["cpu_ms"] / own)
        for name, row in rows.items()
    ]


if __name__ == "__main__":
    main()
