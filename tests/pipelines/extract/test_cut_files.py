"""Test files that are shorter than their container says, lost their index, or begin before 0."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.cut_files import find_cut
from avstore.pipelines.extract.recipe import load_recipe, parse_recipe
from avstore.pipelines.extract.sandbox import Sandbox
from tests.pipelines.extract.media import ffmpeg, make_clip, source
from tests.pipelines.extract.numbered import numbers_of_jpegs, write_numbered
from tests.pipelines.extract.test_codecs import encoded

STELLA = load_recipe("stella")
MPEG4 = ("-c:v", "mpeg4")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8")
PCM = ("-c:a", "pcm_s16le")
FILES = {
    "mp4": {},
    "fast.mp4": {"extra": ("-movflags", "+faststart")},
    "avi": {"video": MPEG4, "audio": PCM},
    "asf": {"video": ("-c:v", "wmv2"), "audio": PCM},
    "mkv": {},
    "webm": {"video": VP8, "audio": ("-c:a", "libopus")},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the bytes of a whole file by the key of FILES."""
    folder = tmp_path_factory.mktemp("whole")

    def write(name: str) -> bytes:
        path = folder / f"a.{name}"
        if not path.exists():
            make_clip(path, size="64x64", **FILES[name])
        return path.read_bytes()

    return write


def verdict(path: Path, data: bytes):
    path.write_bytes(data)
    return extract_clip(source(path), STELLA)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_is_truncated(written, tmp_path, name):
    data = written(name)
    path = tmp_path / f"a.{name}"
    for size in (60, 200, 500, 1000, 3000, len(data) // 3, len(data) // 2, 3 * len(data) // 4):
        result = verdict(path, data[:size])
        assert result.verdict is Verdict.TRUNCATED, (size, result.verdict, result.detail)
    path.write_bytes(data)
    assert find_cut(str(path)) is None
    assert extract_clip(source(path), STELLA).verdict is None


@pytest.mark.parametrize("name", ["mp4", "fast.mp4"])
def test_a_file_that_ends_within_its_index(written, tmp_path, name):
    data = written(name)
    at = data.index(b"moov") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    for part in range(1, 9):
        result = verdict(tmp_path / "a.mp4", data[: at + size * part // 10])
        assert result.verdict is Verdict.TRUNCATED, (part, result.verdict, result.detail)
        assert "before its box 'moov' does" in result.detail
    lost = verdict(tmp_path / "a.mp4", data[:at] + data[at + size :])
    assert lost.verdict is Verdict.TRUNCATED
    assert lost.detail.startswith("the file has lost its index (box 'moov'): ")


def test_a_recording_whose_size_was_never_written(written, tmp_path):
    data = bytearray(written("avi")[:3000])
    data[4:8] = bytes(4)
    result = verdict(tmp_path / "a.avi", bytes(data))
    assert result.verdict is Verdict.TRUNCATED
    assert "its RIFF chunk has no size" in result.detail


def test_what_a_cut_does_not_explain_keeps_its_verdict(tmp_path):
    silent = tmp_path / "silent.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x64:duration=10", silent)
    path = tmp_path / "a.mkv"
    assert verdict(path, silent.read_bytes()[:20_000]).verdict is Verdict.NO_AUDIO
    forbidden = encoded(tmp_path / "b.avi", ("cinepak",), ("pcm_s16le",), 10.0)
    result = verdict(tmp_path / "c.avi", forbidden.read_bytes()[:-1000])
    assert result.verdict is Verdict.UNDECODABLE
    assert "is not one of the allowed codecs" in result.detail
    assert find_cut(str(tmp_path / "c.avi")) is not None


HEADS = [b"\0\0\0\x10ftyp", b"\0\0\0\1ftyp", b"RIFF", b"\x1a\x45\xdf\xa3",
         b"\x1a\x45\xdf\xa3\x01", bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")]  # fmt: skip


@settings(max_examples=300)
@given(st.sampled_from(HEADS), st.binary(max_size=60))
def test_sizes_of_any_value_are_compared_with_the_file(tmp_path_factory, head, rest):
    """A size may be more than the file system lets a program seek to."""
    path = tmp_path_factory.getbasetemp() / "any.bin"
    path.write_bytes(head + rest)
    cut = find_cut(str(path))
    assert cut is None or cut.detail


@pytest.mark.parametrize("size", [b"\x01" + b"\xff" * 6 + b"\xfe", b"\x02" + b"\xee" * 6])
def test_a_header_of_matroska_that_is_longer_than_any_file(written, tmp_path, size):
    data = written("mkv")
    path = tmp_path / "a.mkv"
    result = verdict(path, data[:4] + size + data[5:])
    assert result.verdict is Verdict.TRUNCATED


def test_a_probe_says_that_a_file_is_cut(written, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(written("mp4")[:3000])
    with Sandbox(STELLA) as sandbox:
        assert "before its box 'mdat' does" in str(sandbox.probe(str(path)))


def numbers(path: Path, offset: float = 0.0) -> list[int]:
    changed = STELLA.model_dump() | {"duration_s": 4.0}
    changed["frames"] |= {"count": 100, "size": 96}
    result = extract_clip(source(path, offset, 4.0), parse_recipe(changed))
    assert result.verdict is None, result.detail
    assert result.quality.audio_covered_fraction > 0.98
    return numbers_of_jpegs(body for suffix, body in result.members if suffix.endswith("jpg"))


@pytest.mark.parametrize("offset", [0.0, 5.4])
@pytest.mark.parametrize("before", [0.0, 0.02, 0.3, 1.0])
@pytest.mark.parametrize(
    ("suffix", "video", "audio"),
    [
        ("webm", VP8, ("-c:a", "libopus")),
        ("mkv", ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "0"), PCM),
        ("mkv", ("-c:v", "libx264", "-preset", "veryfast", "-bf", "2"), ("-c:a", "aac")),
        ("mp4", ("-c:v", "libx264", "-preset", "veryfast"), ("-c:a", "aac")),
    ],
    ids=["vp8", "h264", "h264-b", "mp4"],
)
def test_what_is_before_0_belongs_to_the_clip(tmp_path, suffix, video, audio, before, offset):
    """But in MP4 it is hidden by the edit list that puts it there."""
    shift = ("-output_ts_offset", str(-before), "-avoid_negative_ts", "disabled")
    path = write_numbered(tmp_path / f"a.{suffix}", "25", 12.0, keyframes=25, video=video,
                          extra=(*audio, *shift))  # fmt: skip
    hidden = before if suffix == "mp4" or before < 0.04 else 0.0
    first = round((offset + hidden) * 25)
    found = numbers(path, offset)
    assert abs(found[0] - first) <= 1
    assert all(b - a in (0, 1) for a, b in pairwise(found))
    assert abs(found[-1] - (first + 99)) <= 1
