"""Test measured signals against known values."""

import numpy as np
import pytest

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.quality import (
    black_fraction,
    integrated_loudness,
    silent_fraction,
    still_fraction,
)
from avstore.pipelines.extract.recipe import load_recipe, parse_recipe
from tests.pipelines.extract.media import ffmpeg, make_clip, source

STELLA = load_recipe("stella")


def tone(level: float, seconds: float, rate: int = 16000, hertz: float = 997.0) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    return np.rint(level * 32767 * np.sin(2 * np.pi * hertz * time)).astype(np.int16)


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_a_full_scale_tone_reads_what_the_standard_says(rate):
    """BS.1770-4: 0 dBFS at 997 Hz in one channel is -3.01 LKFS."""
    assert integrated_loudness(tone(1.0, 5, rate), rate) == pytest.approx(-3.01, abs=0.1)
    assert integrated_loudness(tone(0.1, 5, rate), rate) == pytest.approx(-23.01, abs=0.1)


def test_gates_leave_out_silence_and_what_is_far_below():
    quiet = np.concatenate([tone(0.1, 5), np.zeros(160000, np.int16)])
    assert integrated_loudness(quiet, 16000) == pytest.approx(-23.0, abs=0.3)
    assert integrated_loudness(np.zeros(160000, np.int16), 16000) is None


def test_loudness_is_ffmpegs(shared_data):
    path = next((shared_data / "media").glob("SpecVQGAN__1aDny*"))
    raw = ffmpeg("-i", path, "-ac", "1", "-ar", "16000", "-f", "s16le", "-t", "10", "-")
    ours = integrated_loudness(np.frombuffer(raw, np.int16), 16000)
    import re
    import subprocess

    import imageio_ffmpeg

    output = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-f", "s16le", "-ar", "16000", "-ac", "1", "-i", "-",
         "-af", "ebur128", "-f", "null", "-"], input=raw, capture_output=True, check=True,
    ).stderr.decode()  # fmt: skip
    theirs = float(re.findall(r"I:\s+(-?[\d.]+) LUFS", output)[-1])
    assert ours == pytest.approx(theirs, abs=0.2)


def test_fractions():
    half = np.concatenate([tone(0.5, 5), np.zeros(80000, np.int16)])
    assert silent_fraction(half, 16000, -60) == pytest.approx(0.5, abs=0.02)
    gray, noise = np.full((8, 8), 90, np.uint8), np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert still_fraction([gray, gray, noise], 0.5) == 0.5
    assert still_fraction([gray], 0.5) is None
    assert black_fraction([gray, noise // 4], 32) == 0.5


@pytest.mark.parametrize(
    ("picture", "sound", "verdict"),
    [
        ("color=gray:size=64x64:rate=25:duration=10", "sine=duration=10", Verdict.STILL),
        ("color=black:size=64x64:rate=25:duration=10", "sine=duration=10", Verdict.BLACK),
        ("testsrc2=size=64x64:rate=25:duration=10", "anullsrc=d=10", Verdict.SILENT),
    ],
)
def test_flagged_clips_are_kept_unless_the_recipe_rejects_them(tmp_path, picture, sound, verdict):
    path = tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-shortest", path)
    result = extract_clip(source(path), STELLA)
    assert result.verdict is verdict
    threshold = 95 if verdict == "still" else 99
    assert f"100 % of the time (threshold {threshold} %)" in result.detail
    assert len(result.members) == 82
    settings = STELLA.model_dump()
    settings["quality"] |= {"reject": [verdict.value]}
    refused = extract_clip(source(path), parse_recipe(settings))
    assert (refused.verdict, refused.members) == (verdict, ())


def test_clipping_is_counted_on_the_native_samples(tmp_path):
    loud = "volume=20dB"
    result = extract_clip(source(make_clip(tmp_path / "a.mkv", audio=("-c:a", "flac"),
                                         extra=("-af", loud))), STELLA)  # fmt: skip
    assert 0.5 < result.quality.clipped_fraction < 1


def test_facts_of_the_file(tmp_path):
    result = extract_clip(source(make_clip(tmp_path / "a.mp4")), STELLA)
    media = result.media
    assert (media.video_codec, media.width, media.height, media.fps) == ("h264", 320, 240, 25.0)
    assert (media.audio_codec, media.audio_rate, media.audio_channels) == ("aac", 44100, 1)
    assert media.av_offset_ms == pytest.approx(0, abs=25)
    assert media.rotation == 0
