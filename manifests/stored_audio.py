"""Decode the stored sound of a clip, with the channels that its reader expects."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.guarded_media import open_stored_audio


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
    with open_stored_audio(content) as (container, stream):
        parts = [_samples(frame, channels) for frame in container.decode(stream)]
        rate = int(stream.rate)
    return np.concatenate(parts, axis=1) if parts else np.zeros((channels, 0), np.int16), rate


def _samples(frame: Any, channels: int) -> NDArray[Any]:
    """Return a frame's samples, (channels, samples)."""
    stored = frame.layout.nb_channels
    if stored != channels:
        plural = "s" if stored != 1 else ""
        raise ValueError(
            f"it has {stored} channel{plural}, and channels={channels} was asked for; "
            f"read it with channels={stored}"
        )
    values: NDArray[Any] = frame.to_ndarray()
    return values if frame.format.is_planar else values.reshape(-1, stored).T
