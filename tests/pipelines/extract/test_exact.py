"""Test that frames equal those of a full decode, bit for bit, whatever packets are skipped."""

import hashlib
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import pytest

from avstore.pipelines.extract.decode import (
    can_skip,
    decode_wanted,
    needed_packets,
)
from avstore.pipelines.extract.decoder_log import decode_errors, record_decoder_log
from avstore.pipelines.extract.open_media import open_media, select_streams
from avstore.pipelines.extract.picture_times import packet_times
from avstore.pipelines.extract.pictures import select_pictures
from avstore.pipelines.extract.recipe import load_recipe, parse_recipe
from avstore.pipelines.extract.sampling import exact_seconds
from avstore.pipelines.extract.window import read_window
from tests.pipelines.extract.media import ffmpeg

STELLA = load_recipe("stella")
X264 = ("-c:v", "libx264", "-preset", "veryfast")
LAVFI = ("-f", "lavfi", "-i")
PICTURE = "testsrc2=size=160x120:rate=25:duration=4,noise=alls=12"

ENCODINGS = {
    "h264-bframes": ("mp4", (*X264, "-bf", "3", "-b-pyramid", "none")),
    "h264-pyramid": ("mp4", (*X264, "-bf", "8", "-b-pyramid", "normal", "-refs", "5")),
    "h264-strict-pyramid": ("mkv", (*X264, "-bf", "5", "-b-pyramid", "strict")),
    "h264-opengop": ("mp4", (*X264, "-g", "20", "-x264-params", "open-gop=1:bframes=4")),
    "h264-intra-refresh": ("mp4", (*X264, "-x264-params", "intra-refresh=1")),
    "h264-noreorder": ("mp4", (*X264, "-bf", "0", "-tune", "zerolatency")),
    "h264-slices-weighted": ("flv", (*X264, "-x264-params", "slices=4:weightp=2:bframes=3")),
    "h264-interlaced": ("mp4", (*X264, "-flags", "+ilme+ildct", "-x264-params", "tff=1")),
    "h264-interlaced-ts": ("ts", (*X264, "-flags", "+ilme+ildct", "-x264-params", "bff=1")),
    "h264-ts": ("ts", (*X264, "-bf", "3")),
    "h264-avi": ("avi", (*X264, "-bf", "0")),
    "h264-10bit": ("mp4", (*X264, "-pix_fmt", "yuv420p10le", "-bf", "3")),
    "h264-444": ("mkv", (*X264, "-pix_fmt", "yuv444p")),
    "h264-422-full": ("mp4", (*X264, "-pix_fmt", "yuvj422p")),
    "h264-vfr": ("mp4", (*X264, "-vf", "select='not(mod(n,3))+gt(mod(n,7),4)'",
                         "-fps_mode", "vfr")),
    "h264-240fps": ("mp4", (*X264, "-r", "240", "-t", "1")),
    "h264-oneframe": ("mp4", (*X264, "-frames:v", "1")),
    "h264-odd": ("mkv", (*X264, "-vf", "scale=133:99", "-pix_fmt", "yuv444p")),
    "h264-short-gop": ("mp4", (*X264, "-g", "10", "-bf", "3")),
    "h264-short-gop-ts": ("ts", (*X264, "-g", "10", "-bf", "3")),
    "hevc-short-gop": ("mp4", ("-c:v", "libx265", "-preset", "veryfast", "-x265-params",
                               "log-level=error:keyint=10:open-gop=0:bframes=3")),
    "vp9-short-gop": ("webm", ("-c:v", "libvpx-vp9", "-g", "10", "-cpu-used", "8")),
    "vp8-short-gop": ("webm", ("-c:v", "libvpx", "-g", "10", "-cpu-used", "8")),
    "av1-short-gop": ("mp4", ("-c:v", "libsvtav1", "-preset", "12", "-g", "10")),
    "mpeg4-short-gop": ("mp4", ("-c:v", "mpeg4", "-g", "10", "-bf", "2")),
    "hevc": ("mp4", ("-c:v", "libx265", "-preset", "veryfast", "-x265-params",
                     "log-level=error:bframes=4:b-pyramid=1")),
    "hevc-opengop": ("mkv", ("-c:v", "libx265", "-preset", "veryfast", "-x265-params",
                             "log-level=error:open-gop=1:keyint=20:bframes=4")),
    "hevc-temporal-layers": ("mp4", ("-c:v", "libx265", "-preset", "veryfast", "-x265-params",
                                     "log-level=error:temporal-layers=3:bframes=4")),
    "hevc-ts": ("ts", ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params",
                       "log-level=error")),
    "vp9": ("webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")),
    "vp9-altref": ("webm", ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-auto-alt-ref", "1",
                            "-lag-in-frames", "16", "-b:v", "200k")),
    "vp8": ("webm", ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8")),
    "av1": ("mp4", ("-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "lookahead=20")),
    "mpeg4": ("avi", ("-c:v", "mpeg4", "-bf", "2", "-q:v", "4")),
    "mpeg4-mp4": ("mp4", ("-c:v", "mpeg4", "-bf", "2", "-q:v", "4")),
    "mpeg2-ps": ("mpg", ("-c:v", "mpeg2video", "-bf", "2", "-q:v", "4")),
    "mpeg2-interlaced": ("ts", ("-c:v", "mpeg2video", "-bf", "2", "-flags", "+ilme+ildct")),
    "mjpeg": ("avi", ("-c:v", "mjpeg", "-q:v", "4")),
    "alpha": ("webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-cpu-used", "8")),
    "wmv": ("asf", ("-c:v", "wmv2", "-q:v", "4")),
    "theora-ogg": ("ogg", ("-c:v", "libtheora", "-q:v", "6")),
}  # fmt: skip


def digest_of(frame) -> bytes:
    """Hash a frame's pixels without the padding at the ends of rows."""
    wide = 2 if frame.format.components[0].bits > 8 else 1
    digest = hashlib.sha256()
    for plane in frame.planes:
        data = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        digest.update(data[:, : plane.width * wide].tobytes())
    return digest.digest()


@lru_cache(maxsize=1)
def by_full_decode(path: Path) -> dict[int, bytes]:
    """Return every frame's digest by presentation time, from a plain decode of the whole file."""
    found = {}
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                if frame.pts is not None and frame.pts not in found:
                    found[frame.pts] = digest_of(frame)
    return found


def check(path: Path, recipe, duration: float) -> int:
    """Compare the wanted frames with a full decode; return their number, or 0 on fallback."""
    with open_media(str(path)) as container:
        opened = select_streams(container, sound=None)
        window = read_window(opened, exact_seconds(0.0), exact_seconds(duration))
        times = packet_times(window.video)
        if times is None or window.in_coded_order:
            return 0
        wanted = set(select_pictures(str(path), times, opened, window, recipe).wanted)
        context, errors = opened.video.codec_context, []
        with record_decoder_log() as log:
            frames = decode_wanted(context, window.video, wanted, errors)
            ours = {frame.pts: digest_of(frame) for frame in frames}
        if decode_errors(log, errors):
            return 0  # the extractor decodes again without skipping
        skipping = can_skip(context)
    whole = by_full_decode(path)
    theirs = {time: whole[time] for time in wanted if time in whole}
    if set(ours) != wanted:  # the extractor falls back to a full decode
        assert skipping is False or set(theirs) != wanted
        return 0
    assert ours == theirs
    return len(wanted)


@pytest.fixture(scope="module")
def encode(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encodings")

    def make(name: str) -> Path:
        suffix, arguments = ENCODINGS[name]
        path = folder / f"{name}.{suffix}"
        if not path.exists():
            ffmpeg(*LAVFI, PICTURE, "-pix_fmt", "yuv420p", *arguments, path)
        return path

    return make


def every(count: int, duration: float):
    settings = STELLA.model_dump() | {"name": "test", "duration_s": duration}
    settings["frames"] |= {"count": count}
    return parse_recipe(settings)


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding(encode, name):
    path = encode(name)
    compared = [check(path, every(count, 4.0), 4.0) for count in (7, 20, 80)]
    with open_media(str(path)) as container:
        opened = select_streams(container, sound=None)
        window = read_window(opened, exact_seconds(0.0), exact_seconds(4.0))
    certain = packet_times(window.video) is not None and not window.in_coded_order
    assert all(compared) or not certain, compared


@pytest.mark.slow
def test_real_clips(shared_data):
    compared = {10: 0, 80: 0}
    for path in sorted((shared_data / "media").glob("*.*")):
        if path.suffix not in {".mp4", ".webm", ".mkv", ".mov"}:
            continue
        try:
            with av.open(str(path)) as container:
                next(container.decode(video=0))
        except (av.FFmpegError, StopIteration, IndexError):
            continue
        if path.stat().st_size < 3_000_000:
            for count in compared:
                compared[count] += check(path, every(count, 10.0), 10.0) > 0
    assert min(compared.values()) > 25


def test_groups_of_pictures_without_a_wanted_one_are_not_decoded(encode):
    for name in ("h264-short-gop", "h264-short-gop-ts", "hevc-short-gop", "vp9-short-gop"):
        with open_media(str(encode(name))) as container:
            opened = select_streams(container, sound=None)
            window = read_window(opened, exact_seconds(0.0), exact_seconds(4.0))
            wanted = {window.video[0].pts}
            kept = needed_packets(opened.video.codec_context, window.video, wanted)
        assert len(window.video) == 100
        assert len(kept) == 1, name


def test_skipping_is_refused_where_it_may_matter(encode):
    def may(name):
        with open_media(str(encode(name))) as container:
            return can_skip(select_streams(container, sound=None).video.codec_context)

    assert may("h264-bframes")
    assert may("hevc")
    assert may("mpeg4")
    for name in ("h264-interlaced", "hevc-temporal-layers", "hevc-ts", "vp9", "vp8", "av1"):
        assert not may(name), name
