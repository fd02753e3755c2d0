"""Transforms of 360-degree clips with label maps, for `BatchSpec(transform=…)`.

The maps are a feature that `avstore.manifests.label_maps` packed, one map of the whole panorama at
a time. Use them with the transforms of `avstore.train.data.spatial`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.datasets.ambisonics import CHANNELS
from avstore.manifests.label_maps import IGNORED, LabelMaps
from avstore.manifests.store import StoreError
from avstore.train.data.setting_checks import require_probability
from avstore.train.data.spatial import SphericalViews
from avstore.train.data.transforms.equirectangular import View, nearest

__all__ = ["LabelAtEnd", "LabelledViews", "MirrorPanorama"]

LABEL_MAP = "label_map"
"""Name of the labels in samples and batches."""


@dataclass(frozen=True, slots=True)
class LabelAtEnd:
    """Replace the packed maps of a clip by the one at the end of its frames, or before it.

    It adds `label_map`, uint8 [height, width]: AVSA's labels of a window are those of the time at
    which its pictures end.

    Attributes:
        feature: Name of the feature in `BatchSpec.read`.
        classes: Labels that are kept, in the order of their numbers in the result; other ones
            become 255. None keeps all as they are.

    Raises:
        ValueError: If there are more classes than numbers.
    """

    feature: str = "segmentation"
    classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.classes is not None and not (
            0 < len(self.classes) < IGNORED and all(0 <= each < 256 for each in self.classes)
        ):
            raise ValueError(f"classes={self.classes} are not up to 254 labels from 0 to 255")

    def __call__(self, sample: dict[str, Any], generator: np.random.Generator) -> Mapping[str, Any]:
        """Return the sample with one map."""
        if self.feature not in sample:
            raise StoreError(f"LabelAtEnd needs {self.feature!r} in BatchSpec(read=…)")
        try:
            found = LabelMaps.of(sample.pop(self.feature)).at(_end(sample["frame_times"]))
        except ValueError as error:
            raise StoreError(f"{self.feature} of {sample['clip_id']}: {error}") from error
        sample[LABEL_MAP] = found if self.classes is None else self._table()[found]
        return sample

    def _table(self) -> NDArray[np.uint8]:
        table = np.full(256, IGNORED, np.uint8)
        table[list(self.classes or ())] = np.arange(len(self.classes or ()))
        return table


@dataclass(frozen=True, slots=True)
class MirrorPanorama:
    """Mirror a whole panorama with its label map and its sound, at random. Use it before views.

    Attributes:
        probability: Share of samples that are mirrored.

    Raises:
        ValueError: If it is no probability.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        require_probability(self, "probability")

    def __call__(self, sample: dict[str, Any], generator: np.random.Generator) -> Mapping[str, Any]:
        """Return the sample, mirrored or not."""
        if generator.random() >= self.probability:
            return sample
        sample["frames"] = sample["frames"][:, :, ::-1]
        if LABEL_MAP in sample:
            sample[LABEL_MAP] = sample[LABEL_MAP][:, ::-1]
        if "waveform" in sample and len(sample["waveform"]) == CHANNELS:
            # Left and right change places: the sign of Y, the second channel.
            signs = np.array([1, -1, 1, 1], np.float32)[:, None]
            sample["waveform"] = sample["waveform"] * signs
        return sample


@dataclass(frozen=True, slots=True)
class LabelledViews:
    """Random views of a panorama with its sound, as `SphericalViews`, and of its label map.

    `label_map` [height, width] becomes [views, size, size]; it may be of another size than the
    pictures.

    Attributes:
        views: The views.

    Example:
        >>> from avstore.train.data.spatial import Chain
        >>> chosen = Chain((LabelAtEnd(), MirrorPanorama(), LabelledViews(SphericalViews())))
        >>> spec = BatchSpec(
        ...     4, read=("frames", "waveform", "segmentation"), image_size=None, frames=8,
        ...     frame_choice="clip", sound_seconds=1.0, channels=4, transform=chosen,
        ... )
    """

    views: SphericalViews

    def __call__(self, sample: dict[str, Any], generator: np.random.Generator) -> Mapping[str, Any]:
        """Return the sample with its views."""
        for name in ("frames", LABEL_MAP):
            if name not in sample:
                raise StoreError(f"LabelledViews needs {name!r} in the sample")
        drawn = self.views.draw(generator)
        labels = sample[LABEL_MAP]
        sample[LABEL_MAP] = np.stack([self._cut(labels, view) for view in drawn])
        return self.views.cut(sample, drawn)

    def _cut(self, labels: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
        height, width = labels.shape
        own = nearest(view, self.views.size, width, height, self.views.published)
        return np.ascontiguousarray(labels).take(own)


def _end(times: NDArray[np.floating]) -> float:
    """Return when the pictures of a window end, in seconds from the clip's start."""
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return float(times[0]) + len(times) * step
