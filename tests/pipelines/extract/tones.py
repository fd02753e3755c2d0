"""Generate clips whose channels are tones of different pitch, and find the pitches again."""

import io
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.recipe import Recipe, load_recipe
from avstore.pipelines.extract.records import ExtractionResult
from tests.pipelines.extract.media import ffmpeg, source

PITCHES = (300, 500, 700, 100, 1100, 1300, 1500, 1700)
"""Hz of each channel; the fourth is what the LFE channel of an encoder lets through."""


def recipe(**audio: object) -> Recipe:
    """Return a recipe with these audio settings and two frames."""
    settings = load_recipe("stella").model_dump() | {"name": "mine"}
    settings["frames"] |= {"count": 2}
    settings["audio"] |= audio
    return Recipe.model_validate(settings)


def tones(channels: int, rate: int = 48000, seconds: float = 3.0) -> np.ndarray:
    """Return int16 (channels, samples): tones that slowly change, so that places differ."""
    times = np.arange(int(rate * seconds)) / rate
    waves = [np.sin(2 * np.pi * p * times) * (0.2 + 0.05 * times) for p in PITCHES[:channels]]
    return np.rint(np.array(waves) * 32767).astype(np.int16)


def make_sound(
    path: Path, layout: str, sound: np.ndarray, *options: str, rate: int = 48000
) -> Path:
    """Write a clip with this sound, (channels, samples), in a layout; return the path."""
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=3"),
        *("-f", "s16le", "-ar", str(rate), "-ch_layout", layout, "-i", "-"),
        *("-c:v", "libx264", "-preset", "ultrafast", *options, path),
        stdin=np.ascontiguousarray(sound.T).tobytes(),
    )
    return path


def extracted(path: Path, settings: Recipe, offset_s: float = 0.0) -> ExtractionResult:
    """Extract 2 s of a clip."""
    return extract_clip(source(path, offset_s, 2.0), settings)


def stored(result: ExtractionResult) -> np.ndarray:
    """Return the stored waveform, int16 (channels, samples)."""
    assert result.members, result.detail
    with av.open(io.BytesIO(dict(result.members)["flac"])) as container:
        channels = container.streams.audio[0].codec_context.channels
        frames = [frame.to_ndarray().reshape(-1, channels) for frame in container.decode(audio=0)]
    return np.concatenate(frames).T


def pitches(waveform: np.ndarray, rate: int = 16000) -> list[int]:
    """Return the strongest frequency of each channel, in Hz, to the next hundred."""
    found = np.abs(np.fft.rfft(waveform, axis=1)).argmax(axis=1) * rate / waveform.shape[1]
    return [round(hertz / 100) * 100 for hertz in found]


def pitches_of(places: Sequence[int]) -> list[int]:
    """Return the pitches of these channels of `tones`."""
    return [PITCHES[place] for place in places]
