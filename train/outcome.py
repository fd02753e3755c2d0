"""What a run leaves for a person: results.json, a table, and a plot of the matrix."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl
from rich.console import Console
from rich.table import Table

from manifests.store import committing
from train.evaluate import average_score, forgetting_published, forgetting_standard


@dataclass(frozen=True)
class Outcome:
    """A finished run. matrix[k][t]: score on task t after training task k, percent."""

    stream: str
    method: str
    recipe: str
    seed: int
    tasks: list[str]
    matrix: list[list[float]]
    untrained: list[float]
    chance: float
    gallery: int
    seconds: float

    def scores(self) -> dict[str, float]:
        return {
            "average score": average_score(self.matrix),
            "average forgetting (standard)": forgetting_standard(self.matrix),
            "average forgetting (as published)": forgetting_published(self.matrix),
        }


def write(out: Path, outcome: Outcome) -> None:
    """results.json and matrix.png in `out`."""
    content = {**asdict(outcome), **outcome.scores()}
    _plot(out / "matrix.png", outcome)
    with committing(out / "results.json") as file:
        file.write(json.dumps(content, indent=1).encode())


def read(out: Path) -> Outcome:
    """The outcome of a finished run."""
    content = json.loads((out / "results.json").read_text())
    names = Outcome.__dataclass_fields__
    return Outcome(**{name: content[name] for name in names})


def show(console: Console, outcome: Outcome, out: Path) -> None:
    """The matrix and the scores, in words."""
    table = Table(title=f"retrieval score in percent, {outcome.method} on {outcome.stream}")
    table.add_column("after")
    for task in outcome.tasks:
        table.add_column(task, justify="right")
    table.add_row("(untrained)", *(f"{value:.1f}" for value in outcome.untrained))
    for task, row in zip(outcome.tasks, outcome.matrix, strict=True):
        table.add_row(task, *(f"{value:.1f}" for value in row))
    console.print(table)
    for name, value in outcome.scores().items():
        console.print(f"{name}: {value:.2f}")
    console.print(
        f"Score: mean of R@1, 5, 10 both ways over a gallery of {outcome.gallery} clips; "
        f"chance is {outcome.chance:.1f}."
    )
    console.print(f"{out / 'results.json'}\n{out / 'matrix.png'}")


def _plot(path: Path, outcome: Outcome) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    size = len(outcome.tasks)
    figure, axes = plt.subplots(figsize=(1.4 * size + 2.4, 1.1 * size + 1.8))
    picture = axes.imshow(outcome.matrix, cmap="viridis", vmin=0)
    axes.set_xticks(range(size), outcome.tasks, rotation=30, ha="right")
    axes.set_yticks(range(size), [f"after {task}" for task in outcome.tasks])
    for k, row in enumerate(outcome.matrix):
        for t, value in enumerate(row):
            axes.text(t, k, f"{value:.1f}", ha="center", va="center", color="white")
    figure.colorbar(picture, label="retrieval score, %")
    scores = outcome.scores()
    axes.set_title(
        f"{outcome.method} on {outcome.stream}: A {scores['average score']:.1f}, "
        f"F {scores['average forgetting (standard)']:.1f}"
    )
    figure.tight_layout()
    with committing(path) as file:
        figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
