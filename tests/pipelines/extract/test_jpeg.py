"""Test that stored pictures look as FFmpeg shows them: colours, orientation, pixel formats."""

import io

import numpy as np
import pytest
from PIL import Image

from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.jpeg import encode_jpeg
from avstore.pipelines.extract.recipe import load_recipe, parse_recipe
from tests.pipelines.extract.media import ffmpeg, source

STELLA = load_recipe("stella")
X264 = ("-c:v", "libx264", "-qp", "8")
# A smooth picture that has every hue and no symmetry.
PICTURE = (
    "gradients=size={size}:rate=5:duration=10:c0=red:c1=blue:c2=yellow:c3=green:n=4:speed=0.00001"
    ":seed=3,drawbox=x=0:y=0:w=iw/5:h=ih/6:color=white:t=fill"
)
KINDS = {
    "plain": ("320x240", X264, ()),
    "portrait": ("240x320", X264, ()),
    "wide": ("640x180", X264, ()),
    "small": ("64x48", X264, ()),
    "bt709": ("320x240", (*X264, "-vf", "scale=out_color_matrix=bt709",
                          "-colorspace", "bt709"), ()),
    "bt709-full": ("320x240", (*X264, "-vf", "scale=out_color_matrix=bt709:out_range=full",
                               "-colorspace", "bt709", "-color_range", "pc"), ()),
    "full": ("320x240", (*X264, "-vf", "scale=out_range=full", "-color_range", "pc"), ()),
    "422": ("320x240", (*X264, "-pix_fmt", "yuv422p"), ()),
    "444": ("320x240", (*X264, "-pix_fmt", "yuv444p"), ()),
    "10bit": ("320x240", (*X264, "-pix_fmt", "yuv420p10le"), ()),
    "gray": ("320x240", (*X264, "-pix_fmt", "gray"), ()),
    "rgb": ("320x240", ("-c:v", "libx264rgb", "-qp", "8"), ()),
    "odd": ("333x247", (*X264, "-pix_fmt", "yuv444p"), ()),
    "mjpeg": ("320x240", ("-c:v", "mjpeg", "-q:v", "2"), ()),
    "turned-90": ("320x240", X264, ("-display_rotation", "90")),
    "turned-180": ("320x240", X264, ("-display_rotation", "180")),
    "turned-270": ("322x240", X264, ("-display_rotation", "270")),
    "mirrored": ("320x240", X264, ("-display_rotation", "0", "-display_hflip")),
    "mirrored-turned": ("320x240", X264, ("-display_rotation", "90", "-display_vflip")),
}  # fmt: skip


def make(folder, size, arguments, display):
    plain, path = folder / "plain.mkv", folder / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", PICTURE.format(size=size), "-f", "lavfi", "-i", "sine=duration=10",
           "-pix_fmt", "yuv420p", *arguments, "-c:a", "aac", plain)  # fmt: skip
    ffmpeg(*display, "-i", plain, "-c", "copy", path)
    return path


def as_ffmpeg_shows_it(path, size: int) -> np.ndarray:
    """Return the first frame as RGB, turned by FFmpeg, resized and cropped by Pillow."""
    bmp = ffmpeg("-i", path, "-frames:v", "1", "-f", "image2pipe", "-c:v", "bmp", "-pix_fmt",
                 "bgr24", "-")  # fmt: skip
    image = Image.open(io.BytesIO(bmp)).convert("RGB")
    scale = size / min(image.size)
    wide, high = (max(int(side * scale + 1e-9), size) for side in image.size)
    image = image.resize((wide, high), Image.Resampling.BILINEAR)
    left, top = round((wide - size) / 2), round((high - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)), float)


@pytest.mark.parametrize("kind", KINDS)
def test_against_ffmpeg_and_pillow(tmp_path, kind):
    path = make(tmp_path, *KINDS[kind])
    result = extract_clip(source(path), STELLA)
    assert result.members, result.detail
    first = dict(result.members)["f000.jpg"]
    image = Image.open(io.BytesIO(first))
    assert (image.size, image.mode) == ((256, 256), "RGB")
    ours, theirs = np.asarray(image, float), as_ffmpeg_shows_it(path, 256)
    difference = np.abs(ours - theirs)
    # JPEG explains this difference: a wrong matrix, range or orientation gives ten times as much.
    assert difference.mean() < 4, difference.mean(axis=(0, 1))
    assert np.abs((ours - theirs).mean(axis=(0, 1))).max() < 3


def test_quality_and_chroma_are_those_of_pillows_default(tmp_path):
    result = extract_clip(source(make(tmp_path, *KINDS["plain"])), STELLA)
    image = Image.open(io.BytesIO(dict(result.members)["f000.jpg"]))
    buffer = io.BytesIO()
    Image.new("RGB", (256, 256)).save(buffer, "JPEG")
    default = Image.open(buffer)
    assert image.quantization == default.quantization
    assert [c[1:3] for c in image.layer] == [c[1:3] for c in default.layer]


def test_native_and_short_side_sizes(tmp_path):
    path = make(tmp_path, "333x247", KINDS["odd"][1], ())
    for fit, size, wanted in (("native", None, (333, 247)), ("short_side", 224, (301, 224))):
        settings = STELLA.model_dump()
        settings["frames"] |= {"fit": fit, "size": size, "count": 2}
        result = extract_clip(source(path), parse_recipe(settings))
        image = Image.open(io.BytesIO(dict(result.members)["f001.jpg"]))
        assert image.size == wanted


@pytest.mark.parametrize("size", [(23, 40), (24, 521), (23, 521), (17, 17)])
def test_odd_sides_have_the_same_bytes_whatever_is_behind_the_plane(size):
    height, width = size
    rng = np.random.default_rng(0)
    luma = rng.integers(0, 256, size, np.uint8)
    chroma = rng.integers(0, 256, ((height + 1) // 2, (width + 1) // 2), np.uint8)
    found = set()
    for filling in (0, 90, 255):
        memory = np.full(luma.size + width + 1, filling, np.uint8)
        plane = memory[: luma.size].reshape(size)
        plane[:] = luma
        found.add(encode_jpeg((plane, chroma, chroma), 75))
    assert len(found) == 1
    decoded = Image.open(io.BytesIO(found.pop()))
    assert decoded.size == (width, height)
