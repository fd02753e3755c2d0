"""Build the targets of one sample: multi-hot, smoothed, mixed, or by segment."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Segments = Sequence[tuple[int, float, float]]


def multi_hot(
    label_ids: Iterable[int],
    classes: int,
    smoothing: float = 0.0,
    mixed: Iterable[int] | None = None,
    share: float = 1.0,
) -> NDArray[np.float32]:
    """Return the target of one sample or of a mixture, as in UAVM's released code.

    All classes start at smoothing / classes. The labels of a single sample are set to
    1 - smoothing. For a mixture, share * (1 - smoothing) is added for each label of the first and
    (1 - share) * (1 - smoothing) for each label of the second.

    Args:
        label_ids: Labels of the sample.
        classes: Size of the target.
        smoothing: Epsilon of the label smoothing.
        mixed: Labels of the second sample; None without one.
        share: Share of the first sample.

    Returns:
        float32 [classes].
    """
    target = np.full(classes, smoothing / classes, np.float32)
    own = sorted(set(label_ids))
    if mixed is None:
        target[own] = 1 - smoothing
        return target
    target[own] += np.float32(share * (1 - smoothing))
    target[sorted(set(mixed))] += np.float32((1 - share) * (1 - smoothing))
    return target


def by_segment(
    parts: Segments, segments: int, classes: int, background: int | None = None
) -> NDArray[np.float32]:
    """Return the target of each second: 1 where a label's interval overlaps it.

    Args:
        parts: (label, onset_s, offset_s), half-open intervals.
        segments: Number of segments of one second.
        classes: Number of classes.
        background: Class of segments without a label (AVE: 28); None leaves them empty (LLP).

    Returns:
        float32 [segments, classes].
    """
    target = np.zeros((segments, classes), np.float32)
    for label, onset, offset in parts:
        first, last = max(0, int(np.floor(onset))), min(segments, int(np.ceil(offset)))
        target[first:last, label] = 1
    if background is not None:
        target[target.sum(axis=1) == 0, background] = 1
    return target
