"""FLAC without a demuxer gives what the demuxer gives, whatever the member is."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.manifests import stored_audio
from avstore.manifests.guarded_media import UnreadableAudioError, open_stored_audio
from avstore.manifests.stored_audio import decode_stored_audio


def flac(channels: int, kind: str, samples: int = 9000) -> bytes:
    chance = np.random.default_rng(samples)
    values = chance.integers(-3000, 3000, (1, samples * channels)).astype(kind)
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as container:
        layout = {1: "mono", 2: "stereo", 4: "4.0"}[channels]
        stream = container.add_stream("flac", rate=16000, layout=layout)
        stream.format = {"i2": "s16", "i4": "s32"}[kind]
        frame = av.AudioFrame.from_ndarray(values, stream.format.name, layout)
        frame.sample_rate, frame.time_base = 16000, Fraction(1, 16000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def demuxed(content: bytes, channels: int) -> np.ndarray | str:
    try:
        with open_stored_audio(content) as (container, stream):
            parts = [frame.to_ndarray() for frame in container.decode(stream)]
            return np.concatenate(parts, axis=1).reshape(-1, channels).T
    except (UnreadableAudioError, ValueError) as error:
        return type(error).__name__


def decoded(content: bytes, channels: int) -> np.ndarray | str:
    try:
        return decode_stored_audio(content, channels)[0]
    except (UnreadableAudioError, ValueError) as error:
        return type(error).__name__


def same(content: bytes, channels: int) -> bool:
    one, other = decoded(content, channels), demuxed(content, channels)
    return one == other if isinstance(one, str) else np.array_equal(one, other)


@pytest.mark.parametrize("kind", ["i2", "i4"])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_no_demuxer_is_needed_for_a_sound_member(monkeypatch, channels, kind):
    content = flac(channels, kind)
    expected = demuxed(content, channels)
    monkeypatch.setattr(stored_audio, "open_stored_audio", None)
    values, rate = decode_stored_audio(content, channels)
    assert values.shape == (channels, 9000)
    assert rate == 16000
    assert np.array_equal(values, expected)
    assert values.dtype == expected.dtype


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_changes_nothing_between_the_two(data):
    content = bytearray(flac(1, "i2", 3000))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    end = data.draw(st.integers(0, len(content)))
    assert same(bytes(content), 1)
    assert same(bytes(content[:end]), 1)


def test_a_tag_after_the_last_frame_is_no_damage():
    assert same(flac(1, "i2") + b"TAG" + bytes(125), 1)
