"""Test which channels are stored: mono, left and right, first-order ambisonics."""

import io
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.datasets.ambisonics import encode
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.audio import encode_flac
from avstore.pipelines.extract.channels import require_ambisonic
from avstore.pipelines.extract.fbank import log_mel
from avstore.pipelines.extract.recipe import parse_recipe
from avstore.pipelines.extract.records import Rejected
from tests.conftest import REPO
from tests.pipelines.extract.media import ffmpeg
from tests.pipelines.extract.tones import (
    extracted,
    make_sound,
    pitches,
    pitches_of,
    recipe,
    stored,
    tones,
)

FOA = recipe(layout="foa")
STEREO = recipe(layout="stereo")
AMBISONIC = {
    # file: layout of the input, channels, encoder
    "opus_2.mkv": ("ambisonic 1", 4, "-c:a libopus -mapping_family 2 -b:a 512k"),
    "opus_2_head_locked.mkv": ("ambisonic 1+stereo", 6, "-c:a libopus -mapping_family 2 -b:a 768k"),
    "opus_255.mkv": ("4 channels", 4, "-c:a libopus -mapping_family 255 -b:a 512k"),
    "opus_6.mkv": ("6 channels", 6, "-c:a libopus -mapping_family 255 -b:a 768k"),
    "opus_quad.mp4": ("quad", 4, "-c:a libopus -mapping_family 1 -b:a 512k"),
    "pcm.mkv": ("quad", 4, "-c:a pcm_s16le"),
    "pcm_quad.mov": ("quad", 4, "-c:a pcm_s16le"),
    "pcm_24.mov": ("4.0", 4, "-c:a pcm_s24le"),
    "pcm_ambisonic.mov": ("ambisonic 1", 4, "-c:a pcm_s16le"),
    "pcm_6.mov": ("5.1", 6, "-c:a pcm_s16le"),
    "flac_quad.mkv": ("quad", 4, "-c:a flac"),
    "flac_4.0.mkv": ("4.0", 4, "-c:a flac"),
    "flac_6.mkv": ("5.1", 6, "-c:a flac"),
    "alac.mov": ("4.0", 4, "-c:a alac"),
    "vorbis.webm": ("quad", 4, "-c:v libvpx -c:a libvorbis"),
    "vorbis.mkv": ("quad", 4, "-c:a libvorbis"),
}


@pytest.mark.parametrize("name", AMBISONIC)
def test_the_first_four_channels_are_w_y_z_x(tmp_path: Path, name: str) -> None:
    layout, channels, options = AMBISONIC[name]
    path = make_sound(tmp_path / name, layout, tones(channels), *options.split())
    result = extracted(path, FOA)
    waveform = stored(result)
    assert waveform.shape == (4, 32000)
    assert pitches(waveform) == pitches_of((0, 1, 2, 3))
    assert result.media is not None
    assert result.media.audio_channels == channels


@pytest.mark.parametrize(
    ("layout", "channels", "order", "places"),
    [
        ("5.1", 6, None, (2, 1, 4, 0)),
        ("5.0", 5, None, (2, 1, 4, 0)),
        ("7.1", 8, None, (2, 1, 4, 0)),
        ("5.1", 6, (2, 0, 1, 4), (2, 0, 1, 4)),
        ("4.0", 4, (2, 0, 1, 3), (2, 0, 1, 3)),
    ],
)
def test_aac_is_mapped_from_its_loudspeakers(tmp_path, layout, channels, order, places) -> None:
    path = make_sound(tmp_path / "a.mp4", layout, tones(channels), "-c:a", "aac", "-b:a", "768k")
    result = extracted(path, recipe(layout="foa", aac_order=order))
    assert pitches(stored(result)) == pitches_of(places)


REJECTED = {
    "aac of four": ("4.0", 4, "aac", {"layout": "foa"}, "needs aac_order for AAC of four channels"),
    "aac order": (
        *("5.1", 6, "aac", {"layout": "foa", "aac_order": (0, 1, 2, 6)}),
        r"aac_order = \[0, 1, 2, 6\] names channel 6, counted from 0",
    ),
    "foa of two": ("stereo", 2, "flac", {"layout": "foa"}, "layout = 'foa' needs at least four"),
    "foa of five": ("5.0", 5, "flac", {"layout": "foa"}, "needs four or six, or channels named"),
    "stereo of one": ("mono", 1, "flac", {"layout": "stereo"}, "needs two, or upmix = 'copy'"),
    "stereo of unnamed": ("5.1", 6, "pcm_s16le", {"layout": "stereo"}, "channels of loudspeakers"),
    "stereo of ambisonic": (
        *("ambisonic 1", 4, "libopus -mapping_family 2", {"layout": "stereo"}),
        "channels of loudspeakers",
    ),
    "downmix": ("quad", 4, "flac", {"downmix": "FC"}, "downmix = 'FC' needs a channel of that"),
    "downmix of unnamed": ("quad", 4, "pcm_s16le", {"downmix": "FL"}, "needs a channel of that"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_a_file_without_the_channels_is_rejected(tmp_path: Path, name: str) -> None:
    layout, channels, codec, audio, needs = REJECTED[name]
    options = ("-c:a", *codec.split())
    path = make_sound(tmp_path / "a.mkv", layout, tones(channels), *options)
    result = extracted(path, recipe(**audio))
    assert (result.verdict, result.members) == (Verdict.WRONG_CHANNELS, ())
    plural = "s" if channels > 1 else ""
    pattern = rf"^the file has \w+ sound of {channels} channel{plural} \(.+\); .*{needs}"
    assert re.search(pattern, result.detail), result.detail


def test_a_channel_by_its_name(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.mp4", "5.1", tones(6), "-c:a", "aac", "-b:a", "512k")
    for place, name in enumerate(("FL", "FR", "FC", "LFE", "BL", "BR")):
        waveform = stored(extracted(path, recipe(downmix=name)))
        assert pitches(waveform) == pitches_of([place])
    unnamed = make_sound(tmp_path / "b.mkv", "stereo", tones(2), "-c:a", "pcm_s16le")
    assert pitches(stored(extracted(unnamed, recipe(downmix="FR")))) == pitches_of([1])
    mono = make_sound(tmp_path / "c.mkv", "mono", tones(1), "-c:a", "flac")
    centre, mean = (stored(extracted(mono, recipe(downmix=name))) for name in ("FC", "mean"))
    np.testing.assert_array_equal(centre, mean)


def test_left_and_right_are_taken_as_they_are(tmp_path: Path) -> None:
    sound = tones(2)
    path = make_sound(tmp_path / "a.mkv", "stereo", sound, "-c:a", "flac")
    result = extracted(path, recipe(layout="stereo", rate=48000))
    assert np.abs(stored(result) - sound[:, :96000].astype(int)).max() <= 1
    one = make_sound(tmp_path / "b.mkv", "mono", sound[:1], "-c:a", "flac")
    left, right = stored(extracted(one, recipe(layout="stereo", upmix="copy")))
    np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(left, stored(extracted(one, recipe()))[0])


@pytest.mark.parametrize(
    ("layout", "channels"), [("2.1", 3), ("quad", 4), ("4.0", 4), ("5.1", 6), ("7.1", 8)]
)
def test_loudspeakers_are_mixed_as_ffmpeg_does(tmp_path: Path, layout: str, channels: int) -> None:
    path = make_sound(tmp_path / "a.mov", layout, tones(channels), "-c:a", "pcm_s16le")
    ours = stored(extracted(path, recipe(layout="stereo", rate=48000)))
    raw = ffmpeg("-i", path, "-vn", "-t", "2", "-ac", "2", "-f", "s16le", "-")
    theirs = np.frombuffer(raw, np.int16).reshape(-1, 2).T
    assert np.abs(ours - theirs.astype(int)).max() <= 2


def test_fbank_and_signals_are_of_w_or_of_the_mean(tmp_path: Path) -> None:
    sound = tones(4)
    foa = extracted(make_sound(tmp_path / "a.mkv", "quad", sound, "-c:a", "flac"), FOA)
    pair = extracted(make_sound(tmp_path / "b.mkv", "stereo", sound[:2], "-c:a", "flac"), STEREO)
    w = extracted(make_sound(tmp_path / "c.mkv", "mono", sound[:1], "-c:a", "flac"), recipe())
    for result, mono in (
        (foa, stored(foa)[0]),
        (pair, np.rint(stored(pair).mean(axis=0)).astype(np.int16)),
    ):
        bank = np.load(io.BytesIO(dict(result.members)["fbank.npy"]))
        np.testing.assert_array_equal(bank, log_mel(mono, 16000, FOA.fbank).astype(np.float16))
    assert foa.quality.loudness_lufs == w.quality.loudness_lufs
    assert foa.duration_s == pair.duration_s == 2.0


def test_the_documented_recipe_is_one() -> None:
    text = (REPO / "docs/recipes.md").read_text().split("## Spatial sound")[1]
    settings = tomllib.loads(text.split("```toml\n")[1].split("```")[0])
    assert parse_recipe(settings).audio.channels == 4


def noise(channels: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.rint(generator.normal(0, 2000, (channels, 144000))).astype(np.int16)


FAKES = {
    "W alone": (lambda x: x * [[1], [0], [0], [0]], "Y, Z and X are silent: mono"),
    "W alone with rounding": (lambda x: x * [[1], [0.0003], [0], [0]], "Y, Z and X are silent"),
    "all equal": (lambda x: x[[0, 0, 0, 0]], "all channels are equal: mono"),
    "no W": (lambda x: x * [[0], [1], [1], [1]], "W is silent and other channels are not"),
    "Z first": (lambda x: field(x)[[2, 0, 1, 3]], "Y is 16.0 dB louder than W (limit 6 dB)"),
    "W last": (lambda x: field(x)[[1, 2, 3, 0]], "X is 10.0 dB louder than W (limit 6 dB)"),
    "AAC's order": (lambda x: field(x, 1.6)[[3, 1, 0, 2]], "Z is 10.1 dB louder than W"),
}


def field(waves: np.ndarray, turn: float = 0.0) -> np.ndarray:
    """Return W, Y, Z, X of four sources, in front and behind before they are turned."""
    places = ((0.3, 0.1), (2.8, -0.2), (-0.4, 0.2), (-2.9, 0.1))
    parts = (encode(w / 2, a + turn, e) for w, (a, e) in zip(waves, places, strict=True))
    return sum(parts, np.zeros_like(waves))


@pytest.mark.parametrize("name", FAKES)
def test_sound_that_is_not_ambisonic_is_rejected(tmp_path: Path, name: str) -> None:
    change, detail = FAKES[name]
    sound = np.rint(change(noise(4))).astype(np.int16)
    result = extracted(make_sound(tmp_path / "a.mkv", "quad", sound, "-c:a", "flac"), FOA)
    assert (result.verdict, result.members) == (Verdict.WRONG_CHANNELS, ())
    assert f"layout = 'foa': {detail}" in result.detail
    assert "RMS in steps of 16 bits: W " in result.detail


@pytest.mark.parametrize(
    "gains",
    [
        *((1, 0.7, 0, 0.7), (1, 0, 0.01, 0), (1, 1, 0, 0), (0.002, 0, 0, 0)),
        (0.5, 0.5 * 3**0.5, 0, 0),  # N3D
        (0.5**0.5, 0, 0, 1),  # FuMa's W
    ],
)
def test_sound_of_one_direction_and_quiet_clips_pass(tmp_path: Path, gains) -> None:
    sound = np.rint(noise(1) * np.array(gains)[:, None]).astype(np.int16)
    path = make_sound(tmp_path / "a.mkv", "quad", sound, "-c:a", "flac")
    assert len(stored(extracted(path, FOA))) == 4


SOURCES = st.lists(
    st.tuples(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(0.1, 1)), min_size=1, max_size=5
)


@settings(max_examples=50, deadline=None)
@given(sources=SOURCES, first=st.permutations(range(4)))
def test_only_an_order_without_w_first_is_a_wrong_one(sources, first) -> None:
    """Of independent sources; W first is right, and what has an eighth of W's energy is not W."""
    waves = np.random.default_rng(len(sources)).normal(0, 1500, (len(sources), 24000))
    waves = np.linalg.qr(waves.T)[0].T * 1500 * 24000**0.5  # independent to the last digit
    parts = [encode(w * g, a, e) for w, (a, e, g) in zip(waves, sources, strict=True)]
    sound = np.clip(np.rint(sum(parts)), -32768, 32767)
    if np.sort(_levels(sound)[1:])[-1] < 0.01 * _levels(sound)[0]:
        return  # as good as mono
    require_ambisonic(sound.astype(np.int16))
    if _levels(sound)[first[0]] < _levels(sound)[0] / 8**0.5:
        with pytest.raises(Rejected, match="wrong order"):
            require_ambisonic(sound[list(first)].astype(np.int16))


def _levels(sound: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(sound).mean(axis=1))


def test_flac_of_four_channels_is_neither_mixed_nor_permuted(tmp_path: Path) -> None:
    for channels in (1, 2, 4):
        sound = tones(channels, rate=16000)
        flac = encode_flac(sound, 16000)
        assert flac == encode_flac(sound.copy(order="F"), 16000)
        raw = ffmpeg("-i", "-", "-f", "s16le", "-", stdin=flac)
        np.testing.assert_array_equal(np.frombuffer(raw, np.int16).reshape(-1, channels).T, sound)
    assert encode_flac(sound[0], 16000) == encode_flac(sound[:1], 16000)
