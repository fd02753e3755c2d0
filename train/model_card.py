"""Write a finished run's model card: data with its availability, scores, settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from avstore import __version__
from avstore.train.comparison import markdown_table
from avstore.train.config import Config, RunConfig
from avstore.train.config_text import to_toml
from avstore.train.evaluation.forgetting import Summary
from avstore.train.tasks import Stream, Task


def model_card(
    config: RunConfig,
    stream: Stream,
    scores: Mapping[str, Summary] | Mapping[str, float],
    parameters: int,
) -> str:
    """Return the card of a run as Markdown.

    Args:
        config: The run's configuration, filled in.
        stream: Its tasks.
        scores: Average and forgetting by metric, or the value of each score.
        parameters: Number of the model's parameters.
    """
    what = config.method if isinstance(config, Config) else f"from {config.init or 'no weights'}"
    parts = [
        f"# {config.name}, {what}, {stream.name}, seed {config.seed}",
        f"{config.title}\n\nTrained by avstore {__version__}: {parameters:,} parameters, "
        f"{config.epochs} epochs a task, batches of {config.batch_size}, {config.precision}. "
        f"Configuration {config.fingerprint}.",
        "## Data",
        _data(stream),
        "## Scores",
        _scores(scores),
        "## Settings",
        f"```toml\n{to_toml(config)}```",
    ]
    return "\n\n".join(parts) + "\n"


def _scores(scores: Mapping[str, Summary] | Mapping[str, float]) -> str:
    """Return the scores as a table: of a task matrix, or one value each."""
    rows = [
        (
            name,
            *(
                [s.average, s.forgetting_code, s.forgetting_standard]
                if isinstance(s, Summary)
                else [s]
            ),
        )
        for name, s in scores.items()
    ]
    whole = ("metric, %", "average", "F(code)", "F(standard)")
    return _table(whole if rows and len(rows[0]) > 2 else ("score", "value"), rows)


def _data(stream: Stream) -> str:
    """Return the clips of each task beside the published ones, and the lists' fingerprints."""
    words = {"train": "training clips", "val": "clips to select by", "eval": "evaluation clips"}
    roles = [role for role in words if any(role in task.clips for task in stream.tasks)]
    rows = [
        (task.name, *(_count(task, role) for role in roles), task.train.fingerprint[:16])
        for task in stream.tasks
    ]
    header = ("task", *(words[role] for role in roles), "fingerprint of the training clips")
    text = f"Stream `{stream.name}`; clips that the run used, of those published."
    return f"{text}\n\n{_table(header, rows)}"


def _count(task: Task, role: str) -> str:
    used = len(task.clips.get(role, ()))
    return f"{used:,} of {task.published.get(role, used):,}"


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return markdown_table(header, [[_cell(value) for value in row] for row in rows])


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
