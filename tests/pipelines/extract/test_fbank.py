"""Test the fbank against torchaudio's."""

import av
import numpy as np
import pytest

from avstore.pipelines.extract.fbank import log_mel
from avstore.pipelines.extract.recipe_sections import FbankSettings


def torchaudio_bank(samples: np.ndarray, rate: int, fbank: FbankSettings) -> np.ndarray:
    return log_mel(samples, rate, fbank.model_copy(update={"engine": "torchaudio"}))


def torchaudio_in_double(samples: np.ndarray) -> np.ndarray:
    import torch
    import torchaudio

    wave = torch.from_numpy(samples.astype(np.float64) / 32768)[None]
    return torchaudio.compliance.kaldi.fbank(
        wave - wave.mean(), htk_compat=True, sample_frequency=16000, use_energy=False,
        window_type="hanning", num_mel_bins=128, dither=0.0, frame_shift=10,
    ).numpy()  # fmt: skip


def real_samples(path) -> np.ndarray:
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=16000)
        frames = [r for f in container.decode(audio=0) for r in resampler.resample(f)]
    return np.concatenate([f.to_ndarray()[0] for f in frames])


def test_real_audio_is_within_a_thousandth_of_torchaudio(shared_data):
    paths = sorted((shared_data / "media").glob("SpecVQGAN__*.mp4"))
    assert paths
    for path in paths:
        samples = real_samples(path)
        ours, theirs = (f(samples, 16000, FbankSettings()) for f in (log_mel, torchaudio_bank))
        assert ours.shape == theirs.shape
        assert np.abs(ours - torchaudio_in_double(samples)).max() < 1e-3, path.name
        # In single precision torchaudio's own rounding shows in bands 100 dB below the loudest.
        difference = np.abs(ours - theirs)
        assert np.mean(difference > 1e-3) < 1e-3, path.name
        assert difference.max() < 5e-3, path.name


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
@pytest.mark.parametrize("mels", [40, 64, 128])
def test_other_settings_agree_too(rate, mels):
    noise = np.random.default_rng(0).integers(-9000, 9000, rate * 2).astype(np.int16)
    fbank = FbankSettings(mels=mels)
    theirs = torchaudio_bank(noise, rate, fbank)
    assert np.abs(log_mel(noise, rate, fbank) - theirs).max() < 1e-3


@pytest.mark.parametrize(
    ("rate", "settings"),
    [
        (16000, {"mels": 64, "low_hz": 125.0, "high_hz": 7500.0, "log_offset": 0.01}),
        (48000, {"mels": 64, "low_hz": 0.0, "high_hz": 12000.0}),
        (16000, {"log_offset": 1.0}),
    ],
)
def test_bands_and_offset_agree_too(rate, settings):
    noise = np.random.default_rng(0).integers(-9000, 9000, rate * 2).astype(np.int16)
    fbank = FbankSettings(**settings)
    ours = log_mel(noise, rate, fbank)
    assert np.abs(ours - torchaudio_bank(noise, rate, fbank)).max() < 1e-3
    assert np.abs(ours - log_mel(noise, rate, FbankSettings(mels=fbank.mels))).max() > 0.1


def test_a_tone_is_in_the_band_around_it():
    times = np.arange(32000) / 16000
    tone = (20000 * np.sin(2 * np.pi * 1000 * times)).astype(np.int16)
    fbank = FbankSettings(mels=32, low_hz=500.0, high_hz=2000.0)
    edges = 1127 * np.log(1 + np.array([500.0, 2000.0, 1000.0]) / 700)
    low, high, mel = edges
    expected = (mel - low) / ((high - low) / 33) - 1
    assert abs(log_mel(tone, 16000, fbank).mean(0).argmax() - expected) <= 1


def test_an_offset_is_the_least_logarithm():
    silence = log_mel(np.zeros(16000, np.int16), 16000, FbankSettings(log_offset=0.01))
    assert np.allclose(silence, np.log(0.01))


def test_silence_and_very_short_waveforms():
    silence = log_mel(np.zeros(160000, np.int16), 16000, FbankSettings())
    assert silence.shape == (998, 128)
    assert np.all(silence == np.float32(np.log(np.finfo(np.float32).eps)))
    assert log_mel(np.zeros(399, np.int16), 16000, FbankSettings()).shape == (0, 128)
    assert log_mel(np.zeros(400, np.int16), 16000, FbankSettings()).shape == (1, 128)
