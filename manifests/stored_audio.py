"""Decode the stored sound of a clip, with the channels that its reader expects."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.guarded_media import (
    UnreadableAudioError,
    decode_flac,
    open_stored_audio,
)

# FFmpeg's packed formats of integers.
_PACKED = {"s16": np.int16, "s32": np.int32}


def decode_stored_audio(content: bytes | memoryview, channels: int = 1) -> tuple[NDArray[Any], int]:
    """Decode a FLAC or WAV member; mix nothing.

    Args:
        content: The member.
        channels: The number of channels that it must have.

    Returns:
        The samples as stored, (channels, samples), integers or floats, and the rate in Hz.

    Raises:
        UnreadableAudioError: It cannot be decoded.
        ValueError: It has another number of channels.
    """
    frames, rate = _decode_flac(content)
    if not frames:
        with open_stored_audio(content) as (container, stream):
            frames, rate = list(container.decode(stream)), int(stream.rate)
    parts = [_samples(frame, channels) for frame in frames]
    return np.concatenate(parts, axis=1) if parts else np.zeros((channels, 0), np.int16), rate


def _decode_flac(content: bytes | memoryview) -> tuple[list[Any], int]:
    """Decode FLAC by its decoder alone; no frames where that fails, as for other formats.

    A demuxer then decides: it accepts more, such as tags after the last frame.
    """
    view = memoryview(content)
    # The first block is STREAMINFO, of 34 bytes.
    if len(view) < 42 or bytes(view[:4]) != b"fLaC" or view[4] & 0x7F:
        return [], 0
    at, last, stream_info = 4, False, bytes(view[8:42])
    while not last and at + 4 <= len(view):
        last = bool(view[at] & 0x80)
        at += 4 + int.from_bytes(view[at + 1 : at + 4], "big")
    try:
        frames = decode_flac(stream_info, view[at:])
    except UnreadableAudioError:
        return [], 0
    counted = int.from_bytes(stream_info[13:18], "big") & 0xF_FFFF_FFFF
    if not frames or sum(frame.samples for frame in frames) != counted:
        return [], 0
    return frames, int(frames[0].sample_rate)


def _samples(frame: Any, channels: int) -> NDArray[Any]:
    """Return a frame's samples, (channels, samples)."""
    stored = frame.layout.nb_channels
    if stored != channels:
        plural = "s" if stored != 1 else ""
        raise ValueError(
            f"it has {stored} channel{plural}, and channels={channels} was asked for; "
            f"read it with channels={stored}"
        )
    if frame.format.is_planar or frame.format.name not in _PACKED:
        values: NDArray[Any] = frame.to_ndarray()
    else:  # a view takes a third of the time of to_ndarray
        count = frame.samples * stored
        values = np.frombuffer(frame.planes[0], _PACKED[frame.format.name], count)
    return values if frame.format.is_planar else values.reshape(-1, stored).T
