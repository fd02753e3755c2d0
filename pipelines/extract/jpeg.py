"""From a decoded frame to the stored JPEG, without ever going through RGB."""

import struct
from fractions import Fraction
from typing import Any

import numpy as np
import simplejpeg
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import VideoReformatter

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.colour import Plane, Planes, to_bt601
from avstore.pipelines.extract.geometry import Geometry, plan
from avstore.pipelines.extract.limits import MAX_SIDE_RATIO
from avstore.pipelines.extract.recipe import Frames
from avstore.pipelines.extract.rejected import Rejected

# swscale's SWS_BILINEAR (antialiased when it shrinks), and the same bits on every processor.
_BILINEAR, _ACCURATE_RND, _BITEXACT = 2, 0x40000, 0x80000
_FLAGS = _BILINEAR | _ACCURATE_RND | _BITEXACT
_BT601, _FULL_RANGE = 5, 2


class Resizer:
    """Frames of one clip to planes of the stored size; keeps swscale's tables between frames."""

    def __init__(self, frames: Frames, aspect: Fraction | None) -> None:
        self._frames = frames
        self._aspect = aspect
        self._scaler = VideoReformatter()
        self._plan: tuple[tuple[int, int], Geometry] | None = None
        self.rotation = 0

    def planes(self, frame: Any) -> Planes:
        """A frame resized, cropped and turned for display: full-range BT.601 in 4:2:0.

        Each plane is contiguous. Alpha is dropped, more than 8 bits are rounded, gray gets
        neutral chroma.
        """
        geometry = self._geometry(frame)
        rgb = frame.format.is_rgb or frame.format.has_palette
        small = self._scaler.reformat(
            frame,
            geometry.width,
            geometry.height,
            "yuvj420p",
            dst_colorspace=_BT601 if rgb else None,
            dst_color_range=_FULL_RANGE,
            interpolation=_FLAGS,
            threads=1,
        )
        matrix = _BT601 if rgb else int(frame.colorspace)
        return _turned(to_bt601(_cropped(small, geometry), matrix), geometry)

    def _geometry(self, frame: Any) -> Geometry:
        size = (frame.width, frame.height)
        if self._plan is None or self._plan[0] != size:
            if max(size) > MAX_SIDE_RATIO * min(size):
                detail = f"picture of {size[0]} x {size[1]} (limit {MAX_SIDE_RATIO} to 1)"
                raise Rejected(Verdict.UNDECODABLE, detail)
            turns, mirror = _orientation(frame)
            self.rotation = turns * 90
            aspect, frames = self._aspect, self._frames
            found = plan(*size, frames, aspect=aspect, turns=turns, mirror=mirror)
            self._plan = (size, found)
        return self._plan[1]


def encode_jpeg(planes: Planes, quality: int) -> bytes:
    """A baseline JPEG in 4:2:0 with the standard tables, the same bytes for the same planes."""
    data: bytes = simplejpeg.encode_jpeg_yuv_planes(*planes, quality=quality)
    return data


def _cropped(frame: Any, geometry: Geometry) -> Planes:
    y, u, v = (_rows(plane) for plane in frame.planes)
    left, top = geometry.left, geometry.top
    luma = y[top : top + geometry.crop_height, left : left + geometry.crop_width]
    high, wide = (geometry.crop_height + 1) // 2, (geometry.crop_width + 1) // 2
    blue, red = (_crop_chroma(c, left, top, wide, high) for c in (u, v))
    return np.ascontiguousarray(luma), blue, red


def _crop_chroma(plane: Plane, left: int, top: int, wide: int, high: int) -> Plane:
    """Chroma under a luma crop; an odd margin falls between two samples: their mean."""
    x, y = left // 2, top // 2
    part = plane[y : y + high + top % 2, x : x + wide + left % 2]
    if left % 2:
        part = ((part[:, :-1].astype(np.uint16) + part[:, 1:] + 1) >> 1).astype(np.uint8)
    if top % 2:
        part = ((part[:-1].astype(np.uint16) + part[1:] + 1) >> 1).astype(np.uint8)
    return np.ascontiguousarray(part)


def _rows(plane: Any) -> Plane:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


def _turned(planes: Planes, geometry: Geometry) -> Planes:
    """Planes as displayed, each contiguous."""
    if not geometry.turns and not geometry.mirror:
        return planes
    y, u, v = (np.fliplr(p) if geometry.mirror else p for p in planes)
    y, u, v = (np.ascontiguousarray(np.rot90(p, geometry.turns)) for p in (y, u, v))
    return y, u, v


def _orientation(frame: Any) -> tuple[int, bool]:
    """Quarter turns counterclockwise after a mirroring, as the display matrix says.

    The matrix's first two rows (a, b), (c, d) take x right and y down: x' = a x + c y,
    y' = b x + d y. A negative determinant mirrors.
    """
    data = frame.side_data.get(SideData.DISPLAYMATRIX)
    if data is None:
        return 0, False
    matrix = struct.unpack("=9i", bytes(data)[:36])
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    mirror = a * d - b * c < 0
    if mirror:
        a, b = -a, -b  # what is left after flipping left to right first
    if abs(a) >= abs(b):
        return (0 if a > 0 or (a == b == 0) else 2), mirror
    return (1 if b < 0 else 3), mirror
