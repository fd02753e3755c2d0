"""Plan at which size and crop a picture is stored, as pure functions of sizes."""

from dataclasses import dataclass
from fractions import Fraction

from avstore.pipelines.extract.recipe_sections import FrameSettings, VideoSettings

PictureSettings = FrameSettings | VideoSettings


@dataclass(frozen=True)
class Geometry:
    """Describe the way from a coded picture to the stored one: resize, crop, mirror, turn.

    Attributes:
        width: Width of the whole resized picture, in pixels.
        height: Height of the whole resized picture, in pixels.
        left: First column of the crop.
        top: First row of the crop.
        crop_width: Width of the crop.
        crop_height: Height of the crop.
        turns: Quarter turns counterclockwise.
        mirror: Whether the crop is flipped left to right before it is turned.
    """

    width: int
    height: int
    left: int
    top: int
    crop_width: int
    crop_height: int
    turns: int = 0
    mirror: bool = False


def plan_geometry(
    width: int,
    height: int,
    settings: PictureSettings,
    *,
    aspect: Fraction | None = None,
    turns: int = 0,
    mirror: bool = False,
) -> Geometry:
    """Plan the geometry of a coded picture under a recipe.

    Sizes are those of torchvision's Resize and CenterCrop on the picture as displayed: the long
    side is truncated to a whole number, the crop's margin rounded. Sides of a video are even: its
    codecs take no others with 4:2:0 chroma.

    Args:
        width: Coded width in pixels.
        height: Coded height in pixels.
        settings: The recipe's frame or video settings.
        aspect: Sample aspect ratio of the stream.
        turns: Quarter turns counterclockwise for display.
        mirror: Whether display flips the picture left to right before turning it.
    """
    wide, high = Fraction(width), Fraction(height)
    if settings.pixel_aspect == "display" and aspect:
        wide *= aspect
    if turns % 2:
        wide, high = high, wide
    out_w, out_h = _size(wide, high, settings)
    crop_w, crop_h = out_w, out_h
    if settings.fit == "crop":
        crop_w, crop_h = settings.target
    left, top = round((out_w - crop_w) / 2), round((out_h - crop_h) / 2)
    for _ in range(turns % 4):
        # One turn counterclockwise brings the coded picture's right edge to the top.
        left, top = out_h - crop_h - top, left
        out_w, out_h, crop_w, crop_h = out_h, out_w, crop_h, crop_w
    if mirror:
        left = out_w - crop_w - left
    return Geometry(out_w, out_h, left, top, crop_w, crop_h, turns % 4, mirror)


def _size(wide: Fraction, high: Fraction, settings: PictureSettings) -> tuple[int, int]:
    """Return the size as displayed, after resizing and before cropping."""
    if settings.fit == "stretch":
        return settings.target
    if settings.fit == "native":
        width, height = max(round(wide), 1), max(round(high), 1)
    else:
        size = settings.target[0]
        long_side = int(size * max(wide, high) / min(wide, high))
        width, height = (long_side, size) if wide >= high else (size, long_side)
    if settings.fit != "crop" and isinstance(settings, VideoSettings):
        return max(width // 2 * 2, 2), max(height // 2 * 2, 2)
    return width, height
