"""Compare two versions of a feature: their lineages, and their values."""

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from avstore.manifests.library import open_store
from avstore.manifests.nearest import did_you_mean
from avstore.manifests.store import Store, StoreError
from avstore.pipelines.features.lineage import lineage_differences, recorded_lineages


@dataclass(frozen=True)
class FeatureDifference:
    """Hold the result of a comparison.

    Attributes:
        lines: Differences of the lineages, one line each.
        clips: Number of compared clips.
        other_shape: Clips whose two values have different shapes.
        equal: Clips whose two values are equal.
        largest: Largest absolute difference.
        cosine: Mean cosine similarity over the clips.
    """

    lines: list[str]
    clips: int
    other_shape: int
    equal: int
    largest: float
    cosine: float


def find_feature(con: duckdb.DuckDBPyConnection, name: str) -> tuple[str, str]:
    """Return (feature, fingerprint) of `<feature>-<fp8>`, or of a feature's only version.

    Raises:
        StoreError: None or several fit.
    """
    rows = con.execute(
        "SELECT DISTINCT feature, fingerprint FROM (SELECT feature, fingerprint FROM features "
        "UNION SELECT feature, fingerprint FROM feature_samples) ORDER BY ALL"
    ).fetchall()
    fitting = [row for row in rows if name in (row[0], f"{row[0]}-{row[1][:8]}")]
    if len(fitting) == 1:
        return (fitting[0][0], fitting[0][1])
    names = ", ".join(f"{row[0]}-{row[1][:8]}" for row in fitting or rows) or "none"
    problem = "has several versions" if fitting else "is not in the store"
    known = [text for row in rows for text in (row[0], f"{row[0]}-{row[1][:8]}")]
    hint = "" if fitting else did_you_mean(name, known)
    raise StoreError(f"{name} {problem}{hint}; choose one of: {names}")


def compare_features(
    con: duckdb.DuckDBPyConnection, store: Store, old: str, new: str, limit: int
) -> FeatureDifference:
    """Compare two versions of a feature.

    Args:
        con: The manifest.
        store: The store.
        old: `<feature>-<fp8>`.
        new: `<feature>-<fp8>`.
        limit: Largest number of clips to compare, in order of their ids.

    Raises:
        StoreError: The store does not have one of them.
    """
    first, second = find_feature(con, old), find_feature(con, new)
    known = recorded_lineages(con)
    lines = ["the lineage of one version is not recorded"]
    if first in known and second in known:
        lines = lineage_differences(known[first], known[second])
    rows = con.execute(
        "SELECT clip_id FROM feature_samples WHERE feature = ? AND fingerprint = ? INTERSECT "
        "SELECT clip_id FROM feature_samples WHERE feature = ? AND fingerprint = ? "
        "ORDER BY clip_id LIMIT ?",
        [*first, *second, limit],
    ).fetchall()
    return _compare_values(store, lines, [row[0] for row in rows], first, second)


def _compare_values(
    store: Store, lines: list[str], ids: list[str], first: tuple[str, str], second: tuple[str, str]
) -> FeatureDifference:
    with open_store(store.root) as library:
        olds, news = (
            library.read(f"{feature}-{fingerprint[:8]}", ids) if ids else {}
            for feature, fingerprint in (first, second)
        )
    pairs = [(_flat(olds[i]), _flat(news[i])) for i in ids if olds[i].shape == news[i].shape]
    return FeatureDifference(
        lines=lines,
        clips=len(ids),
        other_shape=len(ids) - len(pairs),
        equal=sum(bool(np.array_equal(a, b)) for a, b in pairs),
        largest=max((float(np.abs(a - b).max(initial=0.0)) for a, b in pairs), default=0.0),
        cosine=float(np.mean([_cosine(a, b) for a, b in pairs])) if pairs else float("nan"),
    )


def _flat(value: Any) -> NDArray[np.float64]:
    return np.asarray(value, np.float64).reshape(-1)


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else float(np.array_equal(a, b))
