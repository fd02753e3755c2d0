"""Classification by the weights after each task of a run, as FLAVA (arXiv 2310.08204v1) reports it.

A head is trained on each checkpoint by itself, on the training clips of all tasks; it classifies
the evaluation clips of each task into the classes of all tasks.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from avstore.train.config import apply_overrides, read_config
from avstore.train.errors import UserError
from avstore.train.results import RESULTS, score_rows
from avstore.train.systems.cavmae.downstream.config import FOLDER
from avstore.train.task_matrix import Measure, classification_measure, report_matrix


@dataclass(frozen=True)
class TrainedRun:
    """A finished run of train/run.py.

    Attributes:
        folder: Its folder.
        stream: Its stream.
        tasks: Names of the stream's tasks, in order.
        checkpoints: task-*.pt: one a task, or a single one of joint training.
    """

    folder: Path
    stream: str
    tasks: list[str]
    checkpoints: list[Path]

    @property
    def trained(self) -> list[str]:
        """Names of what was trained on before each checkpoint."""
        return self.tasks if len(self.checkpoints) == len(self.tasks) else ["joint"]


def finished_run(folder: Path, stream: str | None) -> TrainedRun:
    """Return the run in a folder.

    Args:
        folder: The `--out` of train/run.py.
        stream: The stream that the user asks for, None for the run's.

    Raises:
        UserError: The folder holds no finished run with several tasks, or one on another stream.
    """
    try:
        results = json.loads((folder / RESULTS).read_text())
        tasks, own = list(results["tasks"]), str(results["config"]["stream"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder} is not the folder of a finished run of train/run.py: it has no {RESULTS} of "
            "one; finish the run, or give a task-*.pt"
        ) from error
    if stream not in (None, own):
        raise UserError(
            f"{folder} was trained on stream {own!r}, not {stream!r}; leave --stream out"
        )
    checkpoints = sorted(folder.glob("task-*.pt"))
    if len(tasks) < 2 or len(checkpoints) not in (1, len(tasks)):
        raise UserError(
            f"{folder} has {len(checkpoints)} checkpoints (task-*.pt) of {len(tasks)} task(s); the "
            "matrix needs one after each of several tasks, or one of joint training"
        )
    return TrainedRun(folder, own, tasks, checkpoints)


def require_classification(config: str, sets: list[str], folder: Path) -> None:
    """Check that a configuration classifies.

    Raises:
        UserError: It does something else.
    """
    table = read_config(config, FOLDER)
    apply_overrides(table, {}, sets)
    if (task := table.get("task")) not in ("classify", "cavmae_classify"):
        raise UserError(
            f"--init {folder} is a folder, and config {config!r} (task {task!r}) has no scores by "
            "task; give one of its task-*.pt, or a config that classifies"
        )


@dataclass(frozen=True)
class CheckpointScores:
    """What one checkpoint's evaluation wrote.

    Attributes:
        by_task: Scores by task and metric.
        headline: The metric to show.
        config: Its configuration, as JSON.
    """

    by_task: dict[str, dict[str, float]]
    headline: str
    config: dict[str, Any]

    @classmethod
    def load(cls, folder: Path, tasks: list[str]) -> "CheckpointScores":
        """Read the results of an evaluation.

        Raises:
            UserError: A task has no scores.
        """
        results = json.loads((folder / RESULTS).read_text())
        by_task, headline = results.get("by_task", {}), results["headline"]
        if missing := [task for task in tasks if headline not in by_task.get(task, {})]:
            raise UserError(
                f"{folder} has no {headline} of the task(s) {', '.join(missing)}: too few of their "
                "clips are stored or have a label; the matrix needs all tasks"
            )
        return cls(by_task, headline, results["config"])


def report_checkpoints(
    out: Path, run: TrainedRun, scored: list[CheckpointScores], console: Console
) -> None:
    """Write and print the matrix, the average and the forgetting.

    Args:
        out: Where to write.
        run: The run.
        scored: The scores of each of its checkpoints, in order.
        console: Where to print.
    """
    rows = [
        row
        for number, (name, one) in enumerate(zip(run.trained, scored, strict=True), 1)
        for row in score_rows({t: one.by_task[t] for t in run.tasks}, out.name, name, number)
    ]
    results = {
        "run": str(run.folder),
        "tasks": run.tasks,
        "config": {**scored[0].config, "init": str(run.folder)},
        "headline": scored[0].headline,
        "torch": torch.__version__,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    report_matrix(out, rows, run.tasks, _measure(scored), results, console)


def _measure(scored: list[CheckpointScores]) -> Measure:
    """Return the measure of the metrics that all tasks have."""
    tasks = [metrics for one in scored for metrics in one.by_task.values()]
    common = [name for name in tasks[0] if all(name in metrics for metrics in tasks)]
    return classification_measure(scored[0].headline, common)
