"""Measure the manifest over millions of clips, each number beside its target.

    python -m benchmarks.manifest --clips 10000 100000 2100000 --store /tmp/stores

Every step runs in its own process, so that its peak memory is measured alone.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from avstore.manifests.account import accounts
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.compare import compare_with_rebuild, reason_to_skip
from avstore.manifests.ingest import commit_shards
from avstore.manifests.inventory import all_files
from avstore.manifests.rebuild import rebuild
from avstore.manifests.sealed import check_files
from avstore.manifests.store import Store
from benchmarks.synthetic_store import DATASET, SHARD_CLIPS, STAGE, generate

OUT = Path(__file__).parent / "out"
# Targets for a store of 2.1 million clips on two cores: seconds, gigabytes, or a ratio.
CEILINGS = {
    "rebuild / plain copy": 2.0,
    "ingest of a shard, s": 0.05,
    "label counts, s": 0.05,
    "filter by a label, s": 0.05,
    "ranges of 10,000 samples, s": 0.5,
    "plan of a finished build, s": 10.0,
    "peak memory, GB": 4.0,
}


def main() -> None:
    """Measure every requested size, print the table and write the JSON."""
    arguments = _arguments()
    rows = []
    for clips in arguments.clips:
        root = arguments.store / f"m{clips}"
        generated = _alone(_generate, root, clips)
        row = {"clips": clips, **generated, **measure(Store(root))}
        rows.append(row)
        _print(rows)
        if not arguments.keep:
            shutil.rmtree(root)
    OUT.mkdir(exist_ok=True)
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": multiprocessing.cpu_count(),
        "duckdb": duckdb.__version__,
        "ceilings": CEILINGS,
        "rows": rows,
    }
    (OUT / "manifest.json").write_text(json.dumps(result, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--store", type=Path, default=Path("data/benchmarks"))
    parser.add_argument("--keep", action="store_true", help="keep the generated stores")
    return parser.parse_args()


def measure(store: Store) -> dict[str, Any]:
    """Return all measurements of one store."""
    plain = _alone(_plain, store)
    rebuilt = _alone(_rebuild, store)
    found = {
        "plain copy, s": plain["s"],
        "rebuild, s": rebuilt["s"],
        "rebuild / plain copy": rebuilt["s"] / plain["s"],
        "publish, s": rebuilt["publish"],
        "manifest, GB": store.manifest.stat().st_size / 1e9,
        "plain copy, GB": plain["GB"],
    }
    compared = _alone(_verify, store)
    found["check of all seals, s"] = compared["seals"]
    found["comparison with a rebuild, s"] = compared["compare"]
    queried = _alone(_query, store)
    ingested = _alone(_ingest, store)
    peak = max(step["peak"] for step in (rebuilt, compared, queried, ingested))
    steps = {**queried, **ingested}
    steps.pop("peak")
    return {**found, **steps, "peak memory, GB": peak}


def _alone(step: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run a step in its own process and return its result."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_with_peak, (step, arguments))


def _with_peak(step: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> dict[str, Any]:
    found = step(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {**found, "peak": peak} if step is not _generate else found


def _generate(root: Path, clips: int) -> dict[str, Any]:
    if not (root / "ledger").is_dir():
        generate(root, clips)
    sidecars = Store(root).sidecars()
    return {
        "sidecars": len(sidecars),
        "sidecars, GB": sum(p.stat().st_size for p in sidecars) / 1e9,
    }


def _plain(store: Store) -> dict[str, Any]:
    """Measure a rebuild's lower bound: DuckDB copies the same files into one table."""
    path = store.root / "plain.duckdb"
    path.unlink(missing_ok=True)
    began = time.perf_counter()
    with duckdb.connect(str(path)) as con:
        con.execute("SET memory_limit = '3GB'")
        con.execute("SET enable_progress_bar = false")
        files = [str(sidecar) for sidecar in store.sidecars()]
        con.execute("CREATE TABLE t AS SELECT * FROM read_parquet(?)", [files])
        con.execute("CHECKPOINT")
    seconds, size = time.perf_counter() - began, path.stat().st_size
    path.unlink()
    return {"s": seconds, "GB": size / 1e9}


def _verify(store: Store) -> dict[str, Any]:
    """Check all seals, and compare the manifest with a rebuild; the store has no shards."""
    began = time.perf_counter()
    checked = check_files(all_files(store))
    seals = time.perf_counter() - began
    with open_read(store) as con:
        if reason := reason_to_skip(con, store, checked):
            raise RuntimeError(reason)
        began = time.perf_counter()
        if found := list(compare_with_rebuild(con, store, checked)):
            raise RuntimeError(found[0].what)
        return {"seals": seals, "compare": time.perf_counter() - began}


def _rebuild(store: Store) -> dict[str, Any]:
    with open_write(store, fresh=True) as writer:
        began = time.perf_counter()
        rebuild(writer, store)
        writer.con.execute("CHECKPOINT")
        seconds = time.perf_counter() - began
        began = time.perf_counter()
        writer.publish()
        return {"s": seconds, "publish": time.perf_counter() - began}


_QUERIES = {
    "label counts, s": "SELECT id, count(*) FROM clips, unnest(label_ids) AS u(id) GROUP BY id",
    "label counts by name, s": "SELECT l, count(*) FROM clips, unnest(labels) AS u(l) GROUP BY l",
    "filter by a label, s": "SELECT count(*) FROM clips WHERE list_contains(label_ids, 400)",
    "filter by a label's name, s": "SELECT clip_id FROM clips "
    "WHERE list_contains(labels, 'class 400')",
    "class-balanced task, s": "SELECT clip_id FROM trainable, unnest(label_ids) AS u(id) "
    "WHERE id BETWEEN 200 AND 250 "
    "QUALIFY row_number() OVER (PARTITION BY id ORDER BY hash(clip_id)) <= 100",
}


def _query(store: Store) -> dict[str, Any]:
    from avstore.pipelines.build.planner import outstanding, plan_new

    with open_read(store, memory_bytes=3 * 10**9) as con:
        found = {
            name: _median(lambda q=query: con.execute(q).fetchall())
            for name, query in _QUERIES.items()
        }
        found["status, s"] = _median(lambda: accounts(con, DATASET))
        ids = [
            r[0]
            for r in con.execute(
                "SELECT clip_id FROM samples USING SAMPLE reservoir(10000 ROWS) REPEATABLE (7)"
            ).fetchall()
        ]
        for name, query in _LOOKUPS.items():
            found[name] = _median(lambda q=query: con.execute(q, [ids]).fetchall())

        def plan() -> None:
            con.execute(_DUE, [DATASET]).fetchall()
            plan_new(con, DATASET, STAGE, SHARD_CLIPS)
            outstanding(con, DATASET, STAGE)

        found["plan of a finished build, s"] = _median(plan)
    return found


_LOOKUPS = {
    "ranges of 10,000 samples, s": "SELECT clip_id, shard, range_offset, range_bytes FROM samples "
    "WHERE clip_id IN (SELECT unnest(?))",
    "members of 10,000 samples, s": "SELECT clip_id, shard, offsets, sizes FROM samples "
    "WHERE clip_id IN (SELECT unnest(?))",
}
_DUE = (
    "SELECT c.* FROM status f JOIN clips c USING (clip_id) WHERE f.stage = 'fetch' "
    "AND c.dataset = ? AND f.status IN ('pending', 'retryable')"
)


def _median(step: Callable[[], object], times: int = 5) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _ingest(store: Store) -> dict[str, Any]:
    """Ingest the late shards one at a time, as a build commits them."""
    late = sorted((store.root / "late").glob("*.parquet"))
    seconds = []
    with open_write(store) as writer:
        for sidecar in late:
            began = time.perf_counter()
            commit_shards(writer.con, [sidecar])
            seconds.append(time.perf_counter() - began)
    return {"ingest of a shard, s": statistics.median(seconds)}


def _print(rows: list[dict[str, Any]]) -> None:
    print(f"{'':32}" + "".join(f"{row['clips']:>12,}" for row in rows) + f"{'ceiling':>10}")
    for name in list(rows[0])[1:]:
        values = "".join(f"{row[name]:>12.3f}" for row in rows)
        print(f"{name:32}{values}{CEILINGS.get(name, ''):>10}")


if __name__ == "__main__":
    main()
