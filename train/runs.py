"""Find training runs below a folder: their settings, scores and losses."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avstore.manifests.store import StoreError
from avstore.train.results import HEADLINE, METRICS, RESULTS, SCHEMA, Row, flatten, settings_table

RECORD = "run.json"
"""What a run writes when it starts."""
MEASURES = {
    "average": "average",
    "F(code)": "forgetting_code",
    "F(standard)": "forgetting_standard",
}
"""Names of a matrix's measures, and their keys in results.json."""


@dataclass(frozen=True)
class Run:
    """A run, as its folder records it.

    Attributes:
        name: Its path below the folder that was searched.
        folder: Its folder.
        settings: Its configuration, by dotted key.
        tasks: Names of the tasks of a continual run, in order.
        shown: Metrics whose mean its task matrix shows.
        scores: Final scores by name: a continual run's measures (mean over both directions of
            retrieval, or of classification, in percent), or those of a downstream task. Empty while
            the run is unfinished.
        finished: When it ended (UTC); None: it has not, or is a downstream run.
    """

    name: str
    folder: Path
    settings: dict[str, Any]
    tasks: tuple[str, ...]
    shown: tuple[str, ...]
    scores: dict[str, float]
    finished: str | None

    @property
    def headline(self) -> float | None:
        """The score that an evaluation shows; None for a continual run."""
        return self.scores.get(self.shown[0]) if len(self.shown) == 1 else None

    @property
    def is_complete(self) -> bool:
        """Return whether the run has results."""
        return bool(self.scores)

    def rows(self) -> list[Row]:
        """Return the losses and scores; none while the run is unfinished.

        Raises:
            StoreError: They cannot be read.
        """
        path = self.folder / METRICS
        if not self.is_complete:
            return []
        try:
            rows: list[Row] = pq.read_table(path, schema=SCHEMA).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{path} cannot be read ({error}); train the run again") from error
        return rows


def find_runs(places: Sequence[Path]) -> list[Run]:
    """Return all runs below some folders, each once, sorted by name.

    Raises:
        StoreError: A folder does not exist, holds no run, or a run in it cannot be read.
    """
    found: dict[Path, Run] = {}
    for place in places:
        if not place.is_dir():
            raise StoreError(f"there is no folder {place}; give the --out of train/run.py")
        folders = run_folders(place)
        if not folders:
            raise StoreError(f"{place} holds no run; give the --out of train/run.py")
        for name, folder in folders.items():
            found.setdefault(folder.resolve(), read_run(folder, name))
    return sorted(found.values(), key=lambda run: run.name)


def run_folders(place: Path) -> dict[str, Path]:
    """Return the folders of all runs below a folder, readable or not, by name of the run."""
    folders = {path.parent for name in (RESULTS, RECORD) for path in place.rglob(name)}
    return {
        str(folder.relative_to(place)) if folder != place else folder.absolute().name: folder
        for folder in sorted(folders)
    }


def read_run(folder: Path, name: str) -> Run:
    """Return the run of a folder.

    Raises:
        StoreError: What it wrote cannot be read.
    """
    complete = (folder / RESULTS).is_file()
    path = folder / (RESULTS if complete else RECORD)
    if not path.is_file():
        raise StoreError(f"{folder} is not the folder of a run; give the --out of train/run.py")
    try:
        record = json.loads(path.read_text())
        return Run(
            name=name,
            folder=folder,
            settings=flatten(record["config"]),
            tasks=tuple(record.get("tasks", ())),
            shown=_shown(record),
            scores=_scores(record) if complete else {},
            finished=record.get("finished"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{error}"
        raise StoreError(f"{path} is not the record of a run ({reason}); remove it") from error


def _scores(results: dict[str, Any]) -> dict[str, float]:
    """Return the final scores of what `results.json` holds."""
    if "scores" in results:
        return {str(name): float(value) for name, value in results["scores"].items()}
    summary = results["summary"]
    shown = _shown(results)
    return {
        name: float(np.mean([summary[metric][key] for metric in shown]))
        for name, key in MEASURES.items()
        if all(summary[metric][key] is not None for metric in shown)
    }


def _shown(record: dict[str, Any]) -> tuple[str, ...]:
    """Return the metrics that a task matrix shows; of a run without a word on it, retrieval's."""
    shown = record.get("headline", HEADLINE)
    return (shown,) if isinstance(shown, str) else tuple(shown)


def database(runs: Sequence[Run]) -> duckdb.DuckDBPyConnection:
    """Return a database of runs: tables `runs` and `metrics`, which queries cannot leave.

    `runs` has a row a run: run, folder, finished, each setting by its dotted key, and each final
    score as `score.<name>`. `metrics` has the rows of all runs.
    """
    settings = [
        {"run": run.name, "folder": str(run.folder), "finished": run.finished}
        | run.settings
        | {f"score.{name}": value for name, value in run.scores.items()}
        for run in runs
    ]
    rows = [{**row, "run": run.name} for run in runs for row in run.rows()]
    con = duckdb.connect()
    con.register("given_runs", settings_table(settings))
    con.execute("CREATE TABLE runs AS SELECT * FROM given_runs")
    con.register("given_metrics", pa.Table.from_pylist(rows, schema=SCHEMA))
    con.execute("CREATE TABLE metrics AS SELECT * FROM given_metrics")
    con.unregister("given_runs").unregister("given_metrics")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    return con
