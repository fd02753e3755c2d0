"""Clips that are nearest to a clip by a derived feature."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.store import StoreError
from avstore.pipelines.browse.session import Snapshot

_COMPARED = 4000  # clips that a clip is compared with
_NEAREST = 12


@dataclass(frozen=True)
class Neighbours:
    """The nearest clips.

    Attributes:
        found: Clip ids and cosine similarities, nearest first.
        compared: Clips that were compared.
        total: Clips that have the feature.
    """

    found: list[tuple[str, float]]
    compared: int
    total: int


def nearest(snapshot: Snapshot, clip_id: str, feature: str) -> Neighbours:
    """Return the clips nearest to a clip, by the cosine of their vectors.

    A feature of several vectors (of each second) is averaged. Of a large store, the same 4,000
    clips are compared for each clip; they are read once.

    Args:
        snapshot: The store's state.
        clip_id: The clip.
        feature: `<name>-<fp8>` of a derived feature.

    Raises:
        StoreError: The clip lacks the feature, or it cannot be read.
    """
    key = ("vectors", feature)
    if key not in snapshot.kept:
        snapshot.kept[key] = _vectors(snapshot, feature)
    ids, vectors, total = snapshot.kept[key]
    own = _unit([snapshot.store.read(feature, [clip_id])[clip_id]])
    if own.shape[1:] != vectors.shape[1:]:
        raise StoreError(f"{feature} of {clip_id} has another shape than that of other clips")
    similar = vectors @ own[0]
    best = np.argsort(-similar, kind="stable")[: _NEAREST + 1]
    found = [(ids[place], float(similar[place])) for place in best if ids[place] != clip_id]
    return Neighbours(found[:_NEAREST], len(ids), total)


def _vectors(snapshot: Snapshot, feature: str) -> tuple[list[str], NDArray[np.float32], int]:
    rows = snapshot.query(
        "SELECT clip_id, count(*) OVER () AS total, shape FROM feature_samples "
        "WHERE feature || '-' || left(fingerprint, 8) = $feature "
        "ORDER BY hash(clip_id) LIMIT $most",
        {"feature": feature, "most": _COMPARED},
    ).rows()
    if not rows:
        raise StoreError(f"the store has no feature {feature!r}")
    ids = [row["clip_id"] for row in rows]
    values = snapshot.store.read(feature, ids)
    width = np.shape(values[ids[0]])[-1:]
    ids = [clip_id for clip_id in ids if np.shape(values[clip_id])[-1:] == width]
    return ids, _unit([values[clip_id] for clip_id in ids]), rows[0]["total"]


def _unit(values: Sequence[Any]) -> NDArray[np.float32]:
    """Return vectors of length 1, [clips, width], of arrays [..., width]."""
    means = [
        np.asarray(value, np.float32).reshape(-1, np.shape(value)[-1] if np.ndim(value) else 1)
        for value in values
    ]
    stacked = np.nan_to_num(np.stack([mean.mean(0) for mean in means]))
    lengths = np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-12)
    return np.asarray(stacked / lengths, np.float32)
