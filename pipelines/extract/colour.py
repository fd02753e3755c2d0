"""YCbCr of any standard to the one that JPEG means: full range, BT.601 (JFIF)."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]
Planes = tuple[Plane, Plane, Plane]

# Kr, Kb by FFmpeg's AVColorSpace number; whatever is not here is taken as BT.601, as FFmpeg does.
_WEIGHTS = {1: (0.2126, 0.0722), 7: (0.212, 0.087), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
_BT601 = (0.299, 0.114)
_FULL_RANGE = 2


@dataclass(frozen=True)
class Standard:
    """How a picture's numbers are meant: AVColorSpace number, and whether 0..255 is used."""

    matrix: int
    full: bool

    @property
    def is_jpeg(self) -> bool:
        return self.full and self.matrix not in _WEIGHTS


def standard_of(frame_format: str, colorspace: int, color_range: int) -> Standard:
    """The standard of a decoded frame. Untagged: BT.601, and limited range unless `yuvj…`."""
    full = color_range == _FULL_RANGE or frame_format.startswith("yuvj")
    return Standard(int(colorspace), full)


def to_jpeg_ycc(planes: Planes, standard: Standard) -> Planes:
    """Planes in full-range BT.601. Chroma planes half as large each way as luma (or one more)."""
    y, u, v = planes
    if standard.is_jpeg:
        return planes
    if standard.matrix not in _WEIGHTS:
        luma, chroma = _range_tables()
        return luma[y], chroma[u], chroma[v]
    return _change_matrix(planes, standard)


@lru_cache(maxsize=1)
def _range_tables() -> tuple[Plane, Plane]:
    """Limited to full range, for luma and for chroma."""
    code = np.arange(256)
    luma = np.clip(np.rint((code - 16) * (255 / 219)), 0, 255).astype(np.uint8)
    chroma = np.clip(np.rint((code - 128) * (255 / 224) + 128), 0, 255).astype(np.uint8)
    return luma, chroma


def _change_matrix(planes: Planes, standard: Standard) -> Planes:
    y, u, v = planes
    luma_scale, chroma_scale, foot = (1, 1, 0) if standard.full else (255 / 219, 255 / 224, 16)
    (yu, yv), (uu, uv), (vu, vv) = _coefficients(standard.matrix)
    cb = (u.astype(np.float32) - 128) * np.float32(chroma_scale)
    cr = (v.astype(np.float32) - 128) * np.float32(chroma_scale)
    shift = np.float32(yu) * cb + np.float32(yv) * cr
    shift = shift.repeat(2, axis=0).repeat(2, axis=1)[: y.shape[0], : y.shape[1]]
    luma = (y.astype(np.float32) - foot) * np.float32(luma_scale) + shift
    blue = np.float32(uu) * cb + np.float32(uv) * cr + 128
    red = np.float32(vu) * cb + np.float32(vv) * cr + 128
    return _bytes(luma), _bytes(blue), _bytes(red)


def _bytes(values: NDArray[np.float32]) -> Plane:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@lru_cache(maxsize=8)
def _coefficients(matrix: int) -> tuple[tuple[float, float], ...]:
    """What Cb and Cr of a standard add to BT.601's Y, Cb and Cr (rows), Y itself unchanged."""
    kr, kb = _WEIGHTS[matrix]
    kg = 1 - kr - kb
    red = (0.0, 2 - 2 * kr)
    blue = (2 - 2 * kb, 0.0)
    green = (-kb / kg * blue[0], -kr / kg * red[1])
    r601, b601 = _BT601
    g601 = 1 - r601 - b601
    y = tuple(r601 * red[i] + g601 * green[i] + b601 * blue[i] for i in range(2))
    u = tuple((blue[i] - y[i]) / (2 - 2 * b601) for i in range(2))
    v = tuple((red[i] - y[i]) / (2 - 2 * r601) for i in range(2))
    return (y[0], y[1]), (u[0], u[1]), (v[0], v[1])
