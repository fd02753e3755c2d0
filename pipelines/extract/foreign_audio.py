"""Decode the audio file of a clip that others extracted."""

from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from avstore.manifests.guarded_media import FOREIGN, open_foreign, require_allowed
from avstore.manifests.npy import load_npy
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.channels import one_channel
from avstore.pipelines.extract.records import Rejected

STORED_CHANNELS, STORED_RATES = (1, 2, 4), range(8000, 48001)
"""Channels, and samples per second, that a store's own FLAC files may have."""


@dataclass(frozen=True)
class ForeignAudio:
    """A decoded audio file.

    Attributes:
        samples: One channel (`one_channel` of several), 16 bits, (samples,).
        rate: Samples per second.
        unchanged: Whether the file is FLAC as a store holds it, to be kept as it is.
        fbank_rows: Rows of the filter bank beside it; None if it is not float16 of two dimensions.
    """

    samples: NDArray[np.int16]
    rate: int
    unchanged: bool
    fbank_rows: int | None = None


def decode_foreign_audio(
    content: bytes, fbank: bytes, rate: int, max_seconds: float, *, keep: bool = False
) -> ForeignAudio:
    """Decode a foreign clip's audio file to mono, and read the shape of its filter bank.

    Two channels are mixed. More may be ambisonic, which must not be.

    Runs in the calling process: call it through `Sandbox.decode_audio`.

    Args:
        content: An audio file.
        fbank: A filter bank as npy; empty if there is none.
        rate: Samples per second of the result.
        max_seconds: Longest result.
        keep: Whether the file is of a store: 16-bit FLAC of 1, 2 or 4 channels then keeps its
            rate and its channels.

    Raises:
        Rejected: The file cannot be decoded, or has more channels than can be imported.
    """
    try:
        samples, rate, is_stored = _decode(content, rate, max_seconds, keep)
    except (av.FFmpegError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        detail = f"audio cannot be decoded: {reason}"
        raise Rejected(Verdict.UNDECODABLE, detail) from error
    most = round(max_seconds * rate)
    unchanged = is_stored and samples.shape[1] <= most
    if len(samples) > 1 and not unchanged:
        detail = f"sound of {len(samples)} channels is longer than its {max_seconds:g} s"
        raise Rejected(Verdict.WRONG_CHANNELS, detail)
    return ForeignAudio(one_channel(samples)[:most], rate, unchanged, _fbank_rows(fbank))


def _decode(
    content: bytes, rate: int, max_seconds: float, keep: bool
) -> tuple[NDArray[np.int16], int, bool]:
    """Return (channels, samples) of a little more than `max_seconds` at most, and their rate.

    Also whether the file has the format of a store's.
    """
    parts: list[NDArray[np.int16]] = []
    count = 0
    with open_foreign(content) as container:
        stream = container.streams.best("audio")
        if stream is None:
            raise ValueError("no audio stream")
        require_allowed(stream, FOREIGN)
        kinds = (container.format.name, stream.codec_context.name, stream.format.name)
        is_flac = kinds == ("flac", "flac", "s16")
        keep &= is_flac and stream.channels in STORED_CHANNELS and stream.rate in STORED_RATES
        channels, layout = (stream.channels, stream.layout.name) if keep else (1, "mono")
        rate = stream.rate if keep else rate
        is_stored = is_flac and (stream.rate, stream.channels) == (rate, channels)
        resampler = av.AudioResampler(format="s16", layout=layout, rate=rate)
        for frame in container.decode(stream):
            _require_channels(frame.layout.nb_channels, (channels,) if keep else (1, 2))
            for part in resampler.resample(frame):
                parts.append(part.to_ndarray().reshape(-1, channels).T)
                count += part.samples
            if count > round(max_seconds * rate):
                break
        else:
            last = resampler.resample(None)
            parts += [part.to_ndarray().reshape(-1, channels).T for part in last]
    if not parts:
        raise ValueError("no samples")
    return np.concatenate(parts, axis=1), rate, is_stored


def _require_channels(channels: int, allowed: tuple[int, ...]) -> None:
    if channels not in allowed:
        numbers = " or ".join(map(str, allowed))
        detail = f"the audio has {channels} channels; {numbers} can be imported"
        raise Rejected(Verdict.WRONG_CHANNELS, detail)


def _fbank_rows(content: bytes) -> int | None:
    """Return the rows of a filter bank that has the store's format, otherwise None."""
    try:
        array = load_npy(content)
    except ValueError:
        return None
    return len(array) if array.dtype == np.float16 and array.ndim == 2 else None
