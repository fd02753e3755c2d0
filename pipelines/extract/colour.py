"""Convert full-range YCbCr of any matrix to BT.601, the matrix of JPEG files (JFIF)."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]
Planes = tuple[Plane, Plane, Plane]

# Kr, Kb by FFmpeg's AVColorSpace number; any other number is taken as BT.601, as FFmpeg does.
_WEIGHTS = {1: (0.2126, 0.0722), 7: (0.212, 0.087), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
_BT601 = (0.299, 0.114)


def to_bt601(planes: Planes, matrix: int) -> Planes:
    """Convert full-range 4:2:0 planes to BT.601.

    Args:
        planes: uint8 planes Y, Cb, Cr; chroma has half as many rows and columns, rounded up.
        matrix: FFmpeg's AVColorSpace number of the planes' matrix.

    Returns:
        Planes of the same shapes.
    """
    if matrix not in _WEIGHTS:
        return planes
    y, u, v = planes
    (yu, yv), (uu, uv), (vu, vv) = _coefficients(matrix)
    cb, cr = (c.astype(np.float32) - np.float32(128) for c in (u, v))
    shift = np.rint(yu * cb + yv * cr).astype(np.int16)
    blue, red = uu * cb + uv * cr, vu * cb + vv * cr
    return _add_to_luma(y, shift), _chroma(blue), _chroma(red)


def _add_to_luma(y: Plane, shift: NDArray[np.int16]) -> Plane:
    """Add one shift per 2 × 2 pixels to luma, saturating at 0 and 255."""
    up, down = (_doubled(np.maximum(s, 0).astype(np.uint8)) for s in (shift, -shift))
    out = np.empty_like(y)
    for first in (0, 1):
        rows, result = y[first::2], out[first::2]
        high, wide = rows.shape
        # Saturate in 8 bits: add at most what is left to 255, subtract at most the value.
        np.add(rows, np.minimum(up[:high, :wide], ~rows), out=result)
        np.subtract(result, np.minimum(down[:high, :wide], result), out=result)
    return out


def _doubled(plane: Plane) -> Plane:
    """Repeat every column twice."""
    out = np.empty((plane.shape[0], 2 * plane.shape[1]), np.uint8)
    out[:, 0::2] = plane
    out[:, 1::2] = plane
    return out


def _chroma(values: NDArray[np.float32]) -> Plane:
    """Centre at 128, round and saturate, in place."""
    values += np.float32(128)
    np.rint(values, out=values)
    np.maximum(values, 0, out=values)
    np.minimum(values, 255, out=values)
    return values.astype(np.uint8)


@lru_cache(maxsize=8)
def _coefficients(matrix: int) -> tuple[tuple[np.float32, np.float32], ...]:
    """Return what Cb and Cr of a matrix add to BT.601's Y, Cb and Cr (rows); Y has weight 1."""
    kr, kb = _WEIGHTS[matrix]
    kg = 1 - kr - kb
    red = (0.0, 2 - 2 * kr)
    blue = (2 - 2 * kb, 0.0)
    green = (-kb / kg * blue[0], -kr / kg * red[1])
    r601, b601 = _BT601
    g601 = 1 - r601 - b601
    y = [r601 * red[i] + g601 * green[i] + b601 * blue[i] for i in range(2)]
    u = [(blue[i] - y[i]) / (2 - 2 * b601) for i in range(2)]
    v = [(red[i] - y[i]) / (2 - 2 * r601) for i in range(2)]
    return tuple((np.float32(a), np.float32(b)) for a, b in (y, u, v))
