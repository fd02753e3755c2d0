"""Group the source videos of a dataset by a derived feature, for streams without classes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.library import OpenStore
from avstore.manifests.store import StoreError

_BATCH_CLIPS = 1000
_CLIPS = """
SELECT DISTINCT c.source_id, c.clip_id FROM clips c JOIN feature_samples f USING (clip_id)
WHERE c.dataset = $dataset AND c.source_id IS NOT NULL
  AND $feature IN (f.feature, f.feature || '-' || left(f.fingerprint, 8))
ORDER BY ALL
"""


@dataclass(frozen=True)
class VideoGroup:
    """A source video and its group.

    Attributes:
        source_id: The video.
        group: Name of the group.
    """

    source_id: str
    group: str


def cluster_videos(
    store: OpenStore, dataset: str, feature: str, clusters: int, seed: int = 0
) -> list[VideoGroup]:
    """Return the videos of a dataset in clusters of similar features, by k-means.

    A video is the mean of its clips' features, each of them the mean over time divided by its norm.
    Clusters are named cluster0, cluster1, … from the largest to the smallest.

    Args:
        store: The store.
        dataset: The dataset.
        feature: Derived feature, as `OpenStore.read` takes it.
        clusters: Number of clusters.
        seed: Of k-means.

    Raises:
        StoreError: No video has the feature, or fewer than there are to be clusters, or fewer
            different ones; or the values have several widths.
    """
    from sklearn.cluster import KMeans  # noqa: PLC0415 -- slow to import

    clips = store.query(_CLIPS, {"dataset": dataset, "feature": feature}).rows()
    videos = sorted({row["source_id"] for row in clips})
    if not videos:
        raise StoreError(
            f"no clip of {dataset!r} has the feature {feature!r}; `avstore features list` shows "
            "what the store has"
        )
    if not 1 <= clusters <= len(videos):
        raise StoreError(
            f"{clusters} clusters of {len(videos)} videos that have the feature {feature!r}: give "
            f"a number from 1 to {len(videos)}"
        )
    place = {name: number for number, name in enumerate(videos)}
    owners = [place[row["source_id"]] for row in clips]
    embeddings = list(_embeddings(store, feature, [row["clip_id"] for row in clips]))
    widths = sorted({len(each) for each in embeddings})
    if len(widths) > 1:
        raise StoreError(
            f"values of the feature {feature!r} have {len(widths)} widths, from {widths[0]} to "
            f"{widths[-1]}; give a feature whose values have the same last dimension"
        )
    values = np.stack(embeddings)
    sums = np.zeros((len(videos), values.shape[1]))
    np.add.at(sums, owners, values)
    means = sums / np.bincount(owners, minlength=len(videos))[:, None]
    if clusters > (different := len(np.unique(means, axis=0))):
        raise StoreError(
            f"{clusters} clusters of {different} different videos by the feature {feature!r}: give "
            f"a number from 1 to {different}"
        )
    found = KMeans(clusters, n_init=10, random_state=seed).fit_predict(means)
    sizes = np.bincount(found, minlength=clusters)
    rank = np.argsort(np.argsort(-sizes, kind="stable"), kind="stable")
    width = len(str(clusters - 1))
    return [
        VideoGroup(name, f"cluster{rank[own]:0{width}}")
        for name, own in zip(videos, found, strict=True)
    ]


def _embeddings(
    store: OpenStore, feature: str, clip_ids: Sequence[str]
) -> Iterator[NDArray[np.float64]]:
    """Yield the mean over time of each clip's feature, of norm 1."""
    for first in range(0, len(clip_ids), _BATCH_CLIPS):
        found: dict[str, Any] = store.read(feature, clip_ids[first : first + _BATCH_CLIPS])
        for value in found.values():
            rows = np.asarray(value, np.float64)
            mean = rows.reshape(-1, rows.shape[-1]).mean(0)
            yield mean / max(float(np.linalg.norm(mean)), 1e-12)
