"""Which part of a picture is kept and at what size: pure functions of sizes."""

from dataclasses import dataclass
from fractions import Fraction

from avstore.pipelines.extract.recipe import Frames


@dataclass(frozen=True)
class Geometry:
    """From a coded picture to the stored one, in this order.

    width, height: what it is resized to, whole. left, top, crop_width, crop_height: what is kept
    of that. mirror: flipped left to right. turns: quarter turns counterclockwise.
    """

    width: int
    height: int
    left: int
    top: int
    crop_width: int
    crop_height: int
    turns: int = 0
    mirror: bool = False


def plan(
    width: int,
    height: int,
    frames: Frames,
    *,
    aspect: Fraction | None = None,
    turns: int = 0,
    mirror: bool = False,
) -> Geometry:
    """Where a coded picture of `width` × `height` goes under a recipe.

    Sizes are those of torchvision's Resize and CenterCrop on the picture as displayed: the long
    side is cut to a whole number, the crop's margin rounded. aspect: sample aspect ratio.
    """
    wide, high = Fraction(width), Fraction(height)
    if frames.pixel_aspect == "display" and aspect:
        wide *= aspect
    if turns % 2:
        wide, high = high, wide
    out_w, out_h = _size(wide, high, frames)
    crop_w, crop_h = out_w, out_h
    if frames.fit == "crop":
        crop_w = crop_h = frames.size or 0
    left, top = round((out_w - crop_w) / 2), round((out_h - crop_h) / 2)
    for _ in range(turns % 4):
        # One turn counterclockwise brings the coded picture's right edge to the top.
        left, top = out_h - crop_h - top, left
        out_w, out_h, crop_w, crop_h = out_h, out_w, crop_h, crop_w
    if mirror:
        left = out_w - crop_w - left
    return Geometry(out_w, out_h, left, top, crop_w, crop_h, turns % 4, mirror)


def _size(wide: Fraction, high: Fraction, frames: Frames) -> tuple[int, int]:
    """Size as displayed, after resizing and before cropping."""
    size = frames.size or 0
    if frames.fit == "native":
        return max(round(wide), 1), max(round(high), 1)
    if frames.fit == "stretch":
        return size, size
    long_side = int(size * max(wide, high) / min(wide, high))
    return (long_side, size) if wide >= high else (size, long_side)
