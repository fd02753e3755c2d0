"""AVSA's log-mel spectra: librosa's numbers, any batch, and the floor of each channel."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.train.data.spatial import log_mel, spectra
from avstore.train.data.transforms.log_mel import BANDS, RATE

# Of librosa 0.10.2 with pad_mode='reflect', in float64, for `second`: dB of bands 0, 7, 40, 90 and
# 127, divided by the released statistics; keys are (channel, frame).
STORED = {
    (0, 0): (0.9413, 0.8367, 0.4366, 0.1525, 0.9695),
    (0, 1): (0.1443, 0.8583, -0.0277, 0.3409, 1.0064),
    (0, 57): (-0.2146, -0.0685, -0.0494, 0.3789, 0.8985),
    (0, 99): (-0.1025, -0.3486, 0.0176, 0.277, 0.8508),
    (1, 1): (0.0531, 0.7393, -0.4439, -0.6457, -0.3097),
    (1, 57): (-2.7399, -2.7933, -2.7708, -2.7405, -2.4262),
    (2, 29): (-2.7399, -2.7933, -2.7708, -2.7405, -2.4262),
    (3, 98): (0.4012, 0.2996, 0.9145, 0.3723, 0.735),
    (3, 99): (-0.3869, -0.3855, 0.7291, -0.4469, -0.1138),
}


def second() -> torch.Tensor:
    """A chirp with noise, a chirp that ends, silence, and a tone at the end; 16 bits."""
    t = np.arange(RATE) / RATE
    chirp = 0.4 * np.sin(2 * np.pi * (200 * t + 4000 * t * t))
    noisy = chirp + 0.003 * np.random.default_rng(0).standard_normal(RATE)
    late = 0.2 * np.sin(2 * np.pi * 1000 * t) * (t > 0.98) + 1e-5 * noisy
    channels = np.stack([noisy, 0.5 * chirp * (t < 0.3), np.zeros(RATE), late])
    return torch.from_numpy(np.rint(channels * 32767) / 32768).float()


def test_the_numbers_of_librosa():
    found = spectra(second(), RATE)
    assert found.shape == (4, 100, BANDS)
    assert found.dtype == torch.float32
    for (channel, frame), expected in STORED.items():
        values = found[channel, frame, [0, 7, 40, 90, 127]]
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-3)  # 0.02 dB


def test_the_floor_is_found_without_the_last_frame():
    """A click in the last 5 ms is in frame 100 alone, which is cut: it must not lift the floor."""
    t = torch.arange(RATE) / RATE
    sound = 1e-4 * torch.sin(2 * torch.pi * 440 * t)
    clicked = sound.clone()
    clicked[-2:] = 1.0
    found = log_mel(torch.stack([sound, clicked]), RATE)
    assert found.amin() > -100.01
    assert found[1, :98].equal(found[0, :98])


def test_each_channel_has_its_own_floor():
    loud, soft = second()[0], 1e-3 * second()[3]
    together = log_mel(torch.stack([loud, soft]), RATE)
    assert together[1].equal(log_mel(soft[None], RATE)[0])
    assert (together.amax((1, 2)) - together.amin((1, 2)) <= 100.001).all()


@settings(max_examples=20, deadline=None)
@given(lead=st.lists(st.integers(1, 3), max_size=3), samples=st.integers(257, 3000), row=st.data())
def test_every_row_of_a_batch_is_as_alone(lead, samples, row):
    sound = torch.from_numpy(np.random.default_rng(samples).uniform(-1, 1, (*lead, samples)))
    found = spectra(sound, RATE)
    assert found.shape == (*lead, samples // 240, BANDS)
    place = tuple(row.draw(st.integers(0, size - 1)) for size in lead)
    torch.testing.assert_close(found[place], spectra(sound[place], RATE), atol=1e-4, rtol=0)


def test_half_precision_around_it_changes_nothing():
    expected = spectra(second(), RATE)
    with torch.autocast("cpu", torch.bfloat16):
        assert spectra(second(), RATE).equal(expected)


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        (RATE, 16_000, r"16000 Hz: .*24000 Hz; set BatchSpec\(sample_rate=24000\)"),
        (RATE, None, "None Hz"),
        (256, RATE, "256 samples are shorter than half a window of 512"),
    ],
)
def test_what_has_no_spectrum_is_one_line(samples, rate, words):
    with pytest.raises(ValueError, match=words):
        spectra(torch.zeros(4, samples), rate)
