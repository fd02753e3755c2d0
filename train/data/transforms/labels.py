"""Labels as targets: multi-hot with smoothing, mixed, and by the second."""

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
    """Target [classes] of one sample, or of a mixture.

    smoothing / classes everywhere; then of a single sample its labels are 1 - smoothing, and of a
    mixture share * (1 - smoothing) is added for each label of the first and (1 - share) * (1 -
    smoothing) for each of the second (UAVM, spec 2).
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
    """Target [segments, classes], one segment a second, from (label, onset_s, offset_s).

    A label holds in a segment that its half-open interval meets. background: the class of
    segments without any (AVE: 28); None leaves them empty (LLP).
    """
    target = np.zeros((segments, classes), np.float32)
    for label, onset, offset in parts:
        first, last = max(0, int(np.floor(onset))), min(segments, int(np.ceil(offset)))
        target[first:last, label] = 1
    if background is not None:
        target[target.sum(axis=1) == 0, background] = 1
    return target
