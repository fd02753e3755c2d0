"""Test that a flash and a clap at one instant stay together in every container."""

import io

import av
import numpy as np
import pytest
from PIL import Image

from avstore.pipelines.extract.audio import GAP_S
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.recipe import load_recipe, parse_recipe
from tests.conftest import REPO
from tests.pipelines.extract.media import ffmpeg, source

FRAME_S = 0.04
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "50")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")
CONTAINERS = {
    "mp4-aac": ("mp4", (*X264, "-c:a", "aac")),
    "mp4-mp3": ("mp4", (*X264, "-c:a", "libmp3lame")),
    "mp4-opus": ("mp4", (*X264, "-c:a", "libopus")),
    "mp4-fragmented": ("mp4", (*X264, "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov")),
    "mov-pcm": ("mov", (*X264, "-c:a", "pcm_s16le")),
    "mkv-vorbis": ("mkv", (*X264, "-c:a", "libvorbis")),
    "mkv-flac": ("mkv", (*X264, "-c:a", "flac")),
    "mkv-ac3": ("mkv", (*X264, "-c:a", "ac3")),
    "webm-opus": ("webm", (*VP9, "-c:a", "libopus")),
    "ts-aac": ("ts", (*X264, "-c:a", "aac")),
    "flv-aac": ("flv", (*X264, "-c:a", "aac")),
    "avi-mp3": ("avi", ("-c:v", "mpeg4", "-q:v", "5", "-c:a", "libmp3lame")),
    "ogg": ("ogg", ("-c:v", "libtheora", "-q:v", "5", "-c:a", "libvorbis")),
}


def every_frame(duration: float = 10.0):
    settings = load_recipe("stella").model_dump() | {"duration_s": duration}
    settings["frames"] |= {"count": round(duration / FRAME_S), "size": 32}
    settings["quality"] |= {"min_fraction": 0.5}
    return parse_recipe(settings)


def flash_and_clap(path, at: float, seconds: float, arguments, late: float = 0.0):
    """Write a clip that turns white and sounds a tone at `at`; its audio starts at `late`."""
    lit = f"color=black:size=64x64:rate=25:duration={seconds},format=gray"
    white = f"geq=lum='if(gte(T,{at}),235,16)'"
    tone = f"aevalsrc='if(gte(t,{at - late}),0.5*sin(6283*t),0)':s=48000:d={seconds - late}"
    ffmpeg(
        *("-f", "lavfi", "-i", f"{lit},{white},format=yuv420p"),
        *("-itsoffset", str(late), "-f", "lavfi", "-i", tone),
        *(*arguments, path),
    )
    return path


def onsets(extracted) -> tuple[float, float]:
    """Return the seconds of the first bright frame and of the first loud sample."""
    assert extracted.members, extracted.detail
    members = dict(extracted.members)
    jpegs = [data for suffix, data in members.items() if suffix.endswith(".jpg")]
    bright = [np.asarray(Image.open(io.BytesIO(data))).mean() > 128 for data in jpegs]
    with av.open(io.BytesIO(members["flac"])) as container:
        samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    loud = np.flatnonzero(np.abs(samples.astype(int)) > 3000)[0] / 16000
    return extracted.frame_times[bright.index(True)], float(loud)


@pytest.mark.parametrize("name", CONTAINERS)
def test_together_in_every_container(tmp_path, name):
    suffix, arguments = CONTAINERS[name]
    path = flash_and_clap(tmp_path / f"a.{suffix}", 3.0, 10.0, arguments)
    flash, clap = onsets(extract_clip(source(path), every_frame()))
    assert abs(flash - clap) < FRAME_S
    # Fragmented MP4 has no edit list that removes the delay of B-frames: both are 80 ms late.
    assert clap == pytest.approx(3.0, abs=0.1 if "fragmented" in name else FRAME_S)


@pytest.mark.parametrize("name", ["mp4-aac", "webm-opus", "ts-aac", "mkv-vorbis"])
def test_together_when_cut_from_the_middle(tmp_path, name):
    suffix, arguments = CONTAINERS[name]
    path = flash_and_clap(tmp_path / f"a.{suffix}", 14.0, 20.0, arguments)
    flash, clap = onsets(extract_clip(source(path, 7.5, 10.0), every_frame()))
    assert abs(flash - clap) < FRAME_S
    assert clap == pytest.approx(6.5, abs=FRAME_S)


@pytest.mark.parametrize("name", ["mp4-aac", "mkv-flac", "webm-opus", "ts-aac"])
def test_audio_that_starts_later_is_padded(tmp_path, name):
    suffix, arguments = CONTAINERS[name]
    path = flash_and_clap(tmp_path / f"a.{suffix}", 3.0, 10.0, arguments, late=0.7)
    result = extract_clip(source(path), every_frame())
    flash, clap = onsets(result)
    assert abs(flash - clap) < FRAME_S
    assert result.media.av_offset_ms == pytest.approx(700, abs=30)


def test_edit_list_of_a_copied_cut(tmp_path):
    """`-c copy -ss` keeps packets before the cut in the file, hidden by an edit list."""
    whole = flash_and_clap(tmp_path / "whole.mp4", 6.0, 16.0, CONTAINERS["mp4-aac"][1])
    cut = tmp_path / "cut.mp4"
    ffmpeg("-ss", "3.3", "-i", whole, "-c", "copy", "-t", "11", cut)
    flash, clap = onsets(extract_clip(source(cut), every_frame()))
    assert abs(flash - clap) < FRAME_S
    assert clap == pytest.approx(2.7, abs=2 * FRAME_S)


def test_audio_is_cut_to_the_sample(tmp_path):
    """A lossless click at a known sample is extracted at that sample of the clip."""
    path = tmp_path / "click.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "color=gray:size=64x64:rate=25:duration=12"),
        *("-f", "lavfi", "-i", "aevalsrc='if(eq(n,88000),0.9,0)':s=16000:d=12"),
        *(*X264, "-c:a", "flac", path),
    )
    for offset, expected in ((0.0, 88000), (1.25, 68000), (2.0, 56000)):
        result = extract_clip(source(path, offset, 9.0), every_frame(9.0))
        with av.open(io.BytesIO(dict(result.members)["flac"])) as container:
            samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
        assert len(samples) == 9 * 16000
        assert int(np.argmax(np.abs(samples.astype(int)))) == expected


@pytest.mark.parametrize("margin", [-0.01, 0.01])
def test_a_gap_is_filled_from_the_length_that_the_page_names(tmp_path, margin):
    """Sound after a shorter gap follows at once: there, only the timestamps jump."""
    assert f"a gap of more than {GAP_S * 1000:.0f} ms" in (REPO / "docs/extraction.md").read_text()
    path, gap = tmp_path / "gap.mkv", GAP_S + margin
    ffmpeg(
        *("-f", "lavfi", "-i", "color=gray:size=64x64:rate=25:duration=10"),
        *("-f", "lavfi", "-i", "aevalsrc='if(eq(n,80000),0.9,0)':s=16000:d=9"),
        *("-af", f"asetpts='PTS+if(gte(T,3),{gap}/TB,0)'", *X264, "-c:a", "pcm_s16le", path),
    )
    result = extract_clip(source(path, 0.0, 9.0), every_frame(9.0))
    with av.open(io.BytesIO(dict(result.members)["flac"])) as container:
        samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    expected = 80000 + (round(gap * 16000) if margin > 0 else 0)
    assert abs(int(np.argmax(np.abs(samples.astype(int)))) - expected) <= 16  # Matroska's 1 ms


def test_variable_frame_rate_is_sampled_by_time(tmp_path):
    """Frames are dense in the first second and sparse after it, and are selected by time."""
    path = tmp_path / "vfr.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=50:duration=10"),
        *("-f", "lavfi", "-i", "sine=duration=10"),
        *("-vf", "select='lt(t,1)+not(mod(n,40))'", "-fps_mode", "vfr", *X264, "-c:a", "aac"),
        path,
    )
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [float(f.pts * stream.time_base) for f in container.decode(stream)]
    result = extract_clip(source(path), load_recipe("stella"))
    assert len(result.frame_times) == 80
    for i, at in enumerate(result.frame_times):
        assert at == pytest.approx(max(t for t in times if t <= i * 0.125 + 1e-9))


def test_late_audio_of_a_real_clip_is_where_ffmpeg_puts_it(shared_data):
    """Its audio starts 32 ms in: the reference is FFmpeg with padding to the clock."""
    path = shared_data / "media" / "VGGSounder__nLKEdmVu3FY_000040.mp4"
    result = extract_clip(source(path), load_recipe("stella"))
    assert result.media.av_offset_ms == pytest.approx(32.2, abs=0.1)
    with av.open(io.BytesIO(dict(result.members)["flac"])) as container:
        ours = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    raw = ffmpeg("-i", path, "-t", "10", "-af", "aresample=async=1:first_pts=0", "-ac", "1",
                 "-ar", "16000", "-f", "s16le", "-")  # fmt: skip
    theirs = np.frombuffer(raw, np.int16)
    part = slice(40_000, 80_000)
    shifts = range(-40, 41)
    scores = [np.corrcoef(ours[part], np.roll(theirs, s)[part])[0, 1] for s in shifts]
    best = int(np.argmax(scores))
    assert abs(shifts[best]) <= 16  # one millisecond
    assert scores[best] > 0.99
