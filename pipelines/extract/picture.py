"""From a decoded frame to the stored JPEG, without ever going through RGB."""

from fractions import Fraction
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from pipelines.extract.colour import Plane, Planes, standard_of, to_jpeg_ycc
from pipelines.extract.geometry import Box, Geometry, plan
from pipelines.recipe import Frames

# Planar 8-bit formats that need no conversion: luma pixels per chroma pixel, each way.
_PLANAR = {
    "yuv420p": (2, 2),
    "yuvj420p": (2, 2),
    "yuva420p": (2, 2),
    "yuv422p": (2, 1),
    "yuvj422p": (2, 1),
    "yuva422p": (2, 1),
    "yuv444p": (1, 1),
    "yuvj444p": (1, 1),
    "yuva444p": (1, 1),
    "yuv440p": (1, 2),
    "yuvj440p": (1, 2),
    "yuv411p": (4, 1),
    "yuv410p": (4, 4),
}
_CENTRED_CHROMA = {"mjpeg", "vp8", "mpeg1video", "theora"}


def frame_geometry(frame: Any, frames: Frames, aspect: Fraction | None) -> Geometry:
    """Where a frame goes under a recipe, its display matrix honoured."""
    turns, mirror = _orientation(frame)
    return plan(frame.width, frame.height, frames, aspect=aspect, turns=turns, mirror=mirror)


def small_planes(frame: Any, geometry: Geometry, codec: str) -> Planes:
    """A frame cropped, resized, turned, as full-range BT.601 planes in 4:2:0.

    The resize is Pillow's antialiased bilinear, on luma and chroma apart, with the chroma
    samples taken from where the codec puts them (left, for most) to where JPEG does (centre).
    """
    frame = _eight_bit_planar(frame)
    name = frame.format.name
    standard = standard_of(name, frame.colorspace, frame.color_range)
    luma = _resized(frame.planes[0], geometry.box, geometry.width, geometry.height)
    if name == "gray":
        half = ((geometry.height + 1) // 2, (geometry.width + 1) // 2)
        blue = red = np.full(half, 128, np.uint8)
    else:
        box, size = _chroma_box(geometry, _PLANAR[name], codec in _CENTRED_CHROMA)
        blue, red = (_resized(frame.planes[i], box, *size) for i in (1, 2))
    return _turned(to_jpeg_ycc((luma, blue, red), standard), geometry)


def encode_jpeg(planes: Planes, quality: int) -> bytes:
    """A baseline JPEG in 4:2:0 with the standard tables, the same bytes for the same planes."""
    data: bytes = simplejpeg.encode_jpeg_yuv_planes(*planes, quality=quality)
    return data


def _eight_bit_planar(frame: Any) -> Any:
    """The frame itself, or converted by swscale where its format is not planar 8-bit YCbCr."""
    name = frame.format.name
    if name in _PLANAR or name == "gray":
        return frame
    if name.startswith("gray") and not frame.format.has_palette:
        return frame.reformat(format="gray", threads=1)
    if frame.format.is_rgb or frame.format.has_palette:
        options = {"dst_colorspace": "ITU601", "dst_color_range": "JPEG"}
        return frame.reformat(format="yuvj444p", threads=1, **options)
    wide = frame.format.chroma_width(16)
    tall = frame.format.chroma_height(16)
    names = {(8, 8): "yuv420p", (8, 16): "yuv422p", (16, 16): "yuv444p", (16, 8): "yuv440p"}
    return frame.reformat(format=names.get((wide, tall), "yuv444p"), threads=1)


def _resized(plane: Any, box: Box, width: int, height: int) -> Plane:
    size = (plane.width, plane.height)
    # Zero-copy view of the decoder's own rows, whatever their stride.
    image = Image.frombuffer("L", size, plane, "raw", "L", plane.line_size, 1)
    if size == (width, height) and tuple(round(edge, 6) for edge in box) == (0, 0, *size):
        return np.asarray(image)
    left, top, right, bottom = box
    # The shift of chroma may leave the picture by a quarter of a sample: it is cut there.
    box = (max(left, 0.0), max(top, 0.0), min(right, plane.width), min(bottom, plane.height))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=box))


def _chroma_box(
    geometry: Geometry, ratio: tuple[int, int], centred: bool
) -> tuple[Box, tuple[int, int]]:
    """Box on a chroma plane, and the size of the 4:2:0 result."""
    left, top, right, bottom = geometry.box
    wide, tall = ratio
    size = ((geometry.width + 1) // 2, (geometry.height + 1) // 2)
    # Samples on their luma column's centre instead of between two: half a luma pixel to the left.
    shift = 0.0 if centred or wide == 1 else 0.5
    if (geometry.width, geometry.height) == (right - left, bottom - top) and wide == tall == 2:
        shift = 0.0  # not resized: the samples stay as they are
    x0, x1 = (left + shift) / wide, (right + shift) / wide
    return (x0, top / tall, x1, bottom / tall), size


def _turned(planes: Planes, geometry: Geometry) -> Planes:
    """Planes as displayed, each contiguous."""
    if not geometry.turns and not geometry.mirror:
        return planes
    y, u, v = (np.fliplr(p) if geometry.mirror else p for p in planes)
    y, u, v = (np.ascontiguousarray(np.rot90(p, geometry.turns)) for p in (y, u, v))
    return y, u, v


def _orientation(frame: Any) -> tuple[int, bool]:
    """Quarter turns counterclockwise, and whether mirrored, as the display matrix says."""
    return round(frame.rotation / 90) % 4, False
