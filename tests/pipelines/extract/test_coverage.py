"""Test that what a stream does not cover is counted, and rejected by the recipe's limit."""

from pathlib import Path

import pytest

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.coverage import coverage, join_spans, picture_spans
from avstore.pipelines.extract.recipe import Recipe, load_recipe, parse_recipe
from avstore.pipelines.extract.records import ExtractionResult
from tests.pipelines.extract.media import ffmpeg, source

STELLA = load_recipe("stella")
INPUTS = (
    *("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=10"),
    *("-f", "lavfi", "-i", "sine=duration=10:sample_rate=48000"),
)
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")
CODECS = {"mp4": H264, "mov": H264, "mkv": H264, "ts": H264, "flv": H264, "webm": VP8}
NO_PICTURE = ("-vf", "select='not(between(t,3,7.4))'", "-fps_mode", "vfr")
NO_SOUND = ("-af", "aselect='not(between(t,3,7))'")


def write(path: Path, *options: str) -> Path:
    ffmpeg(*INPUTS, *options, *CODECS[path.suffix[1:]], path)
    return path


def allowing(fraction: float) -> Recipe:
    settings = STELLA.model_dump()
    settings["quality"] |= {"min_fraction": fraction}
    return parse_recipe(settings)


def measured(result: ExtractionResult) -> list[float | None]:
    quality = result.quality
    values = (quality.video_covered_fraction, quality.audio_covered_fraction)
    return [*values, quality.largest_gap_s]


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize(
    ("options", "covered", "repeated", "lacking"),
    [
        ((), (1.0, 1.0, 0.0), 0, None),
        (NO_PICTURE, (0.56, 1.0, 4.4), 35, "video"),
        (NO_SOUND, (1.0, 0.6, 4.0), 0, "audio"),
        ((*NO_PICTURE, *NO_SOUND), (0.56, 0.6, 4.4), 35, "video"),
        (("-vf", "trim=0:8.5,setpts=PTS+1.5/TB"), (0.85, 1.0, 1.5), 12, "video"),
    ],
    ids=["whole", "no pictures", "no sound", "neither", "late pictures"],
)
def test_a_hole_is_measured_and_rejected(tmp_path, suffix, options, covered, repeated, lacking):
    path = write(tmp_path / f"a.{suffix}", *options)
    result = extract_clip(source(path), STELLA)
    assert measured(result) == pytest.approx(covered, abs=0.1)
    assert result.quality.repeated_frames == repeated
    if lacking is None:
        assert result.verdict is None
        return
    assert result.verdict is Verdict.TRUNCATED
    assert result.detail.startswith(f"{lacking} covers ")
    assert "with nothing from " in result.detail
    assert extract_clip(source(path), allowing(0.5)).verdict is None


def test_a_file_that_ends_early_lasts_shorter(tmp_path):
    path = write(tmp_path / "a.mp4", "-vf", "trim=0:7", "-af", "atrim=0:9.5")
    result = extract_clip(source(path), STELLA)
    assert result.detail.startswith("video lasts 7.00 s of 10 s wanted (minimum 9 s)")
    assert measured(result) == pytest.approx((0.7, 0.95, 3.0), abs=0.05)


def test_pictures_that_stay_are_no_hole(tmp_path):
    """A slide show has few pictures, each of the same length."""
    slides = ("-vf", "select='not(mod(n,50))+eq(n,249)'", "-fps_mode", "vfr")
    result = extract_clip(source(write(tmp_path / "a.mp4", *slides)), STELLA)
    assert (result.verdict, result.quality.video_covered_fraction) == (None, 1.0)
    assert result.quality.repeated_frames >= 74


@pytest.mark.parametrize("recipe", ["stella_published", "uavm_published", "valor_published"])
def test_released_preparations_measure_as_well(tmp_path, recipe):
    path = write(tmp_path / "a.mkv", *NO_PICTURE, *NO_SOUND)
    quality = extract_clip(source(path), load_recipe(recipe)).quality
    assert quality.video_covered_fraction == pytest.approx(0.56, abs=0.01)
    assert quality.audio_covered_fraction == pytest.approx(0.6, abs=0.01)


def test_the_demuxers_errors_count(tmp_path):
    """A damaged cluster loses 0.2 s, which no decoder notices."""
    short = ("-g", "5", "-cluster_time_limit", "400", "-cluster_size_limit", "1000000")
    whole = write(tmp_path / "a.webm", *short)
    data = bytearray(whole.read_bytes())
    at = data.index(b"\x1f\x43\xb6\x75", len(data) // 2)  # a cluster's id
    data[at : at + 40] = bytes(40)
    damaged = tmp_path / "damaged.webm"
    damaged.write_bytes(data)
    result, again = (extract_clip(source(damaged), STELLA) for _ in range(2))
    assert result.verdict is Verdict.UNDECODABLE
    assert "matroska,webm: " in result.detail
    assert again.quality == result.quality, "the same message again is another clip's error"
    assert 0.1 < result.quality.largest_gap_s < 0.5
    before, after = (extract_clip(source(damaged, at, 3.0), STELLA) for at in (0.5, 6.5))
    assert (before.verdict, after.verdict) == (None, None)


def test_spans():
    found = coverage([(2.0, 3.0), (-1.0, 1.0), (2.5, 4.0), (9.0, 12.0)], 10.0)
    assert (found.seconds, found.gap, found.ends_early) == (4.0, (4.0, 9.0), False)
    assert coverage([], 10.0).gap == (0.0, 10.0)
    assert coverage([(0.0, 9.0)], 10.0).ends_early
    assert not coverage([(0.0, 9.0)], 10.0).is_below(0.9)
    assert join_spans([(1.0, 2.0), (0.0, 1.0), (3.0, 4.0)]) == ((0.0, 2.0), (3.0, 4.0))


def test_a_step_is_a_hole_if_it_is_far_longer_than_the_others():
    assert picture_spans([0.0, 0.5, 1.0, 3.0], 3.5) == ((0.0, 3.5),)
    found = picture_spans([0.0, 0.125, 0.25, 2.5, 2.625], 2.75)
    assert found == ((0.0, 0.375), (2.5, 2.75))
    assert picture_spans([0.0], 10.0) == ((0.0, 10.0),)
