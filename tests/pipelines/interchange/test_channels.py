"""Sound of several channels on its way out and in: kept, or refused; never mixed by the way."""

import numpy as np
import pytest

from avstore.manifests.store import StoreError
from avstore.manifests.stored_audio import decode_stored_audio
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.audio import encode_flac
from avstore.pipelines.extract.sandbox import Sandbox
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.interchange.convert import convert
from avstore.pipelines.interchange.foreign_media import ForeignItem
from avstore.pipelines.interchange.layouts import transcode
from tests.pipelines.extract.media import ffmpeg
from tests.pipelines.extract.tones import pitches, pitches_of, tones

RATE = 16000


def flac_of(channels: int) -> bytes:
    return encode_flac(tones(channels, RATE, 1.0), RATE)


def clip_of(content: bytes) -> StoredClip:
    return StoredClip("toy/a", ranges={"flac": None}, _seen={"flac": content})


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("extension", ["flac", "wav"])
def test_export_keeps_the_channels(channels: int, extension: str) -> None:
    written = transcode(flac_of(channels), extension)
    samples, rate = decode_stored_audio(written, channels)
    assert rate == RATE
    np.testing.assert_array_equal(samples, tones(channels, RATE, 1.0))
    raw = ffmpeg("-i", "-", "-f", "s16le", "-", stdin=written)
    np.testing.assert_array_equal(np.frombuffer(raw, np.int16).reshape(-1, channels).T, samples)


def test_unnamed_channels_stay_in_order() -> None:
    sound = tones(4, RATE, 1.0)
    wav = ffmpeg(
        *("-f", "s16le", "-ar", str(RATE), "-ch_layout", "ambisonic 1", "-i", "-"),
        *("-c:a", "pcm_s16le", "-f", "wav", "-"),
        stdin=np.ascontiguousarray(sound.T).tobytes(),
    )
    np.testing.assert_array_equal(decode_stored_audio(transcode(wav, "wav"), 4)[0], sound)


def test_mp3_holds_two_channels() -> None:
    raw = ffmpeg("-i", "-", "-f", "s16le", "-", stdin=transcode(flac_of(2), "mp3"))
    assert pitches(np.frombuffer(raw, np.int16).reshape(-1, 2).T) == pitches_of((0, 1))
    with pytest.raises(ValueError, match="it has 4 channels, and MP3 holds two: choose wav or"):
        transcode(flac_of(4), "mp3")


def test_a_stored_clip_gives_the_channels_that_are_asked_for() -> None:
    sound = tones(4, RATE, 1.0)
    clip = clip_of(flac_of(4))
    np.testing.assert_array_equal(clip.waveform(channels=4), sound.astype(np.float32) / 32768)
    faster = clip.waveform(48000, channels=4)
    assert faster.shape == (4, 48000)
    alone = clip_of(encode_flac(sound[2], RATE)).waveform(48000)
    np.testing.assert_allclose(faster[2], alone, atol=1e-6)
    with pytest.raises(StoreError, match="toy/a cannot be decoded: it has 4 channels, and chan"):
        clip.waveform(48000)
    with pytest.raises(StoreError, match="it has 1 channel, and channels=4 was asked for"):
        clip_of(flac_of(1)).waveform(channels=4)


def test_import_mixes_two_channels_and_refuses_more() -> None:
    with Sandbox() as sandbox:
        for channels in (1, 2):
            item = ForeignItem("a", [b"\xff\xd8\xff"], flac_of(channels))
            result = convert(item, "toy/a", 10.0, sandbox)
            samples, _ = decode_stored_audio(dict(result.members)["flac"])
            assert samples.shape == (1, RATE)
        result = convert(ForeignItem("a", [b"\xff\xd8\xff"], flac_of(4)), "toy/a", 10.0, sandbox)
    assert (result.verdict, result.members) == (Verdict.WRONG_CHANNELS, ())
    assert result.detail == "the audio has 4 channels; 1 or 2 can be imported"


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("rate", [16000, 24000, 48000])
def test_clips_of_a_stores_own_shard_keep_rate_and_channels(channels: int, rate: int) -> None:
    flac = encode_flac(tones(channels, rate, 1.0), rate)
    own = {"recipe": "mine", "fingerprint": "ab" * 32}
    with Sandbox() as sandbox:
        item = ForeignItem("a", [b"\xff\xd8\xff"], flac, metadata=own)
        result = convert(item, "toy/a", 1.0, sandbox)
        loudness = convert(ForeignItem("a", [b"\xff\xd8\xff"], flac_of(1)), "toy/a", 1.0, sandbox)
        longer = convert(item, "toy/a", 0.5, sandbox)
    assert dict(result.members)["flac"] == flac
    if channels != 2:  # of the mean of two tones
        assert result.quality.loudness_lufs == pytest.approx(
            loudness.quality.loudness_lufs, abs=0.1
        )
    if channels == 1:
        assert decode_stored_audio(dict(longer.members)["flac"])[0].shape == (1, rate // 2)
    else:
        assert longer.verdict is Verdict.WRONG_CHANNELS
        assert longer.detail == f"sound of {channels} channels is longer than its 0.5 s"
