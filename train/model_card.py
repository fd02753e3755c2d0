"""Write a finished run's model card: data with its availability, scores, settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from avstore import __version__
from avstore.train.comparison import markdown_table
from avstore.train.config import Config, RunConfig
from avstore.train.config_text import to_toml
from avstore.train.data import OpenStore
from avstore.train.evaluation.forgetting import Summary
from avstore.train.tasks import Stream

_AVAILABILITY = """
SELECT position, role, count(*) AS published, count(s.clip_id) AS stored
FROM task_clips LEFT JOIN (SELECT DISTINCT clip_id FROM stored_clips) s USING (clip_id)
WHERE stream = ? GROUP BY ALL ORDER BY ALL
"""


def model_card(
    config: RunConfig,
    store: OpenStore,
    stream: Stream,
    scores: Mapping[str, Summary] | Mapping[str, float],
    parameters: int,
) -> str:
    """Return the card of a run as Markdown.

    Args:
        config: The run's configuration, filled in.
        store: The store that it was trained on.
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
        _data(store, stream),
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


def _data(store: OpenStore, stream: Stream) -> str:
    """Return the clips of each task beside the published ones, and the lists' fingerprints."""
    published = {
        (row["position"], row["role"]): row
        for row in store.query(_AVAILABILITY, [stream.name]).rows()
    }
    positions = sorted({position for position, _ in published})
    rows: list[Sequence[object]] = []
    for number, task in enumerate(stream.tasks):
        place = positions[number] if positions else None
        train = published.get((place, "train"))
        found = (
            f"{train['stored']:,} of {train['published']:,}" if train else f"{len(task.train):,}"
        )
        rows.append((task.name, found, f"{len(task.evaluation):,}", task.train.fingerprint[:16]))
    header = ("task", "training clips", "evaluation clips", "fingerprint of the training clips")
    return f"Stream `{stream.name}`; clips that were stored, of those published.\n\n" + _table(
        header, rows
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return markdown_table(header, [[_cell(value) for value in row] for row in rows])


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
