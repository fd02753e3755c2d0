"""Take flat views of equirectangular pictures (gnomonic projection).

Formulas: AVSA (Morgado et al., NeurIPS 2020), its released code.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST_RADIUS = 1e-4


@dataclass(frozen=True, slots=True)
class View:
    """A flat view of a panorama.

    Attributes:
        x: Its centre from the left edge of the panorama, in [0, 1).
        y: Its centre from the top, in [0, 1].
        width: Half its width on the tangent plane, in units of pi: 0.25 are 76.3 degrees.
        height: Half its height, in units of pi / 2.
    """

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class ViewMap:
    """Where the pixels of a view are in a picture, for bilinear sampling.

    Attributes:
        corners: int64 [4, size * size], flat indices of the four pixels around each place.
        weights: float32 [4, size * size, 1], their weights.
        size: Side of the view, in pixels.
    """

    corners: NDArray[np.int64]
    weights: NDArray[np.float32]
    size: int


def view_map(view: View, size: int, width: int, height: int, published: bool = False) -> ViewMap:
    """Return the map of a view.

    Args:
        view: The view.
        size: Side of the view, in pixels.
        width: Width of the picture, in pixels.
        height: Its height.
        published: Sample as AVSA's released code, which takes corners of pixels for their centres
            and turns the panorama by whole pixels.
    """
    columns, rows = _places(view, size, width, height, published)
    return _bilinear(columns + _turn(view.x, width, published), rows, width, height, size)


def nearest(
    view: View, size: int, width: int, height: int, published: bool = False
) -> NDArray[np.int64]:
    """Return the pixels of a picture that are nearest to those of a view, for maps of labels.

    Args:
        view: The view.
        size: Side of the view, in pixels.
        width: Width of the picture, in pixels.
        height: Its height.
        published: As for `view_map`.

    Returns:
        int64 [size, size], flat indices: `picture.take(nearest(…))` is the view.
    """
    columns, rows = _places(view, size, width, height, published)
    turn = _turn(view.x, width, published)
    # The released code turns the panorama, by whole pixels, and rounds thereafter.
    across = np.rint(columns) + turn if published else np.rint(columns + turn)
    down = np.clip(np.rint(rows), 0, height - 1)
    places: NDArray[np.int64] = (down * width + across % width).astype(np.int64)
    return places.reshape(size, size)


def take(frames: NDArray[np.uint8], where: ViewMap) -> NDArray[np.uint8]:
    """Return a view of each frame.

    Args:
        frames: uint8 [T, height, width, 3].
        where: Its map.

    Returns:
        uint8 [T, size, size, 3].
    """
    count, height, width, _ = frames.shape
    flat = np.ascontiguousarray(frames).reshape(count, height * width, 3)
    out = np.empty((count, where.size * where.size, 3), np.uint8)
    for picture, target in zip(flat, out, strict=True):
        total = np.take(picture, where.corners[0], axis=0) * where.weights[0]
        for corners, weights in zip(where.corners[1:], where.weights[1:], strict=True):
            total += np.take(picture, corners, axis=0) * weights
        np.rint(total, out=total)
        target[...] = total
    return out.reshape(count, where.size, where.size, 3)


def _places(
    view: View, size: int, width: int, height: int, published: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the pixels of a view are, in a panorama that is turned to its centre.

    Returns:
        Columns and rows in units of pixels, [size * size] each.
    """
    half = 0.0 if published else 0.5
    steps = 2 * (np.arange(size) + half) / size - 1
    across = (steps * math.pi * view.width)[None, :]
    down = (steps * math.pi / 2 * view.height)[:, None]
    latitude, longitude = _on_sphere(across, down, (2 * view.y - 1) * math.pi / 2)
    columns = (longitude / math.pi + 1) / 2 * width - half
    rows = (latitude / (math.pi / 2) + 1) / 2 * height - half
    return columns.ravel(), rows.ravel()


def _on_sphere(
    across: NDArray[np.float64], down: NDArray[np.float64], centre: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return latitude (down positive) and longitude from the centre of places on its plane."""
    radius = np.hypot(across, down)
    angle, radius = np.arctan(radius), np.maximum(radius, _LEAST_RADIUS)
    sine, cosine = np.sin(angle), np.cos(angle)
    height = cosine * math.sin(centre) + down * sine * math.cos(centre) / radius
    longitude = np.arctan2(
        across * sine, radius * math.cos(centre) * cosine - down * math.sin(centre) * sine
    )
    return np.arcsin(np.clip(height, -1, 1)), longitude


def _turn(x: float, width: int, published: bool) -> float:
    """Return the columns by which a view is right of the panorama's middle."""
    if published:
        return int(x * width - width // 2)
    return (x - 0.5) * width


def _bilinear(
    columns: NDArray[np.float64], rows: NDArray[np.float64], width: int, height: int, size: int
) -> ViewMap:
    """Return the four pixels around each place: columns wrap, rows end at the poles."""
    left, top = np.floor(columns), np.floor(rows)
    right_part, lower_part = columns - left, rows - top
    lefts, tops = left.astype(np.int64), top.astype(np.int64)
    corners, weights = [], []
    for lower in (0, 1):
        line = np.clip(tops + lower, 0, height - 1) * width
        vertical = lower_part if lower else 1 - lower_part
        for right in (0, 1):
            corners.append(line + (lefts + right) % width)
            weights.append(vertical * (right_part if right else 1 - right_part))
    return ViewMap(np.stack(corners), np.stack(weights).astype(np.float32)[..., None], size)
