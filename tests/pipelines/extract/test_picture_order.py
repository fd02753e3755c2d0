"""Test that pictures are at their own times, whatever order they are coded in and packed."""

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path

import av
import pytest

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.picture_times import without_missing
from avstore.pipelines.extract.recipe import Recipe, load_recipe, parse_recipe
from tests.pipelines.extract.media import source
from tests.pipelines.extract.numbered import number_of, numbers_of_jpegs, write_numbered

RATE, SECONDS, LENGTH = 25, 12.0, 4.0
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-x264-params")
GROUP = "bframes=3:b-adapt=0:keyint=24:min-keyint=24:scenecut=0"
MPEG4 = ("-c:v", "mpeg4", "-q:v", "2", "-g", "24", "-bf")
CODECS = {
    "h264-closed": (*X264, GROUP),
    "h264-open": (*X264, f"{GROUP}:open-gop=1"),
    "h264-pyramid": (*X264, f"{GROUP}:bframes=5:b-pyramid=normal"),
    "h264-no-b": (*X264, "bframes=0"),
    "mpeg4-open": (*MPEG4, "2"),
    "mpeg4-closed": (*MPEG4, "2", "-flags", "+cgop", "-sc_threshold", "1000000000"),
    "mpeg4-no-b": (*MPEG4, "0"),
    "mpeg2": ("-c:v", "mpeg2video", "-q:v", "2", "-bf", "2"),
}
SOUND = {"avi": "pcm_s16le", "mkv": "pcm_s16le", "mp4": "aac", "ts": "mp2", "asf": "pcm_s16le"}
PACKED = "DivX503b1393p"
"""User data by which DivX and XviD declare a packed bitstream."""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a function that writes 12 s of numbered frames once."""
    folder = tmp_path_factory.mktemp("order")

    @cache
    def write(codec: str, suffix: str) -> Path:
        path = folder / f"{codec}.{suffix}"
        extra = ("-c:a", SOUND[suffix])
        return write_numbered(path, str(RATE), SECONDS, keyframes=24, video=CODECS[codec],
                              extra=extra)  # fmt: skip

    return write


def every_frame(decoder: str = "pyav") -> Recipe:
    """Return a recipe that takes each frame of LENGTH seconds, in the middle of its time."""
    settings = load_recipe("stella").model_dump() | {"duration_s": LENGTH, "decoder": decoder}
    times = [(i + 0.5) / RATE for i in range(round(LENGTH * RATE))]
    settings["frames"] |= {"sampling": "times", "count": None, "times": times, "size": 96}
    return parse_recipe(settings)


def check(
    path: Path, offset: float, decoder: str = "pyav", *, every_number: bool = True
) -> list[int]:
    """Extract each picture of LENGTH seconds; return the numbers, which are those of the times."""
    result = extract_clip(source(path, offset, LENGTH), every_frame(decoder))
    assert result.members, result.detail
    numbers = numbers_of_jpegs(body for suffix, body in result.members if suffix.endswith("jpg"))
    assert len(numbers) == LENGTH * RATE
    if every_number:
        assert numbers == [round(offset * RATE) + i for i in range(len(numbers))]
    assert (result.quality.repeated_frames, result.quality.decode_errors) == (0, 0)
    return numbers


@pytest.mark.parametrize("offset", [0.0, 5.4])
@pytest.mark.parametrize("suffix", SOUND)
@pytest.mark.parametrize("codec", CODECS)
def test_every_packing(written, codec, suffix, offset):
    if (codec, suffix) == ("mpeg2", "asf"):
        pytest.skip("FFmpeg does not read its own MPEG-2 in ASF")
    check(written(codec, suffix), offset)


@pytest.mark.parametrize("suffix", SOUND)
@pytest.mark.parametrize("codec", CODECS)
def test_decord_gives_the_same_or_is_refused(written, codec, suffix):
    pytest.importorskip("decord")
    if suffix in ("mp4", "mkv") or (codec, suffix) == ("mpeg4-no-b", "avi"):
        for offset in (0.0, 5.4):
            check(written(codec, suffix), offset, "decord")
    elif codec != "mpeg2" or suffix != "asf":
        result = extract_clip(source(written(codec, suffix), 0.0, LENGTH), every_frame("decord"))
        assert (result.verdict, result.members) == (Verdict.UNDECODABLE, ())
        assert "decord does not find frames by time" in result.detail
        assert result.detail.endswith("use decoder = 'pyav'")


def picture_type(data: bytes) -> int:
    return data[data.index(b"\0\0\1\xb6") + 4] >> 6


def packed(chunks: list[bytes]) -> list[bytes]:
    """Put each B picture behind the picture before it, and an empty picture where it was."""
    not_coded, out = b"\0\0\1\xb6\x51\0\0", list[bytes]()
    while chunks:
        chunk, *chunks = chunks
        if picture_type(chunk) == 0:
            at = chunk.index(b"\0\0\1\xb6")
            chunk = chunk[:at] + b"\0\0\1\xb2" + PACKED.encode() + chunk[at:]
        if chunks and picture_type(chunks[0]) == 2:
            chunk, chunks = chunk + chunks[0], [not_coded, *chunks[1:]]
        out.append(chunk)
    return out


def rewrite(plain: Path, path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Copy a file, with other packets of MPEG-4 that are numbered one by one."""
    with av.open(str(plain)) as container, av.open(str(path), "w") as out:
        video, sound = container.streams
        to_video, to_sound = (out.add_stream_from_template(s) for s in (video, sound))
        packets = [packet for packet in container.demux() if packet.size]
        chunks = change([bytes(p) for p in packets if p.stream is video])
        for packet in packets:
            if packet.stream is sound:
                packet.stream = to_sound
                out.mux(packet)
        for at, chunk in enumerate(chunks):
            packet = av.Packet(chunk)
            packet.pts = packet.dts = at
            packet.time_base = Fraction(1, RATE)
            packet.is_keyframe = picture_type(chunk) == 0
            packet.stream = to_video
            out.mux(packet)


@pytest.mark.parametrize("offset", [0.0, 5.4])
@pytest.mark.parametrize("suffix", ["avi", "mkv"])
def test_a_packed_bitstream(tmp_path, suffix, offset):
    plain = write_numbered(tmp_path / "plain.avi", str(RATE), SECONDS, keyframes=24,
                           video=(*MPEG4, "1"), extra=("-c:a", "pcm_s16le"))  # fmt: skip
    path = tmp_path / f"packed.{suffix}"
    rewrite(plain, path, packed)
    check(path, offset)


@pytest.mark.parametrize("suffix", ["avi", "mkv"])
def test_xvids_packed_bitstream(tmp_path, suffix):
    """XviD packs its pictures; FFmpeg's wrapper delays its packets, so they are numbered again."""
    path = tmp_path / f"a.{suffix}"
    video = ("-c:v", "libxvid", "-bf", "2", "-q:v", "2")
    plain = write_numbered(tmp_path / "plain.avi", str(RATE), SECONDS, keyframes=24, video=video,
                           extra=("-c:a", "pcm_s16le"))  # fmt: skip
    rewrite(plain, path, lambda chunks: chunks)
    with av.open(str(plain)) as container:
        shown = [number_of(f.to_ndarray(format="gray")) for f in container.decode(video=0)]
    assert sum(a >= b for a, b in pairwise(shown)) < 20, "XviD leaves a few blocks unchanged"
    for offset in (0.0, 5.4):
        stored = check(path, offset, every_number=False)
        first = round(offset * RATE)
        assert stored == shown[first : first + len(stored)]


def test_a_program_stream_with_few_times(tmp_path):
    """FFmpeg's H.264 in a program stream has a time for the first of many pictures only."""
    path = write_numbered(tmp_path / "a.mpg", str(RATE), SECONDS, video=CODECS["h264-closed"],
                          extra=("-c:a", "mp2"))  # fmt: skip
    check(path, 0.0)


def test_missing_times():
    assert without_missing([None, 10, None, None, 22, None], Fraction(5), 0) == [
        5, 10, 14, 18, 22, 27,
    ]  # fmt: skip
    assert without_missing([None, None], Fraction(5, 2), 7) == [7, 10]
