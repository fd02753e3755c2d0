"""Decode the audio file of a clip that others extracted."""

from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from avstore.manifests.guarded_media import FOREIGN, open_foreign, require_allowed
from avstore.manifests.npy import load_npy
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.records import Rejected


@dataclass(frozen=True)
class ForeignAudio:
    """A decoded audio file.

    Attributes:
        samples: 16-bit mono, (samples,).
        unchanged: Whether the file is FLAC of just these samples, at this rate.
        fbank_rows: Rows of the filter bank beside it; None if it is not float16 of two dimensions.
    """

    samples: NDArray[np.int16]
    unchanged: bool
    fbank_rows: int | None = None


def decode_foreign_audio(
    content: bytes, fbank: bytes, rate: int, max_seconds: float
) -> ForeignAudio:
    """Decode a foreign clip's audio file to mono, and read the shape of its filter bank.

    Two channels are mixed. More may be ambisonic, which must not be.

    Runs in the calling process: call it through `Sandbox.decode_audio`.

    Args:
        content: An audio file.
        fbank: A filter bank as npy; empty if there is none.
        rate: Samples per second of the result.
        max_seconds: Longest result.

    Raises:
        Rejected: The file cannot be decoded, or has more than two channels.
    """
    try:
        samples, unchanged = _decode(content, rate, round(max_seconds * rate))
    except (av.FFmpegError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        detail = f"audio cannot be decoded: {reason}"
        raise Rejected(Verdict.UNDECODABLE, detail) from error
    return ForeignAudio(samples, unchanged, _fbank_rows(fbank))


def _decode(content: bytes, rate: int, most: int) -> tuple[NDArray[np.int16], bool]:
    """Return at most `most` samples, and whether `content` is just that."""
    parts: list[NDArray[np.int16]] = []
    count = 0
    with open_foreign(content) as container:
        stream = container.streams.best("audio")
        if stream is None:
            raise ValueError("no audio stream")
        require_allowed(stream, FOREIGN)
        layout = (container.format.name, stream.codec_context.name, stream.rate, stream.channels)
        is_stored = (*layout, stream.format.name) == ("flac", "flac", rate, 1, "s16")
        resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
        for frame in container.decode(stream):
            _require_two_at_most(frame.layout.nb_channels)
            for part in resampler.resample(frame):
                parts.append(part.to_ndarray()[0])
                count += part.samples
            if count > most:
                break
        else:
            parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    if not parts:
        raise ValueError("no samples")
    samples = np.concatenate(parts)
    return samples[:most], is_stored and len(samples) <= most


def _require_two_at_most(channels: int) -> None:
    if channels > 2:
        detail = f"the audio has {channels} channels; one or two can be imported"
        raise Rejected(Verdict.WRONG_CHANNELS, detail)


def _fbank_rows(content: bytes) -> int | None:
    """Return the rows of a filter bank that has the store's format, otherwise None."""
    try:
        array = load_npy(content)
    except ValueError:
        return None
    return len(array) if array.dtype == np.float16 and array.ndim == 2 else None
