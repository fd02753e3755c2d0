"""Measure AudioSet's full annotations, from CSV to a queryable manifest: seconds and memory.

    python -m benchmarks.annotations --rows 2041789

The rows are synthetic: label lists are drawn with replacement from the real eval file if it is
available (AVSTORE_SHARED), or else made from the vocabulary. The parser is compared with pyarrow's
CSV reader on the same file, which checks nothing and leaves the labels as one text. Every step runs
in its own process, so that its peak memory is measured alone.
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.csv

from avstore.datasets.audioset import AUDIOSET, vocabulary
from avstore.manifests import annotation_sets as annotations
from avstore.manifests.schema import create_schema
from avstore.manifests.tasks import create_task_view, register_stream
from avstore.pipelines.build.annotations import read_annotations
from avstore.pipelines.build.task_streams import load_stream

OUT = Path(__file__).parent / "out"
REPO = Path(__file__).resolve().parents[1]
_ALPHABET = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"))


def main() -> None:
    """Write the file, run the steps, print the table and write the JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=2_041_789)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "unbalanced_train_segments.csv"
        write_segments(path, rows)
        steps = {
            "pyarrow.csv, unchecked": _alone(_ceiling, path),
            "parse": _alone(_parse, path),
            "parse, ingest, plan audioset-7": _alone(_plan, path),
        }
        size = path.stat().st_size
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": rows,
        "bytes": size,
        "steps": steps,
        "parse / ceiling": steps["parse"]["seconds"] / steps["pyarrow.csv, unchecked"]["seconds"],
    }
    OUT.mkdir(exist_ok=True)
    (OUT / "annotations.json").write_text(json.dumps(result, indent=1))
    for name, step in steps.items():
        print(f"{name:34} {step['seconds']:7.2f} s {step['peak_gb']:6.2f} GB  {step['found']}")
    print(f"parse / ceiling {result['parse / ceiling']:.1f}")


def write_segments(path: Path, rows: int, seed: int = 0) -> None:
    """Write an AudioSet segments file.

    Args:
        path: File to write.
        rows: Number of segments.
        seed: Seed of ids, times and label lists.
    """
    rng = np.random.default_rng(seed)
    lists = _label_lists()
    with path.open("w") as file:
        file.write(f"# Segments csv created\n# num_ytids={rows}, num_segs={rows}\n")
        file.write("# YTID, start_seconds, end_seconds, positive_labels\n")
        for first in range(0, rows, 100_000):
            count = min(100_000, rows - first)
            ids = _ALPHABET[rng.integers(0, 64, (count, 11))]
            starts = 10 * rng.integers(0, 50, count)
            chosen = rng.integers(0, len(lists), count)
            file.writelines(
                f'{"".join(name)}, {start}.000, {start + 10}.000, "{lists[k]}"\n'
                for name, start, k in zip(ids, starts.tolist(), chosen.tolist(), strict=True)
            )


def _label_lists() -> list[str]:
    shared = Path(os.environ.get("AVSTORE_SHARED", REPO.parent / "shared"))
    real = shared / "data" / "annotations" / "audioset" / "eval_segments.csv"
    if real.is_file():
        return [line.split('"')[1] for line in real.read_text().splitlines() if '"' in line]
    mids = [str(label.mid) for label in vocabulary()]
    return [f"{mid},{mids[0]}" for mid in mids]


def _ceiling(path: Path) -> int:
    options = pyarrow.csv.ReadOptions(skip_rows=3, autogenerate_column_names=True)
    # pyarrow does not accept a space before a quote, so the spaces are removed first.
    squeezed = path.with_suffix(".squeezed")
    squeezed.write_bytes(path.read_bytes().replace(b", ", b","))
    return int(pyarrow.csv.read_csv(squeezed, read_options=options).num_rows)


def _parse(path: Path) -> int:
    return len(AUDIOSET.parse([path]).clips)


def _plan(path: Path) -> dict[str, int]:
    with duckdb.connect() as con:
        create_schema(con)
        annotations.replace_annotations(con, read_annotations(AUDIOSET, [path]))
        register_stream(con, load_stream("audioset-7"))
        create_task_view(con)
        query = con.execute(
            "SELECT task, query FROM tasks WHERE role = 'train' ORDER BY position"
        ).fetchall()
        published = "(SELECT c.*, NULL::VARCHAR AS verdict FROM clips c)"
        return {
            task: con.execute(
                f"SELECT count(*) FROM ({sql.replace('stored_clips', published)})"
            ).fetchall()[0][0]
            for task, sql in query
        }


def _alone(step: Callable[[Path], Any], path: Path) -> dict[str, Any]:
    """Run a step in its own process; return seconds, peak memory in GB and its result."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measured, (step, path))


def _measured(step: Callable[[Path], Any], path: Path) -> dict[str, Any]:
    began = time.perf_counter()
    found = step(path)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "peak_gb": peak / 1e6, "found": found}


if __name__ == "__main__":
    main()
