"""Training runs as avstore browse shows them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avstore.manifests.nearest import did_you_mean
from avstore.manifests.store import StoreError
from avstore.pipelines.browse.training import (
    FoundEvent,
    RunLibrary,
    ScoredClip,
    TrainingRun,
)


def run_library(given: Path | None, default: Path) -> RunLibrary | None:
    """Return the runs below a folder; None if none is given and the default does not exist.

    Raises:
        StoreError: The given folder does not exist.
    """
    if given is not None and not given.is_dir():
        raise StoreError(f"there is no folder {given}; give the --out of train/run.py")
    folder = given or default
    return FolderOfRuns(folder) if folder.is_dir() else None


_SHOWN = 12  # best clips of a run, and worst ones


class FolderOfRuns:
    """The runs below a folder, read again for each page.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def listed(self) -> Sequence[TrainingRun]:
        """Return all runs, without losses and matrix; none if the folder holds no run yet."""
        return [_listed(run) for run in self._runs()]

    def run(self, name: str) -> TrainingRun:
        """Return one run. Raise StoreError if there is none of that name."""
        found = {run.name: run for run in self._runs()}
        if name not in found:
            raise StoreError(f"there is no run {name!r}{did_you_mean(name, found)}")
        return _whole(found[name])

    def events(self, clip_id: str) -> Sequence[FoundEvent]:
        """Return what the runs found in a clip."""
        import pyarrow.parquet as pq

        from avstore.train.clip_scores import EVENTS

        found = []
        for run in self._runs():
            path = run.folder / EVENTS
            if path.is_file():
                rows = pq.read_table(path, filters=[("clip_id", "=", clip_id)]).to_pylist()
                found += [_found_event(run.name, row) for row in rows]
        return found

    def _runs(self) -> list[Any]:
        from avstore.train.results import RESULTS
        from avstore.train.runs import RECORD, find_runs

        if not any(next(self._folder.rglob(name), None) for name in (RESULTS, RECORD)):
            return []
        return find_runs([self._folder])


def _listed(run: Any) -> TrainingRun:
    finished = run.finished or ("yes" if run.is_complete else None)
    return TrainingRun(run.name, run.settings, finished, run.scores, run.tasks)


def _whole(run: Any) -> TrainingRun:
    import numpy as np

    from avstore.train.results import matrix

    rows, listed = run.rows(), _listed(run)
    scores = [matrix(rows, list(run.tasks), metric) for metric in run.shown] if run.tasks else []
    own = np.mean(scores, axis=0).tolist() if rows and scores else []
    losses = [(row["step"], row["value"]) for row in rows if row["metric"] == "loss"]
    metric, ranked = _ranked(run.folder)
    return replace(
        listed,
        matrix=own,
        losses=losses,
        metric=metric,
        best=ranked[:_SHOWN],
        worst=ranked[::-1][: max(0, min(_SHOWN, len(ranked) - _SHOWN))],
    )


def _ranked(folder: Path) -> tuple[str, list[ScoredClip]]:
    """Return what a run scored single clips by, and the clips, the best first."""
    import pyarrow.parquet as pq

    from avstore.train.clip_scores import CLIPS

    path = folder / CLIPS
    rows = pq.read_table(path).to_pylist() if path.is_file() else []
    rows.sort(key=lambda row: (-row["value"], row["clip_id"]))
    metric = rows[0]["metric"] if rows else ""
    return metric, [ScoredClip(row["clip_id"], row["value"]) for row in rows]


def _found_event(run: str, row: dict[str, Any]) -> FoundEvent:
    own = (row["modality"], row["label_id"], row["onset_s"], row["offset_s"])
    return FoundEvent(run, *own)
