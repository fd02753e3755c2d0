"""Compare runs: mean and standard deviation over seeds of runs with equal settings, as a table."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avstore.train.runs import Run

# Settings that may differ between the runs of one group.
_OF_A_SEED = {"seed", "title"}
Table = list[list[str]]


@dataclass
class Group:
    """Runs whose settings differ in the seed only.

    Attributes:
        settings: Their settings, without the seed.
        seeds: Their seeds.
        scores: A list of values, one a run, by score.
    """

    settings: dict[str, Any]
    seeds: list[int] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Return the groups of runs that are complete, in the order of their first run."""
    groups: dict[str, Group] = {}
    for run in runs:
        if not run.is_complete:
            continue
        settings = {k: v for k, v in sorted(run.settings.items()) if k not in _OF_A_SEED}
        group = groups.setdefault(repr(settings), Group(settings))
        group.seeds.append(int(run.settings.get("seed", 0)))
        for name, value in run.scores.items():
            group.scores.setdefault(name, []).append(value)
    return list(groups.values())


def differing(groups: Sequence[Group]) -> list[str]:
    """Return the settings that are not the same in all groups; the method, where all are."""
    keys = dict.fromkeys(key for group in groups for key in group.settings)
    found = [key for key in keys if len({repr(g.settings.get(key)) for g in groups}) > 1]
    return found or ["method" if "method" in keys else "name"]


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the standard deviation (n − 1; 0 for one value)."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)), deviation


def comparison_table(groups: Sequence[Group], digits: int = 1) -> Table:
    """Return header and rows: what differs, the number of runs, and each score as mean ± std."""
    keys, names = differing(groups), _names(groups)
    rows = [[*keys, "runs", *names]]
    for group in groups:
        own = [_plain(group.settings.get(key)) for key in keys]
        cells = [_mean_and_spread(group.scores.get(name), digits) for name in names]
        rows.append([*own, str(len(group.seeds)), *cells])
    return rows


def to_csv(groups: Sequence[Group], _digits: int = 1) -> str:
    """Return the comparison as CSV: mean and std in columns of their own, in full precision."""
    keys, names = differing(groups), _names(groups)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*keys, "runs", *(f"{n} {part}" for n in names for part in ("mean", "std"))])
    for group in groups:
        own = [_plain(group.settings.get(key)) for key in keys]
        numbers = [
            part
            for name in names
            for part in (spread(group.scores[name]) if name in group.scores else ("", ""))
        ]
        writer.writerow([*own, len(group.seeds), *numbers])
    return text.getvalue()


def to_markdown(groups: Sequence[Group], digits: int = 1) -> str:
    """Return the comparison as a Markdown table."""
    header, *rows = comparison_table(groups, digits)
    return markdown_table(header, rows) + "\n"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, without a newline at its end."""
    lines = (header, ["---"] * len(header), *rows)
    cells = ([x.replace("|", "\\|").replace("\n", " ") for x in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def to_latex(groups: Sequence[Group], digits: int = 1) -> str:
    """Return the comparison as a LaTeX table (package booktabs)."""
    header, *rows = comparison_table(groups, digits)
    columns = "l" * len(differing(groups)) + "r" * (len(header) - len(differing(groups)))
    body = [" & ".join(_latex(cell) for cell in row) + r" \\" for row in rows]
    lines = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(_latex(cell) for cell in header) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


WRITERS: dict[str, Callable[[Sequence[Group], int], str]] = {
    ".csv": to_csv,
    ".md": to_markdown,
    ".tex": to_latex,
}
"""Functions that return a comparison as text, by the suffix of its file."""


def _names(groups: Sequence[Group]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group.scores))


def _mean_and_spread(values: Sequence[float] | None, digits: int) -> str:
    if not values:
        return "–"
    mean, deviation = spread(values)
    return (
        f"{mean:.{digits}f} ± {deviation:.{digits}f}" if len(values) > 1 else f"{mean:.{digits}f}"
    )


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


_LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"}
    | {"±": r"$\pm$", "–": "--", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"\\": r"\textbackslash{}"}
)


def _latex(text: str) -> str:
    return text.translate(_LATEX)
