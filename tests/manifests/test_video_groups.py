"""A window of pictures from the bytes of whole groups equals that of a full decode."""

import io
from functools import cache
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.manifests.guarded_media import open_stored_video
from avstore.manifests.video_groups import decode_groups, group_range, group_sizes, rgb
from avstore.pipelines.extract.recipe_sections import VideoSettings
from avstore.pipelines.extract.video import EncodedVideo, VideoEncoder

SIZE = (64, 48)
CODECS = ("av1", "h264")
Planes = tuple[np.ndarray, np.ndarray, np.ndarray]


def moving(index: int, width: int = SIZE[0], height: int = SIZE[1]) -> Planes:
    """Return a picture whose parts move in different directions."""
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    luma = ((3 * x + 7 * index) % 256 + (5 * y - 11 * index) % 256) // 2
    blue, red = ((luma[::2, ::2] * k + 40) % 200 for k in (1, 2))
    return luma.astype(np.uint8), blue.astype(np.uint8), red.astype(np.uint8)


def filled(colour: tuple[int, int, int]) -> Planes:
    """Return a picture of one colour, converted as JPEG defines it."""
    red, green, blue = colour
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    cb, cr = 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402
    shape = (SIZE[1] // 2, SIZE[0] // 2)
    sizes = ((2 * shape[0], 2 * shape[1]), shape, shape)
    values = (min(max(round(v), 0), 255) for v in (luma, cb, cr))
    y, u, v = (np.full(s, v, np.uint8) for s, v in zip(sizes, values, strict=True))
    return y, u, v


def encode(codec: str, planes: list[Planes], every: int, crf: int = 30) -> EncodedVideo:
    """Return a video of these pictures."""
    height, width = planes[0][0].shape
    recipe = VideoSettings(rate=16, fit="native", codec=codec, crf=crf, keyframe_every=every)
    encoder = VideoEncoder(recipe, width, height)
    for picture in planes:
        encoder.add(picture)
    return encoder.finish()


@cache
def video(codec: str, pictures: int, every: int) -> tuple[EncodedVideo, tuple[np.ndarray, ...]]:
    """Return a video and all its pictures, decoded by PyAV alone."""
    encoded = encode(codec, [moving(i) for i in range(pictures)], every)
    with av.open(io.BytesIO(encoded.content)) as container:
        frames = tuple(planes_of(frame) for frame in container.decode(video=0))
    assert len(frames) == pictures
    return encoded, frames


def planes_of(frame: av.VideoFrame) -> np.ndarray:
    """Return the three planes of a frame, one below the other."""
    return frame.reformat(format=frame.format.name.replace("yuvj", "yuv")).to_ndarray()


def window(encoded: EncodedVideo, codec: str, every: int, first: int, count: int) -> list:
    """Read a window as a loader does: one range, then its groups."""
    found = group_range(encoded.gop_offsets, every, first, count)
    content = memoryview(encoded.content)[found.offset : found.offset + found.size]
    sizes = group_sizes(encoded.gop_offsets, found)
    return list(
        decode_groups(content, sizes, codec, first - found.first_group * every, count, every)
    )


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_window_equals_that_of_a_full_decode(codec: str, data: st.DataObject) -> None:
    pictures = data.draw(st.sampled_from([1, 2, 7, 16, 37]))
    every = data.draw(st.sampled_from([1, 2, 5, 16, 64]))
    first = data.draw(st.integers(0, pictures - 1))
    count = data.draw(st.integers(1, pictures - first))
    encoded, expected = video(codec, pictures, every)
    found = window(encoded, codec, every, first, count)
    assert len(found) == count
    for frame, picture in zip(found, expected[first : first + count], strict=True):
        assert np.array_equal(planes_of(frame), picture)


def test_a_window_is_one_range_of_the_fewest_groups() -> None:
    offsets = (100, 250, 300, 420)
    assert group_range(offsets, 4, 0, 4) == (100, 150, 0)
    assert group_range(offsets, 4, 3, 2) == (100, 200, 0)
    assert group_range(offsets, 4, 5, 7) == (250, 170, 1)
    assert group_sizes(offsets, group_range(offsets, 4, 5, 7)) == (50, 120)


@pytest.mark.parametrize(("first", "count"), [(-1, 2), (0, 0), (11, 2), (12, 1)])
def test_a_window_outside_the_video_is_refused(first: int, count: int) -> None:
    with pytest.raises(ValueError, match=rf"pictures \[{first}, {first + count}\) are not within"):
        group_range((100, 250, 300, 420), 4, first, count)


@pytest.mark.parametrize("codec", CODECS)
def test_a_last_group_with_too_few_pictures_is_an_error(codec: str) -> None:
    encoded, _ = video(codec, 7, 5)
    with pytest.raises(ValueError, match="7 of 8 pictures are in 2 groups"):
        window(encoded, codec, 5, 4, 4)


@pytest.mark.parametrize("codec", CODECS)
def test_damaged_bytes_are_an_error_or_give_all_pictures(codec: str) -> None:
    """Flipped bits may decode to other pictures, but never to fewer, and never crash."""
    encoded, _ = video(codec, 37, 16)
    sizes = [b - a for a, b in pairwise(encoded.gop_offsets)]
    sound = encoded.content[encoded.gop_offsets[0] : encoded.gop_offsets[-1]]
    rng = np.random.default_rng(0)
    reasons = []
    for _ in range(150):
        damaged = bytearray(sound)
        at = int(rng.integers(len(damaged)))
        damaged[at : at + 4] = rng.bytes(len(damaged[at : at + 4]))
        try:
            assert len(list(decode_groups(damaged, sizes, codec, 0, 37, 16))) == 37
        except ValueError as error:
            reasons.append(str(error))
    assert len(reasons) > 10
    assert not any("\n" in reason for reason in reasons)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "change",
    [lambda b: b[:-1], lambda b: b[1:], lambda b: b"", lambda b: bytes(len(b)), lambda b: b[::-1]],
)
def test_bytes_that_are_no_groups_are_an_error(codec: str, change) -> None:
    encoded, _ = video(codec, 7, 16)
    damaged = change(encoded.content[encoded.gop_offsets[0] :])
    with pytest.raises(ValueError):
        list(decode_groups(damaged, [len(damaged)], codec, 0, 7, 16))


def test_sizes_and_codecs_are_checked() -> None:
    with pytest.raises(ValueError, match="3 bytes are not groups of 4 bytes"):
        list(decode_groups(b"abc", [4], "av1", 0, 1, 16))
    with pytest.raises(ValueError, match="video codec 'vp9' is not one of 'av1', 'h264'"):
        list(decode_groups(b"abc", [3], "vp9", 0, 1, 16))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("other", CODECS)
def test_groups_of_the_other_codec_are_an_error(codec: str, other: str) -> None:
    encoded, _ = video(codec, 7, 16)
    if codec != other:
        with pytest.raises(ValueError):
            window(encoded, other, 16, 0, 7)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128), (0, 0, 0), (255, 255, 255)]
)
def test_colours_do_not_shift(codec: str, colour: tuple[int, int, int]) -> None:
    encoded = encode(codec, [filled(colour)] * 3, 16, crf=10)
    for frame in window(encoded, codec, 16, 0, 3):
        pixels = rgb(frame)
        assert pixels.shape == (SIZE[1], SIZE[0], 3)
        assert pixels.dtype == np.uint8
        assert np.abs(pixels.reshape(-1, 3).mean(0) - colour).max() < 2.5


@pytest.mark.parametrize("codec", CODECS)
def test_a_picture_survives_encoding(codec: str) -> None:
    """Against the JPEG of the same planes, which is what frames are stored as."""
    import simplejpeg

    x, y = np.arange(128)[None, :] / 128, np.arange(96)[:, None] / 96
    luma = (40 + 150 * x * y + 30 * np.sin(9 * x)).astype(np.uint8)
    chroma = [(128 + 60 * np.sin(k + 3 * (x + y)))[::2, ::2].astype(np.uint8) for k in (0, 2)]
    jpeg = simplejpeg.encode_jpeg_yuv_planes(luma, *chroma, quality=98)
    expected = simplejpeg.decode_jpeg(jpeg, colorspace="RGB").astype(float)
    encoded = encode(codec, [(luma, *chroma)], 16, crf=10)
    (frame,) = window(encoded, codec, 16, 0, 1)
    difference = rgb(frame) - expected
    assert np.abs(difference).mean() < 2
    assert np.abs(difference.mean((0, 1))).max() < 0.5


def test_a_stored_video_must_be_mp4_with_an_allowed_codec() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((72, 64), np.uint8), format="yuv420p")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    for content in (buffer.getvalue(), b"nothing", b""):
        with (
            pytest.raises(ValueError, match="stored video cannot be decoded"),
            open_stored_video(content) as (opened, stream),
        ):
            list(opened.decode(stream))
