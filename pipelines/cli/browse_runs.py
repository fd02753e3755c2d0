"""Training runs as avstore browse shows them."""

import logging
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


_LOG = logging.getLogger("avstore")
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
        return [_described(name, folder) for name, folder in sorted(self._folders().items())]

    def run(self, name: str) -> TrainingRun:
        """Return one run. Raise StoreError if there is none of that name, or it is damaged."""
        from avstore.train.runs import read_run

        found = self._folders()
        if name not in found:
            raise StoreError(f"there is no run {name!r}{did_you_mean(name, found)}")
        return _whole(read_run(found[name], name))

    def events(self, clip_id: str) -> Sequence[FoundEvent]:
        """Return what the runs found in a clip; runs whose files are damaged are left out."""
        from avstore.train.clip_scores import EVENT_COLUMNS, EVENTS

        found = []
        for name, folder in sorted(self._folders().items()):
            try:
                rows = _rows(folder / EVENTS, EVENT_COLUMNS, [("clip_id", "=", clip_id)])
                found += [_found_event(name, row) for row in rows]
            except StoreError as error:
                _LOG.warning("%s", error)  # the page of the run says it
        return found

    def _folders(self) -> dict[str, Path]:
        from avstore.train.runs import run_folders

        return run_folders(self._folder)


def _rows(path: Path, schema: Any, filters: Any = None) -> list[dict[str, Any]]:
    """Return the rows of a file of a run; none if there is no file.

    Raises:
        StoreError: It cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        return []
    try:
        found: list[dict[str, Any]] = pq.read_table(
            path, schema=schema, filters=filters
        ).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path} cannot be read ({error}); evaluate the run again") from error
    if any(value is None for row in found for value in row.values()):
        raise StoreError(f"{path} cannot be read (values are missing); evaluate the run again")
    return found


def _described(name: str, folder: Path) -> TrainingRun:
    """Return a run without losses and matrix, or what is wrong with it."""
    from avstore.train.runs import read_run

    try:
        return _listed(read_run(folder, name))
    except StoreError as error:
        return TrainingRun(name, {}, None, {}, problem=str(error))


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
    from avstore.train.clip_scores import CLIP_COLUMNS, CLIPS

    rows = _rows(folder / CLIPS, CLIP_COLUMNS)
    rows.sort(key=lambda row: (-row["value"], row["clip_id"]))
    metric = rows[0]["metric"] if rows else ""
    return metric, [ScoredClip(row["clip_id"], row["value"]) for row in rows]


def _found_event(run: str, row: dict[str, Any]) -> FoundEvent:
    own = (row["modality"], row["label_id"], row["onset_s"], row["offset_s"])
    return FoundEvent(run, *own)
