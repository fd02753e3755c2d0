"""Test sizes and crops against torchvision's."""

from fractions import Fraction

import numpy as np
import pytest

from avstore.pipelines.extract.geometry import Geometry, plan_geometry
from avstore.pipelines.extract.recipe_sections import FrameSettings, VideoSettings

CROP = FrameSettings(sampling="count", count=1, fit="crop", size=256)
SHORT = FrameSettings(sampling="count", count=1, fit="short_side", size=224)


@pytest.mark.parametrize(
    "size", [(1280, 720), (426, 240), (240, 426), (576, 720), (256, 110), (333, 777), (100, 100)]
)
def test_sizes_and_margins_are_torchvisions(size):
    import torch
    from torchvision.transforms import functional

    picture = torch.zeros(1, size[1], size[0])
    picture[0] = torch.arange(size[0])[None]
    resized = functional.resize(picture, [256], antialias=True)
    found = plan_geometry(*size, CROP)
    assert (found.height, found.width) == tuple(resized.shape[1:])
    cropped = functional.center_crop(resized, [256, 256])
    rows = slice(found.top, found.top + 256), slice(found.left, found.left + 256)
    assert torch.equal(resized[0][rows], cropped[0])


def test_other_fits():
    assert plan_geometry(640, 360, SHORT).width == int(640 * 224 / 360) == 398
    stretch = plan_geometry(640, 360, SHORT.model_copy(update={"fit": "stretch"}))
    assert (stretch.width, stretch.height, stretch.crop_width) == (224, 224, 224)
    native = plan_geometry(641, 361, FrameSettings(sampling="count", count=1, fit="native"))
    assert (native.width, native.height) == (641, 361)


def test_pixel_aspect_is_applied_only_where_asked():
    assert plan_geometry(640, 360, SHORT, aspect=Fraction(2)).width == 398
    wide = SHORT.model_copy(update={"pixel_aspect": "display"})
    assert plan_geometry(640, 360, wide, aspect=Fraction(2)).width == int(1280 * 224 / 360)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_a_crop_is_the_same_part_of_the_picture_as_displayed(turns, mirror):
    """Crop then turn equals turn then crop, for every orientation and odd sizes."""
    coded = np.arange(300 * 517).reshape(300, 517)
    crop = CROP.model_copy(update={"size": 300})
    found = plan_geometry(517, 300, crop, turns=turns, mirror=mirror)
    rows = slice(found.top, found.top + found.crop_height)
    part = coded[rows, found.left : found.left + found.crop_width]
    made = np.rot90(np.fliplr(part) if mirror else part, turns)
    shown = np.rot90(np.fliplr(coded) if mirror else coded, turns)
    upright = plan_geometry(shown.shape[1], shown.shape[0], crop)
    rows = slice(upright.top, upright.top + upright.crop_height)
    wanted = shown[rows, upright.left : upright.left + upright.crop_width]
    assert np.array_equal(made, wanted)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("size", [(641, 361), (333, 777), (17, 16), (5000, 3)])
def test_all_sides_of_a_video_are_even(size, turns):
    for keys in (
        {"fit": "native"},
        {"fit": "short_side", "size": 224},
        {"fit": "crop", "size": 64},
    ):
        found = plan_geometry(*size, VideoSettings(rate=16, **keys), turns=turns)
        assert found.crop_width % 2 == found.crop_height % 2 == 0
        assert min(found.crop_width, found.crop_height) >= 2
    native = plan_geometry(641, 361, VideoSettings(rate=16, fit="native"))
    assert (native.crop_width, native.crop_height) == (640, 360)
    short = plan_geometry(640, 361, VideoSettings(rate=16, size=224))
    assert (short.width, short.height) == (396, 224)  # 397 rounded down


def test_a_video_is_stretched_to_width_and_height():
    wide = VideoSettings(rate=16, fit="stretch", width=1024, height=512)
    assert plan_geometry(641, 361, wide) == Geometry(1024, 512, 0, 0, 1024, 512)
    turned = plan_geometry(641, 361, wide, turns=1)
    assert (turned.width, turned.height) == (512, 1024)


def test_a_crop_of_a_video_is_that_of_frames():
    for size in ((1280, 720), (426, 241), (333, 777)):
        crop = VideoSettings(rate=16, fit="crop", size=256)
        assert plan_geometry(*size, crop) == plan_geometry(*size, CROP)
