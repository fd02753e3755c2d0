"""Measure the loader against upper bounds and against stock webdataset, in one run.

    python -m benchmarks.loader --sample data --store DIR [--clips 2000] [--plan-clips 2100000]

--sample: the store of `make vggsound-shards`, whose clips are repeated. Measurements are of one
process and a warm page cache unless they say otherwise.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from avstore.manifests.store import Store
from avstore.train.data import Loader, SampleList, open_store, raw_samples, sample_list
from benchmarks import loader_remote
from benchmarks.common import alternately, seconds, table, write
from benchmarks.loader_decoded import FLOAT, decoded
from benchmarks.loader_store import repeat

ALL = "SELECT clip_id FROM samples"
ONE = "SELECT clip_id FROM clips JOIN samples USING (clip_id) WHERE label_ids[1] = 7"


def main() -> None:
    """Measure, print the table, write the JSON."""
    args = _arguments()
    store = repeat(args.sample, args.store / f"r{args.clips}", args.clips)
    samples = sample_list(open_store(store.root), ALL)
    shards = [str(store.root / shard.path) for shard in samples.shards]
    found: dict[str, Any] = {"clips": len(samples), "GB": sum(map(os.path.getsize, shards)) / 1e9}
    found |= raw(samples, shards)
    found |= decoded(samples, shards)
    found |= one_percent(store, shards)
    found |= resume(store)
    found |= memory(samples)
    if args.plan_clips:
        found |= plan(args.store / f"m{args.plan_clips}", args.plan_clips)
    found |= loader_remote.measure(repeat(args.sample, args.store / "r600", 600).root)
    table("loader", ("what", "value"), found.items())
    print(write("loader", found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=Path, default=Path("data"))
    parser.add_argument("--store", type=Path, default=Path("data/benchmarks"))
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--plan-clips", type=int, default=0, help="rows of a plan, e.g. 2100000")
    return parser.parse_args()


def drop_cache(paths: list[str]) -> None:
    """Drop the files' pages from the page cache."""
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def raw(samples: SampleList, shards: list[str]) -> dict[str, float]:
    """Measure whole shards as samples, against reading the same bytes sequentially."""

    def plain() -> None:
        buffer = bytearray(8 << 20)
        for path in shards:
            with open(path, "rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    def ours() -> None:
        for _ in raw_samples(samples):
            pass

    plain()
    warm, warm_ours = alternately(5, lambda: seconds(plain), lambda: seconds(ours))

    def cold(work: Callable[[], None]) -> float:
        drop_cache(shards)
        return seconds(work)

    some = alternately(3, lambda: cold(plain), lambda: cold(ours))
    return {
        "raw: sequential / ours, warm (target 0.8)": warm / warm_ours,
        "raw: sequential / ours, cold (target 0.8)": some[0] / some[1],
    }


def one_percent(store: Store, shards: list[str]) -> dict[str, float]:
    """Measure one clip in a hundred from all shards: a query, against filtering the stream."""

    def ours() -> None:
        for _ in raw_samples(sample_list(open_store(store.root), ONE)):
            pass

    def stock() -> None:
        import webdataset

        wanted = set(sample_list(open_store(store.root), ONE).clip_ids)
        dataset = webdataset.WebDataset(shards, shardshuffle=False)
        for _ in dataset.select(lambda sample: f"repeated/{sample['__key__']}" in wanted):
            pass

    times = alternately(3, lambda: seconds(stock), lambda: seconds(ours))
    return {"1 % of the clips: filtering the stream / query (target 30)": times[0] / times[1]}


def resume(store: Store) -> dict[str, float]:
    """Measure the time to the first batch in the middle of an epoch, with two workers."""
    state = Loader(sample_list(open_store(store.root), ALL), FLOAT).state_dict() | {"step": 9}

    def first() -> None:
        loader = Loader(sample_list(open_store(store.root), ALL), FLOAT, workers=2)
        loader.load_state_dict(state)
        running: Iterator[Any] = iter(loader)
        next(running)
        running.close()  # type: ignore[attr-defined]

    return {"first batch after a resume, s (target 1)": alternately(3, lambda: seconds(first))[0]}


def memory(samples: SampleList) -> dict[str, float]:
    """Measure the proportional memory of four workers in the second and sixth epoch."""
    import psutil

    sizes = []
    loader = Loader(samples, FLOAT, workers=4)
    for _ in range(6):
        most = 0
        for number, _ in enumerate(loader):
            if number % 8 == 0:
                processes = psutil.Process().children(recursive=True)
                most = max(most, sum(_proportional(process) for process in processes))
        sizes.append(most)
    return {
        "memory of 4 workers, MB": sizes[1] / 1e6,
        "memory: sixth epoch / second": sizes[5] / sizes[1],
    }


def _proportional(process: Any) -> int:
    import psutil

    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def plan(root: Path, clips: int) -> dict[str, float]:
    """Measure a four-task plan over a manifest of `clips` clips, without shards."""
    from avstore.manifests.catalogue import open_write
    from avstore.manifests.rebuild import rebuild
    from avstore.train.data import PlanSpec, compile_plan
    from benchmarks.synthetic_store import generate

    store = Store(root)
    if not store.manifest.is_file():
        generate(root, clips)
        with open_write(store, fresh=True) as writer:
            rebuild(writer, store)
            writer.publish()
    tasks = {
        f"task {part}": f"SELECT clip_id FROM clips WHERE label_ids[1] % 4 = {part}"
        for part in range(4)
    }
    spec = PlanSpec(batch_size=256, replay=64, memory=10_000)

    def compiled() -> None:
        plan = compile_plan(open_store(root), tasks, spec, 0, ranges=False)
        assert len(plan.fingerprint) == 64
        plan.rows(len(plan) // 2)

    return {f"plan of 4 tasks over {clips:,} clips, s (target 3)": seconds(compiled)}


if __name__ == "__main__":
    main()
