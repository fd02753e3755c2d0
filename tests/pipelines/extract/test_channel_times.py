"""Test that each of several channels is cut and resampled as it would be alone."""

from pathlib import Path

import numpy as np
import pytest

from tests.pipelines.extract.media import make_clip
from tests.pipelines.extract.tones import (
    extracted,
    make_sound,
    pitches,
    pitches_of,
    recipe,
    stored,
    tones,
)

GAP = ("-af", "aselect=not(between(t\\,1\\,1.12))")
LATE = ("-af", "asetpts=PTS+0.13/TB")
CASES = {
    "start": (0.0, {}, ()),
    "offset": (0.37, {}, ()),
    "offset by soxr": (0.37, {"resampler": "soxr"}, ()),
    "gap": (0.5, {}, GAP),
    "gap by soxr": (0.5, {"resampler": "soxr"}, GAP),
    "late": (0.0, {}, LATE),
    "file": (0.0, {"length": "file"}, ()),
    "file by soxr": (0.0, {"length": "file", "resampler": "soxr"}, ()),
    "late file": (0.0, {"length": "file"}, LATE),
    "gap in a file": (0.0, {"length": "file"}, GAP),
    "8 kHz": (0.1, {"rate": 8000}, ()),
    "24 kHz": (0.1, {"rate": 24000}, ()),
    "48 kHz": (0.1, {"rate": 48000}, ()),
}


@pytest.mark.parametrize(("layout", "name"), [("foa", "quad"), ("stereo", "stereo")])
@pytest.mark.parametrize("case", CASES)
def test_a_channel_is_as_alone(tmp_path: Path, case: str, layout: str, name: str) -> None:
    offset, audio, filters = CASES[case]
    channels = recipe(layout=layout).audio.channels
    sound = tones(channels, rate=44100)
    options = ("-c:a", "pcm_s16le", *filters)
    together = make_sound(tmp_path / "all.mkv", name, sound, *options, rate=44100)
    result = extracted(together, recipe(layout=layout, **audio), offset)
    waveform = stored(result)
    assert len(waveform) == channels
    rate = audio.get("rate", 16000)
    assert result.duration_s == waveform.shape[1] / rate
    assert pitches(waveform, rate) == pitches_of(range(channels))
    for place, channel in enumerate(waveform):
        one = sound[place : place + 1]
        alone = make_sound(tmp_path / f"{place}.mkv", "mono", one, *options, rate=44100)
        np.testing.assert_array_equal(channel, stored(extracted(alone, recipe(**audio), offset))[0])


def test_gaps_and_missing_ends_are_zeros_in_all_channels(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.mkv", "quad", tones(4), "-c:a", "pcm_s16le", *GAP)
    waveform = stored(extracted(path, recipe(layout="foa")))
    zeros = (waveform[:, 16000:20000] == 0).all(axis=0)
    assert 0.1 * 16000 < zeros.sum() < 0.2 * 16000
    assert pitches(waveform) == pitches_of(range(4))
    late = make_sound(tmp_path / "b.mkv", "quad", tones(4), "-c:a", "pcm_s16le", *LATE)
    waveform = stored(extracted(late, recipe(layout="foa")))
    assert waveform.shape == (4, 32000)
    assert not waveform[:, :1900].any()


def test_eight_channels_of_aac_are_averaged(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.mp4", "7.1", tones(8), "-c:a", "aac", "-b:a", "768k")
    mean = stored(extracted(path, recipe()))[0].astype(float)
    names = ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR")
    apart = [stored(extracted(path, recipe(downmix=name)))[0] for name in names]
    assert np.abs(mean - np.mean(apart, axis=0)).max() <= 1


def test_a_clip_without_sound_has_no_channels_to_reject(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", seconds=3, size="64x64", audio=("-an",))
    result = extracted(path, recipe(layout="foa"))
    assert (result.verdict, result.detail) == ("no_audio", "no audio stream")
