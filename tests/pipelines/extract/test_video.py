"""Encoded videos: exact times, key frames and groups, and the same bytes wherever they are made."""

import hashlib
import io
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg

from avstore.manifests.guarded_media import FOREIGN, open_stored_video
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.jpeg import Resizer, encode_jpeg
from avstore.pipelines.extract.recipe_sections import VideoSettings
from avstore.pipelines.extract.records import Rejected
from avstore.pipelines.extract.video import EncodedVideo, VideoEncoder
from tests.conftest import REPO
from tests.pipelines.extract.media import ffmpeg

CODECS = ("av1", "h264")


def recipe(codec: str, **keys) -> VideoSettings:
    return VideoSettings(**{"rate": 16, "fit": "native", "codec": codec, "crf": 30} | keys)


def noise(index: int, width: int = 64, height: int = 48) -> tuple[np.ndarray, ...]:
    """Return a picture of coarse noise: each is a new scene."""
    rng = np.random.default_rng(index)
    coarse = rng.integers(20, 235, (3, height // 16, width // 16), np.uint8)
    luma, *chroma = (np.kron(plane, np.ones((16, 16), np.uint8)) for plane in coarse)
    return luma, *(np.ascontiguousarray(plane[::2, ::2]) for plane in chroma)


def encode(settings: VideoSettings, pictures: int) -> EncodedVideo:
    encoder = VideoEncoder(settings, 64, 48)
    for index in range(pictures):
        encoder.add(noise(index))
    return encoder.finish()


def boxes(content: bytes) -> list[bytes]:
    """Return the names of the outer boxes of an MP4 file."""
    names, at = list[bytes](), 0
    while at < len(content):
        names.append(content[at + 4 : at + 8])
        at += int.from_bytes(content[at : at + 4], "big")
    return names


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("every", [1, 5, 16])
@pytest.mark.parametrize("pictures", [1, 4, 33])
def test_keyframes_are_where_the_recipe_has_them(codec: str, every: int, pictures: int) -> None:
    encoded = encode(recipe(codec, keyframe_every=every), pictures)
    assert encoded.pictures == pictures
    with av.open(io.BytesIO(encoded.content)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    keys = [p for p in packets if p.is_keyframe]
    assert [packets.index(p) for p in keys] == list(range(0, pictures, every))
    assert encoded.gop_offsets == (*(p.pos for p in keys), packets[-1].pos + packets[-1].size)
    assert encoded.gop_offsets[-1] == len(encoded.content)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("rate", "exact"),
    [
        (16, Fraction(16)),
        (2.5, Fraction(5, 2)),
        (30000 / 1001, Fraction(30000, 1001)),
        (0.1, Fraction(1, 10)),
        (0.01, Fraction(1, 100)),
    ],
)
def test_the_i_th_picture_is_at_i_by_rate(codec: str, rate: float, exact: Fraction) -> None:
    assert recipe(codec, rate=rate).exact_rate == exact
    encoded = encode(recipe(codec, rate=rate, keyframe_every=4), 9)
    with av.open(io.BytesIO(encoded.content)) as container:
        stream = container.streams.video[0]
        assert stream.start_time == 0
        assert stream.average_rate == exact
        times = [frame.pts * frame.time_base for frame in container.decode(stream)]
    assert times == [i / exact for i in range(9)]


@pytest.mark.parametrize("codec", CODECS)
def test_the_header_comes_first_and_names_no_program(codec: str) -> None:
    encoded = encode(recipe(codec), 20)
    first, second, *padding, last = boxes(encoded.content)
    assert (first, second, {*padding}, last) == (b"ftyp", b"moov", {b"free"}, b"mdat")
    for name in (b"x264", b"SVT", b"Lavc", b"Lavf"):
        assert name not in encoded.content
    with open_stored_video(encoded.content) as (container, stream):
        assert len(container.streams) == 1
        assert stream.sample_aspect_ratio == 1
        assert {"creation_time", "encoder"}.isdisjoint(container.metadata | stream.metadata)
        frame = next(container.decode(stream))
    assert (int(frame.colorspace), int(frame.color_range)) == (5, 2)


@pytest.mark.parametrize("codec", CODECS)
def test_repeated_pictures_are_shown_for_that_many_instants(codec: str) -> None:
    encoder = VideoEncoder(recipe(codec, crf=10), 64, 48)
    for index, times in ((0, 3), (1, 1), (2, 5)):
        encoder.add(noise(index), times)
    encoded = encoder.finish()
    assert encoded.pictures == 9
    with open_stored_video(encoded.content) as (container, stream):
        shown = [frame.to_ndarray()[:48].astype(float) for frame in container.decode(stream)]
    for picture, index in zip(shown, (0, 0, 0, 1, 2, 2, 2, 2, 2), strict=True):
        assert np.abs(picture - noise(index)[0]).mean() < 4


@pytest.mark.parametrize("codec", CODECS)
def test_two_processes_write_the_same_bytes(codec: str) -> None:
    code = (
        "import hashlib; from tests.pipelines.extract.test_video import *; "
        f"print(hashlib.sha256(encode(recipe({codec!r}), 40).content).hexdigest())"
    )
    command, environment = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": str(REPO)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    here = encode(recipe(codec), 40)
    assert done.stdout.strip() == hashlib.sha256(here.content).hexdigest()
    assert done.stderr == ""  # SVT-AV1 is silent


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [(2, 2), (2, 64), (16386, 16), (4096, 2306)])
def test_sizes_that_cannot_be_encoded_reject_the_clip(codec: str, size: tuple[int, int]) -> None:
    with pytest.raises(Rejected, match=f"video of {size[0]} x {size[1]} pixels") as caught:
        VideoEncoder(recipe(codec), *size)
    assert caught.value.verdict == Verdict.UNDECODABLE


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [(4, 4), (16, 4), (34, 1024), (130, 66)])
def test_unusual_sizes_are_encoded(codec: str, size: tuple[int, int]) -> None:
    width, height = size
    encoder = VideoEncoder(recipe(codec, keyframe_every=3), width, height)
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    for luma in range(0, 200, 20):
        encoder.add((np.full((height, width), luma, np.uint8), chroma, chroma))
    with open_stored_video(encoder.finish().content) as (container, stream):
        frames = list(container.decode(stream))
    assert len(frames) == 10
    assert (frames[0].width, frames[0].height) == size


@pytest.mark.parametrize("codec", CODECS)
def test_a_video_without_pictures_is_an_error(codec: str) -> None:
    with pytest.raises(ValueError, match="needs at least one picture"):
        VideoEncoder(recipe(codec), 64, 48).finish()


@pytest.mark.parametrize("codec", CODECS)
def test_an_encoder_may_be_abandoned(codec: str) -> None:
    for _ in range(3):
        VideoEncoder(recipe(codec), 64, 48).add(noise(0), 20)
    assert encode(recipe(codec), 3).pictures == 3


def test_readers_of_foreign_media_take_stored_videos() -> None:
    assert {"libdav1d", "h264"} <= set(FOREIGN.decoders.split(","))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("tags", [("bt709", "tv"), ("smpte170m", "pc")])
def test_colours_are_those_of_the_stored_jpegs(codec: str, tags: tuple, tmp_path: Path) -> None:
    """From a file of other colours, by the resizer, to a video and to a JPEG."""
    path = tmp_path / "clip.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "smptebars=size=320x240:rate=5:duration=1"),
        *("-vf", f"scale=out_color_matrix={tags[0]}:out_range={tags[1]},format=yuv420p"),
        *("-colorspace", tags[0], "-color_range", tags[1], "-c:v", "libx264", "-crf", "4", path),
    )
    settings = recipe(codec, crf=8)
    with av.open(str(path)) as container:
        planes = Resizer(settings, None).planes(next(container.decode(video=0)))
    jpeg = simplejpeg.decode_jpeg(encode_jpeg(planes, 98), colorspace="RGB").astype(float)
    encoder = VideoEncoder(settings, 320, 240)
    encoder.add(planes)
    with open_stored_video(encoder.finish().content) as (container, stream):
        frame = next(container.decode(stream))
        found = frame.to_ndarray(format="rgb24").astype(float)
    assert np.abs((found - jpeg).mean((0, 1))).max() < 0.7
    for x in range(20, 320, 46):  # the middle of each bar
        assert np.abs(found[40, x] - jpeg[40, x]).max() < 4
