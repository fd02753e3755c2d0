"""Resize, crop and turn a decoded frame, and encode it as JPEG, without going through RGB."""

import struct
from fractions import Fraction
from typing import Any

import numpy as np
import simplejpeg
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import VideoReformatter

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.colour import Plane, Planes, to_bt601
from avstore.pipelines.extract.geometry import Geometry, PictureSettings, plan_geometry
from avstore.pipelines.extract.records import Rejected

MAX_SIDE_RATIO = 32
"""Largest ratio of a picture's sides; a safety limit that changes no result."""

# swscale's SWS_BILINEAR (antialiased when it shrinks), and the same bits on every processor.
_BILINEAR, _ACCURATE_RND, _BITEXACT = 2, 0x40000, 0x80000
_FLAGS = _BILINEAR | _ACCURATE_RND | _BITEXACT
_BT601, _FULL_RANGE = 5, 2


class Resizer:
    """Resize the frames of one clip to the stored size of its frames or its video.

    One instance serves one clip, so that swscale's tables are built once.

    Attributes:
        rotation: Degrees counterclockwise by which the last frame was turned for display.
    """

    def __init__(self, settings: PictureSettings, aspect: Fraction | None) -> None:
        self._settings = settings
        self._aspect = aspect
        self._scaler = VideoReformatter()
        self._cached: tuple[tuple[int, int], Geometry] | None = None
        self.rotation = 0

    def planes(self, frame: Any) -> Planes:
        """Return a frame resized, cropped and turned for display.

        Alpha is dropped, more than 8 bits are rounded, gray gets neutral chroma.

        Args:
            frame: A decoded `av.VideoFrame`.

        Returns:
            Contiguous uint8 planes Y, Cb, Cr in full-range BT.601, 4:2:0.

        Raises:
            Rejected: One side is more than 32 times the other.
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
        """Return the frame's geometry, planned again only when the coded size changes."""
        size = (frame.width, frame.height)
        if self._cached is None or self._cached[0] != size:
            if max(size) > MAX_SIDE_RATIO * min(size):
                detail = f"picture of {size[0]} x {size[1]} (limit {MAX_SIDE_RATIO} to 1)"
                raise Rejected(Verdict.UNDECODABLE, detail, by_policy=True)
            turns, mirror = orientation(frame)
            self.rotation = turns * 90
            geometry = plan_geometry(
                *size, self._settings, aspect=self._aspect, turns=turns, mirror=mirror
            )
            self._cached = (size, geometry)
        return self._cached[1]


def encode_jpeg(planes: Planes, quality: int) -> bytes:
    """Encode a baseline JPEG in 4:2:0 with the standard tables; same planes, same bytes."""
    luma, *chroma = planes
    data: bytes = simplejpeg.encode_jpeg_yuv_planes(_readable(luma), *chroma, quality=quality)
    return data


def _readable(luma: Plane) -> Plane:
    """Return luma in memory with a further row and column where a side is odd.

    TurboJPEG reads luma up to even sides, so beyond the end of a plane with an odd one.
    """
    height, width = luma.shape
    if height % 2 == width % 2 == 0:
        return luma
    return np.pad(luma, ((0, height % 2), (0, width % 2)), "edge")[:height, :width]


def _cropped(frame: Any, geometry: Geometry) -> Planes:
    y, u, v = (_rows(plane) for plane in frame.planes)
    left, top = geometry.left, geometry.top
    luma = y[top : top + geometry.crop_height, left : left + geometry.crop_width]
    high, wide = (geometry.crop_height + 1) // 2, (geometry.crop_width + 1) // 2
    blue, red = (_crop_chroma(c, left, top, wide, high) for c in (u, v))
    return np.ascontiguousarray(luma), blue, red


def _crop_chroma(plane: Plane, left: int, top: int, wide: int, high: int) -> Plane:
    """Crop chroma under a luma crop; an odd margin takes the mean of two samples."""
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
    """Return the planes as displayed, each contiguous."""
    if not geometry.turns and not geometry.mirror:
        return planes
    y, u, v = (np.fliplr(p) if geometry.mirror else p for p in planes)
    y, u, v = (np.ascontiguousarray(np.rot90(p, geometry.turns)) for p in (y, u, v))
    return y, u, v


def orientation(frame: Any) -> tuple[int, bool]:
    """Return the display matrix as (quarter turns counterclockwise, mirrored before).

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
        a, b = -a, -b  # the rotation that remains after flipping left to right
    if abs(a) >= abs(b):
        return (0 if a > 0 or (a == b == 0) else 2), mirror
    return (1 if b < 0 else 3), mirror
