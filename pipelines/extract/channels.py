"""Choose or mix the channels that a recipe stores from those that a file's decoder gives.

Ambisonic sound must never be converted between layouts of loudspeakers: libswresample would mix
its channels. So channels are taken by their place, and only `stereo` mixes.
"""

import math
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.recipe_sections import AudioSettings
from avstore.pipelines.extract.records import Rejected

Samples = NDArray[np.float32]

AAC_ORDER = (2, 1, 4, 0)
"""Decoded channels of AAC with five or more that are W, Y, Z, X in files from YouTube."""

FOA_CHANNELS = (4, 6)
"""Four, or four and two head-locked ones."""

FOA_CODECS = frozenset({"opus", "vorbis", "flac", "alac", "wavpack"})
"""Codecs, beside PCM and AAC, that carry ambisonics; others, as AC-3, carry loudspeakers alone."""

QUIET = 1e-3
"""A channel is silent if its RMS is 60 dB below the loudest one's, or at most QUIET_LSB."""

QUIET_LSB = 1.0
"""RMS, in steps of 16 bits, that rounding alone may give."""

MOST_OVER_W = 2.0
"""Most that the RMS of Y, Z or X is above W's. It is 1 in SN3D and 1.73 in N3D, if sources are
independent; also noise of a microphone's capsules, such as wind, gives about 1.73."""

AUDIBLE_LSB = 32.768
"""-60 dB of full scale, in steps of 16 bits. The order of quieter clips cannot be judged."""

_MIXED_AT_ONCE = 1 << 20
_UNNAMED = "NONE"
_AMBISONIC = tuple(f"AMBI{i}" for i in range(4))
_GUESSED = {1: ("FC",), 2: ("FL", "FR")}


@dataclass(frozen=True)
class ChannelLayout:
    """Describe the channels of decoded sound.

    Attributes:
        codec: FFmpeg's canonical name of the codec.
        name: FFmpeg's name of the layout: `5.1`, `ambisonic 1+stereo`, `4 channels`, ...
        channels: FFmpeg's name of each channel: `FL`, `AMBI0`; `NONE` where the file names none.
    """

    codec: str
    name: str
    channels: tuple[str, ...]

    @classmethod
    def of(cls, codec: str, layout: av.AudioLayout) -> "ChannelLayout":
        """Return the layout of a decoded frame; one or two unnamed channels are mono or stereo."""
        names = tuple(channel.name for channel in layout.channels)
        if set(names) == {_UNNAMED}:
            names = _GUESSED.get(len(names), names)
        return cls(codec, layout.name, names)

    def rejected(self, needs: str) -> Rejected:
        """Return the rejection of a file with this layout; `needs` is what the recipe needs."""
        count = len(self.channels)
        has = f"{self.codec} sound of {count} channel{'s' * (count > 1)} ({self.name})"
        return Rejected(Verdict.WRONG_CHANNELS, f"the file has {has}; {needs}")


def to_layout(decoded: Samples, layout: ChannelLayout, rate: int, audio: AudioSettings) -> Samples:
    """Return the channels that a recipe stores, at the file's rate.

    Args:
        decoded: The decoder's channels in its order, float32 (channels, samples).
        layout: What they are.
        rate: Samples per second.
        audio: The recipe's audio settings.

    Returns:
        float32 (`audio.channels`, samples).

    Raises:
        Rejected: The file does not have these channels: `wrong_channels`.
    """
    if audio.layout == "stereo":
        return _stereo(decoded, layout, rate, audio.upmix)
    if audio.layout == "foa":
        return decoded[foa_order(layout, audio.aac_order)]
    return _mono(decoded, layout, audio.downmix)


def _mono(decoded: Samples, layout: ChannelLayout, downmix: str) -> Samples:
    """Return one channel."""
    if downmix == "mean" and len(decoded) > 1:
        mean: Samples = decoded.mean(axis=0, dtype=np.float32, keepdims=True)
        return mean
    if downmix in ("mean", "first"):
        return decoded[:1]
    if downmix not in layout.channels:
        raise layout.rejected(f"downmix = '{downmix}' needs a channel of that name")
    return decoded[[layout.channels.index(downmix)]]


def _stereo(decoded: Samples, layout: ChannelLayout, rate: int, upmix: str) -> Samples:
    """Return left and right."""
    if layout.channels == ("FL", "FR"):
        return decoded
    if len(decoded) == 1:
        if upmix != "copy":
            raise layout.rejected("layout = 'stereo' needs two, or upmix = 'copy'")
        return decoded[[0, 0]]
    if {_UNNAMED, _AMBISONIC[0]} & set(layout.channels):
        raise layout.rejected("layout = 'stereo' needs channels of loudspeakers")
    return _mix_to_stereo(decoded, layout, rate)


def _mix_to_stereo(decoded: Samples, layout: ChannelLayout, rate: int) -> Samples:
    """Mix loudspeakers to left and right as `ffmpeg -ac 2` does for 16-bit output.

    Weights are libswresample's, scaled so that nothing clips (`rematrix_maxval`, which it sets for
    integers by itself).
    """
    graph = Graph()
    source = graph.add_abuffer(sample_rate=rate, format="flt", layout=layout.name)
    mixer = graph.add("aresample", "out_chlayout=stereo:rematrix_maxval=1")
    sink = graph.add("abuffersink")
    source.link_to(mixer)
    mixer.link_to(sink)
    try:
        graph.configure()
    except (av.FFmpegError, ValueError) as error:
        raise layout.rejected("layout = 'stereo' needs channels that FFmpeg can mix") from error
    mixed = np.empty((2, decoded.shape[1]), np.float32)
    for at in range(0, decoded.shape[1], _MIXED_AT_ONCE):
        part = decoded[:, at : at + _MIXED_AT_ONCE]
        # Interleaved: of eight separate channels, PyAV 18.1 counts nine.
        packed = np.ascontiguousarray(part.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout.name)
        frame.sample_rate, frame.pts = rate, at
        graph.push(frame)
        pulled: Any = sink.pull()
        mixed[:, at : at + part.shape[1]] = pulled.to_ndarray().reshape(-1, 2).T
    return mixed


def foa_order(layout: ChannelLayout, aac_order: tuple[int, ...] | None = None) -> list[int]:
    """Return which decoded channels are W, Y, Z and X.

    Args:
        layout: The decoded channels.
        aac_order: The order that the recipe declares for AAC.

    Raises:
        Rejected: They cannot be first-order ambisonics: `wrong_channels`.
    """
    count = len(layout.channels)
    if count < 4:
        raise layout.rejected("layout = 'foa' needs at least four")
    if set(_AMBISONIC) <= set(layout.channels):
        return [layout.channels.index(name) for name in _AMBISONIC]
    if layout.codec.startswith("aac"):
        return _aac_order(layout, aac_order)
    if layout.codec not in FOA_CODECS and not layout.codec.startswith("pcm_"):
        raise layout.rejected("layout = 'foa' needs a codec that keeps the order of channels")
    if count not in FOA_CHANNELS:
        raise layout.rejected("layout = 'foa' needs four or six, or channels named ambisonic")
    return [0, 1, 2, 3]


def _aac_order(layout: ChannelLayout, declared: tuple[int, ...] | None) -> list[int]:
    count = len(layout.channels)
    if declared is None and count == 4:
        raise layout.rejected(
            "layout = 'foa' needs aac_order for AAC of four channels, whose order is not known"
        )
    order = list(declared or AAC_ORDER)
    if max(order) >= count:
        raise layout.rejected(f"aac_order = {order} names channel {max(order)}, counted from 0")
    return order


def one_channel(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return the channel that the fbank and the quality signals are computed of.

    Mono itself, the mean of stereo (rounded half to even), W of first-order ambisonics.

    Args:
        samples: The stored channels, (channels, samples).

    Returns:
        16 bits, (samples,).
    """
    if len(samples) == 2:
        mean: NDArray[np.float64] = samples.mean(axis=0)
        return np.rint(mean).astype(np.int16)
    first: NDArray[np.int16] = samples[0]
    return first


def require_ambisonic(samples: NDArray[np.int16]) -> None:
    """Reject mono sound that is declared as ambisonic, and channels in another order.

    Sound from one direction has Y² + Z² + X² = W² (SN3D), and energies of independent sources add.
    So real sound has neither all four channels equal, nor W alone, nor a channel much louder than
    W: that channel is W, and the order another. An order that has W first, such as W, X, Y, Z, has
    the same energies and passes, and so does one whose first channel has a quarter of W's energy. A
    clip below -60 dB of full scale passes.

    Args:
        samples: W, Y, Z, X, (4, samples), 16 bits.

    Raises:
        Rejected: `wrong_channels`.
    """
    wave = samples.astype(np.float32)
    levels = _rms(wave)
    loudest = float(levels.max(initial=0.0))
    if loudest <= AUDIBLE_LSB:
        return
    limit = max(QUIET * loudest, QUIET_LSB)
    shown = ", ".join(f"{name} {level:.1f}" for name, level in zip("WYZX", levels, strict=True))
    levels_text = f"RMS in steps of 16 bits: {shown}"
    if levels[0] <= limit:
        detail = f"W is silent and other channels are not: wrong order ({levels_text})"
        raise Rejected(Verdict.WRONG_CHANNELS, f"layout = 'foa': {detail}")
    if levels[1:].max() > MOST_OVER_W * levels[0]:
        over = 20 * math.log10(levels[1:].max() / levels[0])
        most = 20 * math.log10(MOST_OVER_W)
        louder = (
            f"{'YZX'[levels[1:].argmax()]} is {over:.1f} dB louder than W (limit {most:.0f} dB)"
        )
        detail = f"{louder}: wrong order ({levels_text})"
        raise Rejected(Verdict.WRONG_CHANNELS, f"layout = 'foa': {detail}")
    if levels[1:].max() <= limit:
        detail = f"Y, Z and X are silent: mono declared as ambisonic ({levels_text})"
        raise Rejected(Verdict.WRONG_CHANNELS, f"layout = 'foa': {detail}")
    if _rms(wave[1:] - wave[0]).max() <= limit:
        detail = f"all channels are equal: mono declared as ambisonic ({levels_text})"
        raise Rejected(Verdict.WRONG_CHANNELS, f"layout = 'foa': {detail}")


def _rms(wave: Samples) -> NDArray[np.float64]:
    squares = np.square(wave, dtype=np.float64).mean(axis=1) if wave.size else np.zeros(len(wave))
    return np.asarray(np.sqrt(squares))
