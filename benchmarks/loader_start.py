"""Measure the start of a run on millions of clips: from the process's start to the first batch.

    python -m benchmarks.loader_start --clips 2100000 --store /tmp/stores

The store has the metadata of AudioSet's shape (`synthetic_store`), and of its shards only the
members that the first batch reads: sparse files. Every run is a process of its own, page cache
warm; medians.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CEILINGS = {"rows, GB": 0.75, "bytes a row": 350.0, "query, CPU s": 10.0, "state, ms": 1.0}
SQL = "SELECT clip_id FROM trainable"
BATCH = 64


def main() -> None:
    """Make the store unless it exists, run the start some times, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--store", type=Path, default=Path("data/benchmarks"))
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--one", action="store_true", help="one start, as JSON")
    arguments = parser.parse_args()
    root = arguments.store / f"m{arguments.clips}"
    if arguments.one:
        print(json.dumps(start(root)))
        return
    prepare(root, arguments.clips)
    command = [sys.executable, "-m", "benchmarks.loader_start", *sys.argv[1:], "--one"]
    rows = [json.loads(subprocess.check_output(command)) for _ in range(arguments.times)]
    found = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    from benchmarks import common

    common.table(
        f"start of a run, {arguments.clips:,} clips",
        ("what", "measured", "target"),
        [(name, value, CEILINGS.get(name, "")) for name, value in found.items()],
    )
    common.write("loader_start", {"clips": arguments.clips, "runs": rows, "ceilings": CEILINGS})


def start(root: Path) -> dict[str, float]:
    """Return the seconds of each part of the start, and the memory that the list takes."""
    laps = _Laps()
    from avstore import BatchSpec, Loader, open_store, sample_list

    laps.end("import")
    store = open_store(root)
    laps.end("open")
    samples = sample_list(store, SQL)
    laps.end("query")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    loader = Loader(samples, BatchSpec(BATCH, frames=1, read=("frames",)))
    laps.end("loader")
    next(iter(loader))
    laps.end("first batch")
    laps.total()
    began = time.perf_counter()
    loader.state_dict()
    state = (time.perf_counter() - began) * 1e3
    size = samples.table.nbytes + (samples.members.nbytes if samples.members else 0)
    return laps.found | {
        "state, ms": state,
        "rows, GB": size / 1e9,
        "bytes a row": size / len(samples),
        "peak memory, GB": peak,
    }


class _Laps:
    """Wall and CPU seconds of consecutive parts."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}
        self._at = self._began = (time.perf_counter(), time.process_time())

    def end(self, name: str) -> None:
        self._at = self._note(name, self._at)

    def total(self) -> None:
        self._note("all", self._began)

    def _note(self, name: str, since: tuple[float, float]) -> tuple[float, float]:
        now = (time.perf_counter(), time.process_time())
        self.found |= {f"{name}, s": now[0] - since[0], f"{name}, CPU s": now[1] - since[1]}
        return now


def prepare(root: Path, clips: int) -> None:
    """Make the store with the members of the first batch."""
    from avstore.manifests.catalogue import open_write
    from avstore.manifests.rebuild import rebuild
    from avstore.manifests.store import Store
    from benchmarks.synthetic_store import generate

    store = Store(root)
    if not store.ledger.is_dir():
        generate(root, clips, late=0)
    if not store.manifest.is_file():
        with open_write(store, fresh=True) as writer:
            rebuild(writer, store)
            writer.publish()
    _write_members(root)


def _write_members(root: Path) -> None:
    """Write the frames of the first batch's clips to sparse shards."""
    import numpy as np
    import simplejpeg

    from avstore import BatchSpec, Loader, open_store, sample_list
    from avstore.pipelines.build.shard_tar import member_header

    samples = sample_list(open_store(root), SQL)
    picture: Any = np.full((224, 224, 3), 128, np.uint8)
    jpeg = simplejpeg.encode_jpeg(picture, 50)
    rows = Loader(samples, BatchSpec(BATCH, frames=1, read=("frames",))).order().rows(0)
    for index in rows.indices.tolist():
        sample = samples.sample(index)
        path = root / sample.shard.path
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(sample.shard.bytes)
            for member in sample.byte_ranges(sample.layout.frames):
                header = member_header(member.name, member.size)
                file.seek(member.offset - len(header))
                file.write(header + jpeg.ljust(member.size, b"\0"))


if __name__ == "__main__":
    main()
