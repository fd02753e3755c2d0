"""Test measured signals against known values."""

import numpy as np
import pytest

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.quality import (
    black_fraction,
    integrated_loudness,
    largest_change,
    loudest_dbfs,
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
    nothing = np.zeros(0, np.int16)
    assert (silent_fraction(nothing, 16000, -60), loudest_dbfs(nothing, 16000)) == (1.0, -120.0)
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
    found = (
        "by more than 0.0 of 255" if verdict == "still" else "100 % of the time (threshold 99 %)"
    )
    assert found in result.detail
    assert len(result.members) == 82
    settings = STELLA.model_dump()
    settings["quality"] |= {"reject": [verdict.value]}
    refused = extract_clip(source(path), parse_recipe(settings))
    assert (refused.verdict, refused.members) == (verdict, ())


def test_what_decides_the_flags():
    assert loudest_dbfs(np.zeros(16000, np.int16), 16000) == -120
    clap = np.concatenate([np.zeros(16000, np.int16), tone(0.5, 0.1), np.zeros(160, np.int16)])
    assert loudest_dbfs(clap, 16000) == pytest.approx(-9.03, abs=0.1)
    gray = np.full((67, 64), 90, np.uint8)
    moved = gray.copy()
    moved[4:8, 8:12] = 120
    assert largest_change([gray, moved, gray]) == 30
    assert largest_change([gray[:3, :2], moved[6:9, 8:10]]) == 30
    assert largest_change([gray, gray]) == 0
    assert largest_change([gray]) is None


TONE = "sine=duration=10"
MOVING = "testsrc2=size=64x64:rate=25:duration=10"
DARK = "color=0x080808:size=256x256:rate=25:duration=10"
PICTURE = "mandelbrot=size=256x256:rate=25,trim=end_frame=1,gblur=2,loop=250:1,trim=duration=10"
FLAGGED = {
    "a clap": (MOVING, "aevalsrc='if(between(t,4.03,4.07),0.3*sin(6000*t),0)':d=10", None),
    "noise of a quiet recorder": (MOVING, "anoisesrc=d=10:a=0.001", "silent"),
    "a picture": (PICTURE, TONE, "still"),
    "slides": (f"{PICTURE},negate=enable='gte(t,5)'", TONE, None),
    "a mouth": (
        f"{PICTURE}[p];color=0x803030:size=20x10:rate=25:duration=10[m];"
        "[p][m]overlay=x=120:y='160+5*sin(9*t)'", TONE, None,
    ),
    "nothing to see": (f"{DARK},noise=alls=8:allf=t", TONE, "black"),
    "lamps": (
        f"{DARK},noise=alls=8:allf=t[d];color=0xffe0a0:size=8x8:rate=25:duration=10[l];"
        "[d][l]overlay=x='50+8*t':y=60", TONE, None,
    ),
}  # fmt: skip
ENCODERS = {
    "usual": ("-c:v", "libx264", "-crf", "28"),
    "half a second of group": ("-c:v", "libx264", "-crf", "28", "-g", "12"),
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", FLAGGED)
def test_flags_are_what_people_mean(tmp_path, name, encoder):
    picture, sound, verdict = FLAGGED[name]
    path = tmp_path / "a.mp4"
    ffmpeg("-filter_complex", f"{picture},format=yuv420p[v];{sound}[a]", "-map", "[v]", "-map",
           "[a]", *ENCODERS[encoder], "-c:a", "aac", path)  # fmt: skip
    result = extract_clip(source(path), STELLA)
    assert result.verdict == (verdict and Verdict(verdict)), (result.detail, result.quality)
    assert result.members


def test_a_recipe_with_thresholds_of_its_own_is_judged_by_them(tmp_path):
    path = tmp_path / "a.mp4"
    picture, sound = FLAGGED["slides"][0], FLAGGED["a clap"][1]
    ffmpeg("-filter_complex", f"{picture},format=yuv420p[v];{sound}[a]", "-map", "[v]", "-map",
           "[a]", "-c:v", "libx264", "-c:a", "aac", path)  # fmt: skip
    settings = STELLA.model_dump()
    for own, verdict in (({"still_fraction": 0.9}, "still"), ({"silent_fraction": 0.98}, "silent")):
        recipe = parse_recipe(settings | {"quality": settings["quality"] | own})
        assert extract_clip(source(path), recipe).verdict == verdict
    assert extract_clip(source(path), STELLA).verdict is None


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
