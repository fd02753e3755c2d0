"""Transforms of 360-degree clips with ambisonic sound, for `BatchSpec(transform=…)`.

They follow AVSA (Morgado et al., NeurIPS 2020): a clip's frames and sound are decoded once, and all
its views are made of them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.datasets.ambisonics import CHANNELS, direction
from avstore.manifests.store import StoreError
from avstore.train.data.setting_checks import require_at_least, require_probability
from avstore.train.data.transforms.ambisonics import rotate, to_front, yaw
from avstore.train.data.transforms.colour import draw_jitter, jitter_colours
from avstore.train.data.transforms.equirectangular import View, take, view_map
from avstore.train.data.transforms.log_mel import log_mel, spectra

__all__ = [
    "AugmentViews",
    "Chain",
    "Misalign",
    "SphericalViews",
    "jitter_colours",
    "log_mel",
    "spectra",
]

_MAX_DRAWS = 100


@dataclass(frozen=True, slots=True)
class SphericalViews:
    """Random flat views of a panorama, each with the sound turned so that its centre is in front.

    `frames` [T, height, width, 3] become [views, T, size, size, 3], and `waveform` [4, samples]
    becomes [views, 4, samples]. It adds `positions`, float32 [views, 3]: x, y of the centre in
    [0, 1], and the window's middle, in units of `seconds`.

    Attributes:
        views: Number of views.
        size: Their side, in pixels.
        centre_y: Range of their centres from the top: (0.33, 0.66) are 30 degrees up and down.
        width: Range of half their width, in units of pi on the tangent plane.
        aspect: Range of height to width; log-uniform.
        distance: Least distance of two centres, (2 dx, dy) with dx around the seam; AVSA intends
            0.2, and its released code never enforces it.
        seconds: Length of a clip, for `positions`.
        published: Rotate and sample as the released code, defects included.

    Raises:
        ValueError: If a setting is invalid.

    Example:
        >>> spec = BatchSpec(
        ...     4, read=("frames", "waveform"), image_size=None, frame_choice="clip", frames=8,
        ...     sound_seconds=1.0, channels=4, transform=SphericalViews(views=4, size=112),
        ... )
    """

    views: int = 4
    size: int = 112
    centre_y: tuple[float, float] = (0.33, 0.66)
    width: tuple[float, float] = (0.0707, 0.25)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    distance: float = 0.0
    seconds: float = 10.0
    published: bool = False

    def __post_init__(self) -> None:
        require_at_least(self, 1, "views", "size")
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds={self.seconds!r} is not a positive number")
        for name, most in (("centre_y", 1.0), ("width", 0.5), ("aspect", math.inf)):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= most or (name != "centre_y" and low <= 0):
                raise ValueError(f"{name}={(low, high)} is no range of numbers up to {most}")

    def __call__(self, sample: dict[str, Any], generator: np.random.Generator) -> Mapping[str, Any]:
        """Return the sample with its views."""
        _required(sample, "frames", "SphericalViews")
        return self.cut(sample, self.draw(generator))

    def cut(self, sample: dict[str, Any], drawn: Sequence[View]) -> dict[str, Any]:
        """Return the sample with views that were drawn."""
        frames = sample["frames"]
        height, width = frames.shape[1:3]
        maps = [view_map(view, self.size, width, height, self.published) for view in drawn]
        sample["frames"] = np.stack([take(frames, where) for where in maps])
        if "waveform" in sample:
            turns = [to_front(*direction(v.x, v.y), self.published) for v in drawn]
            sample["waveform"] = rotate(sample["waveform"], np.stack(turns))
        middle = np.float32(_middle(sample) / self.seconds)
        sample["positions"] = np.array([(v.x, v.y, middle) for v in drawn], np.float32)
        return sample

    def draw(self, generator: np.random.Generator) -> list[View]:
        """Return random views.

        Raises:
            StoreError: If centres that are `distance` apart cannot be found.
        """
        found: list[View] = []
        for _ in range(_MAX_DRAWS * self.views):
            x, y = generator.random(), generator.uniform(*self.centre_y)
            width = generator.uniform(*self.width)
            ratio = math.exp(generator.uniform(math.log(self.aspect[0]), math.log(self.aspect[1])))
            if all(_distance(x, y, other) > self.distance for other in found) or not self.distance:
                # Twice: a panorama is twice as wide as high, and so are the units.
                found.append(View(x, y, width, 2 * width * ratio))
            if len(found) == self.views:
                return found
        raise StoreError(
            f"no {self.views} views whose centres are {self.distance} apart were found: make "
            "distance smaller"
        )


@dataclass(frozen=True, slots=True)
class Misalign:
    """Turn the sound of some samples about the vertical axis, so that it fits the pictures no more.

    It adds `aligned`, bool, and `yaw`, the angle in radians, 0 for aligned samples. Use it before
    `SphericalViews`: the whole field turns.

    Attributes:
        probability: Share of samples that are turned.

    Raises:
        ValueError: If it is no probability.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        require_probability(self, "probability")

    def __call__(self, sample: dict[str, Any], generator: np.random.Generator) -> Mapping[str, Any]:
        """Return the sample, turned or not."""
        waveform = _required(sample, "waveform", "Misalign")
        turned = generator.random() < self.probability
        angle = generator.uniform(-math.pi, math.pi) if turned else 0.0
        if turned:
            sample["waveform"] = rotate(waveform, yaw(angle))
        return {**sample, "aligned": not turned, "yaw": np.float32(angle)}


@dataclass(frozen=True, slots=True)
class AugmentViews:
    """Mirror and dim views at random: each view by draws of its own, all its frames alike.

    It mirrors frames [views, T, height, width, 3] and scales waveforms [views, 4, n] here, and adds
    `jitter`, float32 [views, 4], and `jitter_order`, int64 [views, 4], with which
    `jitter_colours` changes the colours of a batch on its device. Frames without views, and sound
    of one channel, are taken as well. Use it after `SphericalViews`, in training only.

    Attributes:
        flip: Probability that a view is mirrored, left to right; its sound is as well (Y).
        volume: Largest part by which its sound is louder or softer, then clipped to [-1, 1].
        brightness: Largest change of the factor of brightness, around 1.
        contrast: Likewise of contrast.
        saturation: Likewise of saturation.
        hue: Largest turn of the hue, as part of the colour circle.
        published: Mirror pictures only, as the released code.

    Raises:
        ValueError: If a setting is invalid.

    Example:
        >>> training = Chain((SphericalViews(views=4), AugmentViews()))
    """

    flip: float = 0.5
    volume: float = 0.1
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.2
    published: bool = False

    def __post_init__(self) -> None:
        limits = {"flip": 1.0, "volume": 1.0, "hue": 0.5}
        for name in ("flip", "volume", "brightness", "contrast", "saturation", "hue"):
            value, most = getattr(self, name), limits.get(name, math.inf)
            if not 0 <= value <= most or value == math.inf:
                raise ValueError(f"{name}={value!r} is not in [0, {most:g}]")

    def __call__(self, sample: dict[str, Any], generator: np.random.Generator) -> Mapping[str, Any]:
        """Return the sample with its views mirrored and dimmed, and the draws of their colours."""
        frames = _required(sample, "frames", "AugmentViews")
        views = frames.shape[:-4]
        count = math.prod(views)
        mirrored = np.empty(count, bool)
        gains = np.empty(count, np.float32)
        factors, orders = np.empty((count, 4), np.float32), np.empty((count, 4), np.int64)
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        for view in range(count):
            mirrored[view] = generator.random() < self.flip
            gains[view] = generator.uniform(1 - self.volume, 1 + self.volume)
            factors[view], orders[view] = draw_jitter(strengths, generator)
        mirrored, gains = mirrored.reshape(views), gains.reshape(views)
        across = mirrored[..., None, None, None, None]
        sample["frames"] = np.where(across, frames[..., ::-1, :], frames)
        if "waveform" in sample:
            sample["waveform"] = self._sound(sample["waveform"], mirrored, gains)
        sample["jitter"] = factors.reshape(*views, 4)
        sample["jitter_order"] = orders.reshape(*views, 4)
        return sample

    def _sound(
        self,
        waveform: NDArray[np.floating],
        mirrored: NDArray[np.bool_],
        gains: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return the waveform [*views, n] or [*views, channels, n], mirrored and dimmed."""
        weights = gains[..., None]
        if waveform.ndim > gains.ndim + 1:
            weights = np.repeat(weights, waveform.shape[-2], axis=-1)[..., None]
            if waveform.shape[-2] == CHANNELS and not self.published:
                weights[..., 1, 0] *= np.where(mirrored, -1, 1)
        changed: NDArray[np.float32] = np.clip(waveform * weights, -1, 1, dtype=np.float32)
        return changed


@dataclass(frozen=True, slots=True)
class Chain:
    """Several transforms, one after the other, as one.

    Attributes:
        transforms: The transforms.

    Example:
        >>> both = Chain((Misalign(), SphericalViews(views=1)))
    """

    transforms: tuple[Callable[[dict[str, Any], np.random.Generator], Mapping[str, Any]], ...]

    def __post_init__(self) -> None:
        if callable(self.transforms) or not all(map(callable, self.transforms)):
            raise ValueError(f"transforms={self.transforms!r} is no tuple of transforms")

    def __call__(self, sample: dict[str, Any], generator: np.random.Generator) -> Mapping[str, Any]:
        """Return the sample after all of them."""
        for transform in self.transforms:
            sample = {**transform(sample, generator)}
        return sample


def _required(sample: Mapping[str, Any], name: str, transform: str) -> Any:
    if name not in sample:
        raise StoreError(f"{transform} needs {name!r} in BatchSpec(read=…)")
    return sample[name]


def _distance(x: float, y: float, other: View) -> float:
    across = abs(x - other.x)
    return math.hypot(2 * min(across, 1 - across), y - other.y)


def _middle(sample: Mapping[str, Any]) -> float:
    """Return the middle of the window in seconds: of its frames and its sound."""
    times = sample["frame_times"]
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    pictures = float(times.mean()) + step / 2 if len(times) else 0.0
    if "waveform" not in sample or not sample["sample_rate"]:
        return pictures
    seconds = sample["waveform"].shape[-1] / sample["sample_rate"]
    sound = float(sample["waveform_start"]) + float(seconds) / 2
    return (pictures + sound) / 2
