"""Pictures and sound of a few clips, small enough for a page that people send to each other."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from avstore.manifests.store import StoreError
from avstore.pipelines.browse.layouts import DamagedError, Layout
from avstore.pipelines.browse.media import (
    colours,
    log_mel_values,
    poster,
    read_member,
    sound,
)
from avstore.pipelines.browse.session import Snapshot

_FRAMES = 8
_HEIGHT = 96
_COLUMNS = 400
_LONGEST_S = 12.0
_BITS_PER_S = 32_000
_QUALITY = 72


@dataclass(frozen=True)
class Sample:
    """A clip as a page holds it.

    Attributes:
        layout: The clip.
        strip: JPEG of frames side by side, in base64; None without pictures.
        spectrum: JPEG of the log-mel spectrogram, in base64; None without sound.
        audio: MP3 of the first seconds, in base64; None without sound.
    """

    layout: Layout
    strip: str | None
    spectrum: str | None
    audio: str | None

    @property
    def size(self) -> int:
        """Characters that it takes on the page."""
        return sum(len(part or "") for part in (self.strip, self.spectrum, self.audio))


def samples_within(snapshot: Snapshot, layouts: list[Layout], most: int) -> Iterator[Sample]:
    """Yield clips until they take `most` characters together; leave out those that are damaged."""
    left = most
    for layout in layouts:
        try:
            found = Sample(
                layout,
                _encoded(_strip(snapshot, layout)),
                _encoded(_spectrum(snapshot, layout)),
                _encoded(_mp3(snapshot, layout)),
            )
        except (DamagedError, StoreError):
            continue  # the page counts them, verify names them
        left -= found.size
        if left < 0:
            return
        yield found


def _encoded(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()


def _strip(snapshot: Snapshot, layout: Layout) -> bytes | None:
    """Return frames of equal distance in time, side by side."""
    names = layout.frames
    if names:
        places = np.linspace(0, len(names) - 1, min(_FRAMES, len(names))).round().astype(int)
        jpegs = [read_member(snapshot, layout, names[place]) for place in places]
    elif layout.has_video:
        jpegs = [poster(snapshot, layout)]
    else:
        return None
    return _jpeg(np.concatenate([_small(jpeg) for jpeg in jpegs], axis=1))


def _small(jpeg: bytes) -> NDArray[np.uint8]:
    """Return a frame of 96 rows."""
    try:
        pixels = simplejpeg.decode_jpeg(jpeg, min_height=_HEIGHT, min_width=1)
    except ValueError as error:
        raise DamagedError(f"a frame cannot be decoded: {error}") from error
    width = max(1, min(round(pixels.shape[1] * _HEIGHT / pixels.shape[0]), 4 * _HEIGHT))
    rows = np.linspace(0, pixels.shape[0] - 1, _HEIGHT).round().astype(int)
    columns = np.linspace(0, pixels.shape[1] - 1, width).round().astype(int)
    return np.asarray(pixels[rows][:, columns], np.uint8)


def _spectrum(snapshot: Snapshot, layout: Layout) -> bytes | None:
    if layout.sound is None and "fbank.npy" not in layout.ranges:
        return None
    values = log_mel_values(snapshot, layout)
    if len(values) > _COLUMNS:
        values = np.stack([part.mean(0) for part in np.array_split(values, _COLUMNS)])
    return _jpeg(colours(values.T[::-1]))


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=_QUALITY))


def _mp3(snapshot: Snapshot, layout: Layout) -> bytes | None:
    """Return the first seconds as MP3, mono, at 16 kHz."""
    if layout.sound is None:
        return None
    samples, rate = sound(snapshot, layout)
    mono = samples[0] if len(samples) == 4 else samples.mean(0)  # W of ambisonics is all of it
    kept = np.clip(mono[: int(_LONGEST_S * rate)] * 32767, -32768, 32767).astype(np.int16)
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as out:
        stream: Any = out.add_stream("libmp3lame", rate=16000, layout="mono")
        stream.bit_rate = _BITS_PER_S
        frame = av.AudioFrame.from_ndarray(kept[None], format="s16", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(format="s16p", layout="mono", rate=16000)
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            out.mux(stream.encode(part))
    return file.getvalue()
