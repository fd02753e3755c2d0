"""Which part of a picture is kept and at what size: pure functions of sizes."""

from dataclasses import dataclass
from fractions import Fraction

from pipelines.recipe import Frames

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Geometry:
    """box: (left, top, right, bottom) in coded pixels. width, height: of the result before it is
    turned. turns: quarter turns counterclockwise; mirror: flip left and right before turning.
    """

    box: Box
    width: int
    height: int
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
    wide, high = float(width), float(height)
    if frames.pixel_aspect == "display" and aspect:
        wide *= float(aspect)
    if turns % 2:
        wide, high = high, wide
    out_w, out_h, crop = _size(wide, high, frames)
    left, top = (round((out_w - crop) / 2), round((out_h - crop) / 2)) if crop else (0, 0)
    box = (left / out_w, top / out_h, (left + crop) / out_w, (top + crop) / out_h)
    if crop:
        out_w = out_h = crop
    else:
        box = (0.0, 0.0, 1.0, 1.0)
    left_, top_, right, bottom = _unturn(box, turns, mirror)
    if turns % 2:
        out_w, out_h = out_h, out_w
    coded = (left_ * width, top_ * height, right * width, bottom * height)
    return Geometry(coded, out_w, out_h, turns % 4, mirror)


def _size(wide: float, high: float, frames: Frames) -> tuple[int, int, int]:
    """Displayed size after resizing, and the side of the square crop (0: none)."""
    size = frames.size or 0
    if frames.fit == "native":
        return round(wide), round(high), 0
    if frames.fit == "stretch":
        return size, size, 0
    short = min(wide, high)
    # The long side in exact arithmetic, as a float quotient may fall just below a whole number.
    long_side = int(Fraction(size) * Fraction(max(wide, high)) / Fraction(short))
    out = (long_side, size) if wide >= high else (size, long_side)
    return (*out, size if frames.fit == "crop" else 0)


def _unturn(box: Box, turns: int, mirror: bool) -> Box:
    """A box on the displayed picture (unit square) as a box on the coded one."""
    left, top, right, bottom = box
    for _ in range(turns % 4):
        # A quarter turn counterclockwise took coded (x, y) to displayed (y, 1 - x).
        left, top, right, bottom = 1 - bottom, left, 1 - top, right
    if mirror:
        left, right = 1 - right, 1 - left
    return left, top, right, bottom
