"""How two versions of a feature differ: in their making, and in their numbers."""

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from avstore.manifests.library import open_store
from avstore.manifests.store import Store, StoreError
from avstore.pipelines.features import lineage as lineages


@dataclass(frozen=True)
class Difference:
    """lines: what differs in the making. clips: compared; other: of another shape.

    equal: clips with the same values. largest: absolute difference. cosine: mean over clips.
    """

    lines: list[str]
    clips: int
    other: int
    equal: int
    largest: float
    cosine: float


def find(con: duckdb.DuckDBPyConnection, name: str) -> tuple[str, str]:
    """(feature, fingerprint) of '<feature>-<fp8>', or of a feature that the store has once.

    Raises StoreError where there is none or more than one.
    """
    rows = con.execute(
        "SELECT DISTINCT feature, fingerprint FROM (SELECT feature, fingerprint FROM features "
        "UNION SELECT feature, fingerprint FROM feature_samples) ORDER BY ALL"
    ).fetchall()
    fitting = [row for row in rows if name in (row[0], f"{row[0]}-{row[1][:8]}")]
    if len(fitting) == 1:
        return (fitting[0][0], fitting[0][1])
    names = ", ".join(f"{feature}-{print_[:8]}" for feature, print_ in fitting or rows) or "none"
    problem = "is there more than once" if fitting else "is not in the store"
    raise StoreError(f"{name} {problem}; name one of: {names}")


def diff(
    con: duckdb.DuckDBPyConnection, store: Store, old: str, new: str, limit: int
) -> Difference:
    """Compare two versions over at most `limit` clips that have both, in order of their ids."""
    first, second = find(con, old), find(con, new)
    known = lineages.recorded(con)
    lines = ["the making of one is not recorded"]
    if first in known and second in known:
        lines = lineages.differences(known[first], known[second])
    rows = con.execute(
        "SELECT clip_id FROM feature_samples WHERE feature = ? AND fingerprint = ? INTERSECT "
        "SELECT clip_id FROM feature_samples WHERE feature = ? AND fingerprint = ? "
        "ORDER BY clip_id LIMIT ?",
        [*first, *second, limit],
    ).fetchall()
    return _compare(store, lines, [row[0] for row in rows], first, second)


def _compare(
    store: Store, lines: list[str], ids: list[str], first: tuple[str, str], second: tuple[str, str]
) -> Difference:
    with open_store(store.root) as reading:
        olds, news = (
            reading.read(f"{feature}-{print_[:8]}", ids) if ids else {}
            for feature, print_ in (first, second)
        )
    pairs = [(_flat(olds[i]), _flat(news[i])) for i in ids if olds[i].shape == news[i].shape]
    return Difference(
        lines=lines,
        clips=len(ids),
        other=len(ids) - len(pairs),
        equal=sum(bool(np.array_equal(a, b)) for a, b in pairs),
        largest=max((float(np.abs(a - b).max(initial=0.0)) for a, b in pairs), default=0.0),
        cosine=float(np.mean([_cosine(a, b) for a, b in pairs])) if pairs else float("nan"),
    )


def _flat(value: Any) -> NDArray[np.float64]:
    return np.asarray(value, np.float64).reshape(-1)


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else float(np.array_equal(a, b))
