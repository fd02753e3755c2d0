"""Test extract_clip on whole clips against independent computations."""

import csv
import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.fbank import log_mel
from avstore.pipelines.extract.recipe import load_recipe
from tests.pipelines.extract.media import ffmpeg, make_clip, source

STELLA = load_recipe("stella")


def jpegs(extracted) -> list[np.ndarray]:
    frames = [data for suffix, data in extracted.members if suffix.endswith(".jpg")]
    return [np.asarray(Image.open(io.BytesIO(data))) for data in frames]


def fbank_of(extracted) -> np.ndarray:
    return np.load(io.BytesIO(dict(extracted.members)["fbank.npy"]))


def vggsound(shared_data: Path) -> list[Path]:
    with (shared_data / "media" / "vggsound_clips.csv").open() as file:
        return [shared_data / "media" / row["file"] for row in csv.DictReader(file)]


def ffmpeg_frames(path: Path, times: list[float], crop: str) -> np.ndarray:
    """Decode the whole clip by FFmpeg and select frames by time: (N, 256, 256, 3)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        pts = [float(f.pts * stream.time_base) for f in container.decode(stream)]
    picked = [max(int(np.searchsorted(pts, t + 1e-9)) - 1, 0) for t in times]
    raw = ffmpeg("-i", path, "-an", "-vf", crop, "-fps_mode", "passthrough",
                 "-f", "rawvideo", "-pix_fmt", "rgb24", "-")  # fmt: skip
    return np.frombuffer(raw, np.uint8).reshape(-1, 256, 256, 3)[picked]


def test_members_of_real_clips_against_ffmpeg_and_torchaudio(shared_data):
    import torch
    import torchaudio

    paths = vggsound(shared_data)[:4]
    assert len(paths) == 4
    for path in paths:
        result = extract_clip(source(path), STELLA)
        assert result.verdict is None, result.detail
        suffixes = [suffix for suffix, _ in result.members]
        assert suffixes == ["fbank.npy", "flac", *(f"f{i:03d}.jpg" for i in range(80))]
        frames = np.stack(jpegs(result)).astype(float)
        crop = "scale=256:256:force_original_aspect_ratio=increase:flags=bilinear,crop=256:256"
        theirs = ffmpeg_frames(path, [i * 0.125 for i in range(80)], crop).astype(float)
        psnr = 10 * np.log10(255**2 / np.square(frames - theirs).mean(axis=(1, 2, 3)))
        assert np.median(psnr) > 30, (path.name, psnr)
        raw = ffmpeg("-i", path, "-t", "10", "-ac", "1", "-ar", "16000", "-f", "s16le", "-")
        wave = torch.from_numpy(np.frombuffer(raw, np.int16).astype(np.float32) / 32768)[None]
        reference = torchaudio.compliance.kaldi.fbank(
            wave - wave.mean(), htk_compat=True, sample_frequency=16000, use_energy=False,
            window_type="hanning", num_mel_bins=128, dither=0.0, frame_shift=10,
        ).numpy()  # fmt: skip
        fbank = fbank_of(result)
        assert fbank.shape == (998, 128)
        assert fbank.dtype == np.float16
        rows = min(len(fbank), len(reference))
        assert np.abs(fbank[:rows] - reference[:rows]).mean() < 0.02, path.name


def test_flac_is_the_waveform_of_the_fbank(tmp_path):
    result = extract_clip(source(make_clip(tmp_path / "a.mp4")), STELLA)
    with av.open(io.BytesIO(dict(result.members)["flac"])) as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.channels, stream.format.name) == (16000, 1, "s16")
        samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(stream)])
    assert len(samples) == 160000
    again = log_mel(samples, 16000, STELLA.fbank).astype(np.float16)
    assert np.array_equal(again, fbank_of(result))


def test_two_runs_give_the_same_bytes(tmp_path):
    path = make_clip(tmp_path / "a.mp4")
    assert extract_clip(source(path), STELLA) == extract_clip(source(path), STELLA)


def test_a_clip_within_a_long_file_is_cut_at_its_own_seconds(tmp_path):
    path = make_clip(tmp_path / "long.mp4", seconds=25)
    whole = extract_clip(source(path, 0.0, 25.0), STELLA)
    part = extract_clip(source(path, 7.0, 10.0), STELLA)
    assert part.verdict is None, part.detail
    assert part.frame_times[0] == pytest.approx(0.0, abs=1e-6)
    assert part.duration_s == 10.0
    from_whole = fbank_of(whole)[700:1698].astype(np.float32)
    assert np.median(np.abs(fbank_of(part) - from_whole)) < 0.02


@pytest.mark.parametrize(
    ("options", "verdict", "detail"),
    [
        ({"audio": ("-an",)}, Verdict.NO_AUDIO, "no audio stream"),
        ({"video": ("-vn",)}, Verdict.NO_VIDEO, "no video stream"),
        ({"seconds": 3.2}, Verdict.TOO_SHORT, "3.20 s of 10 s wanted"),
    ],
)
def test_unusable_clips_get_a_verdict(tmp_path, options, verdict, detail):
    result = extract_clip(source(make_clip(tmp_path / "a.mp4", **options)), STELLA)
    assert result.verdict is verdict
    assert detail in result.detail
    assert result.members == ()


@pytest.mark.parametrize("begins", [6.0, 10.0, 252.0])
def test_a_clip_that_goes_beyond_its_files_end_is_too_short(tmp_path, begins):
    result = extract_clip(source(make_clip(tmp_path / "a.mp4"), begins, 10.0), STELLA)
    assert result.verdict is Verdict.TOO_SHORT, result.detail


def test_a_web_page_and_a_truncated_file_get_a_verdict(tmp_path):
    page = tmp_path / "page.mp4"
    page.write_text("<!DOCTYPE html><html><body>Sign in to confirm</body></html>")
    assert extract_clip(source(page), STELLA).verdict is Verdict.UNDECODABLE
    whole = make_clip(tmp_path / "a.mp4", extra=("-movflags", "faststart")).read_bytes()
    for name, size in (("early", len(whole) // 3), ("late", len(whole) * 6 // 10)):
        cut = tmp_path / f"{name}.mp4"
        cut.write_bytes(whole[:size])
        result = extract_clip(source(cut), STELLA)
        assert result.verdict is Verdict.TRUNCATED, result.detail
    no_index = make_clip(tmp_path / "b.mp4").read_bytes()
    cut = tmp_path / "noindex.mp4"
    cut.write_bytes(no_index[: len(no_index) // 2])
    result = extract_clip(source(cut), STELLA)
    assert result.verdict is Verdict.TRUNCATED
    assert "'mdat'" in result.detail


def test_a_missing_file_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        extract_clip(source(tmp_path / "missing.mp4"), STELLA)


def test_audio_that_ends_early_in_a_long_file_is_truncated(tmp_path):
    path = tmp_path / "long.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=90", "-f", "lavfi", "-i",
           "sine=duration=14", "-c:v", "libx264", "-preset", "ultrafast", path)  # fmt: skip
    assert extract_clip(source(path, 2.0), STELLA).verdict is None
    result = extract_clip(source(path, 8.0), STELLA)
    assert result.verdict is Verdict.TRUNCATED
    assert result.detail.startswith(("audio lasts 5.9", "audio lasts 6.0"))
