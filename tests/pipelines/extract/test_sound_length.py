"""Test which sound is stored: the clip's seconds, or all that the file has and nothing else."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
import soxr

from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.recipe import Recipe, load_recipe
from avstore.pipelines.extract.records import ExtractionResult
from avstore.pipelines.features.extractors.convnext import ConvNextAudio
from avstore.train.data.transforms.fbank import fit
from tests.pipelines.extract.media import ffmpeg, make_clip, source

END_S = 0.1
"""FFmpeg 9 cuts an AAC track where its edit list ends; PyAV's and older ones keep what follows."""


def extracted(path: Path, name: str) -> ExtractionResult:
    result = extract_clip(source(path), load_recipe(name))
    assert result.members, result.detail
    return result


def sound(result: ExtractionResult) -> np.ndarray:
    with av.open(io.BytesIO(dict(result.members)["flac"])) as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.concatenate(frames)


def without_end(ours: np.ndarray, theirs: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what both have, without the last END_S seconds."""
    assert abs(len(ours) - len(theirs)) < END_S * rate
    count = min(len(ours), len(theirs)) - int(END_S * rate)
    return ours[:count].astype(float), theirs[:count].astype(float)


def of_ffmpeg(path: Path, *options: str) -> np.ndarray:
    """Return the sound that the program writes, int16 (samples, channels)."""
    with av.open(str(path)) as container:
        channels = container.streams.audio[0].codec_context.channels
    raw = ffmpeg("-i", path, "-vn", *options, "-f", "s16le", "-")
    return np.frombuffer(raw, np.int16).reshape(-1, channels)


@pytest.mark.parametrize(
    ("file", "samples"),
    [
        ("AVVP-ECCV20__BjCEufrlXm4.mp4", 480_375),
        ("moviepy__chaplin.mp4", 461_479),
        ("VGGSounder__nEmU3E8rras_000012.mp4", 480_601),
        ("cav-mae__KlsG1EnBEjc_000361.mp4", 480_405),
    ],
)
def test_real_clips_keep_the_length_of_the_file(shared_data, file, samples):
    path = shared_data / "media" / file
    result = extracted(path, "valor_published")
    assert len(sound(result)) == samples
    assert result.duration_s == samples / 48000
    assert len(sound(extracted(path, "valor"))) == 480_000
    native = of_ffmpeg(path).astype(np.float32).mean(axis=1) / 32768
    theirs = np.clip(soxr.resample(native, 44100, 48000, quality="HQ") * 32768, -32768, 32767)
    assert np.abs(np.subtract(*without_end(sound(result), theirs, 48000))).max() <= 0.51
    ours = sound(extracted(path, "uavm_published"))
    theirs = of_ffmpeg(path, "-ar", "16000")[:, 0]
    assert np.array_equal(*without_end(ours, theirs, 16000))


@pytest.mark.parametrize("seconds", [3.2, 9.6, 14.0])
def test_no_silence_is_added_and_nothing_is_cut(tmp_path, seconds):
    path = make_clip(tmp_path / "a.mp4", seconds=seconds)
    for name in ("stella_published", "cav_mae_published", "uavm_published", "llp_published"):
        result = extracted(path, name)
        ours = sound(result)
        assert np.array_equal(*without_end(ours, of_ffmpeg(path, "-ar", "16000")[:, 0], 16000))
        assert result.duration_s == len(ours) / 16000
        assert result.fbank_frames == 1 + (len(ours) - 400) // 160


def test_a_short_clip_is_padded_with_raw_zeros_when_it_is_read(tmp_path):
    result = extracted(make_clip(tmp_path / "a.mp4", seconds=6.0), "uavm_published")
    fbank = np.load(io.BytesIO(dict(result.members)["fbank.npy"])).astype(np.float32)
    prepared = ConvNextAudio().prepare(fbank)
    assert len(fbank) < 610 < len(prepared) == 990
    np.testing.assert_allclose(prepared[len(fbank) :], (0 + 5.081) / 4.4849, rtol=1e-6)
    np.testing.assert_array_equal(fit(fbank, 990)[len(fbank) :], 0)


def test_late_sound_follows_at_once_as_in_a_wav_file(tmp_path):
    path = tmp_path / "late.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=10"),
        *("-itsoffset", "1", "-f", "lavfi", "-i", "sine=d=9:r=16000", "-c:a", "flac", path),
    )
    assert len(sound(extracted(path, "uavm_published"))) == 9 * 16000
    assert len(sound(extracted(path, "uavm"))) == 10 * 16000


def test_a_strict_recipe_may_keep_the_files_length_too(tmp_path):
    settings = load_recipe("stella").model_dump() | {"name": "mine"}
    settings["audio"] |= {"length": "file"}
    settings["quality"] |= {"min_fraction": 0.1}
    recipe = Recipe.model_validate(settings)
    path = make_clip(tmp_path / "a.mp4", seconds=6.0)
    result = extract_clip(source(path), recipe)
    assert len(sound(result)) == pytest.approx(6 * 16000, abs=END_S * 16000)
    assert len(result.frame_times) == 80
    assert result.frame_times[-1] == pytest.approx(6.0 - 1 / 25)
    part = extract_clip(source(make_clip(tmp_path / "b.mp4", seconds=25), 7.0, 10.0), recipe)
    assert len(sound(part)) == 160_000
    beyond = extract_clip(source(tmp_path / "b.mp4", 20.0, 10.0), recipe)
    assert len(sound(beyond)) == pytest.approx(5 * 16000, abs=END_S * 16000)
