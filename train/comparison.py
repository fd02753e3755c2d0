"""Compare runs: mean and standard deviation over seeds of runs with equal settings, as a table."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avstore.train.runs import Run

# Digits of scores that are not in percent, and what is counted rather than scored.
_DIGITS = {"auc": 4, "d_prime": 2}
_COUNTS = {"classes_scored", "clips_scored"}
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
        seed = int(run.settings.get("seed", 0))
        if seed in group.seeds and _scores_of(group, seed) == run.scores:
            continue  # a copy of a run is no further one
        group.seeds.append(seed)
        for name, value in run.scores.items():
            group.scores.setdefault(name, []).append(value)
    return list(groups.values())


def _scores_of(group: Group, seed: int) -> dict[str, float]:
    """Return the scores of the run of a seed."""
    at = group.seeds.index(seed)
    return {name: values[at] for name, values in group.scores.items() if len(values) > at}


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
    rows = [[*keys, "runs", *_headings(names, keys)]]
    for group in groups:
        own = [_plain(group.settings.get(key)) for key in keys]
        cells = [
            _mean_and_spread(group.scores.get(name), _DIGITS.get(name, digits)) for name in names
        ]
        rows.append([*own, str(len(group.seeds)), *cells])
    return rows


def to_csv(groups: Sequence[Group], _digits: int = 1) -> str:
    """Return the comparison as CSV: mean and std in columns of their own, in full precision."""
    keys, names = differing(groups), _names(groups)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    shown = _headings(names, keys)
    writer.writerow([*keys, "runs", *(f"{n} {part}" for n in shown for part in ("mean", "std"))])
    for group in groups:
        own = [_plain(group.settings.get(key)) for key in keys]
        numbers = [part for name in names for part in _csv_parts(group.scores.get(name))]
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
    names = dict.fromkeys(name for group in groups for name in group.scores)
    return [name for name in names if name not in _COUNTS]


def _headings(names: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Return the names of scores; one that a setting has too is said to be a score."""
    return [f"{name} (score)" if name in keys else name for name in names]


def _csv_parts(values: Sequence[float] | None) -> tuple[float | str, float | str]:
    """Return mean and standard deviation; empty where there is none."""
    if not values:
        return "", ""
    mean, deviation = spread(values)
    return mean, deviation if len(values) > 1 else ""


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
