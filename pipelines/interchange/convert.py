"""A foreign clip's members as a store's members: audio to 16 kHz mono FLAC, filter bank from it."""

import io
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract import quality as signals
from avstore.pipelines.extract.audio import encode_flac
from avstore.pipelines.extract.fbank import log_mel
from avstore.pipelines.extract.recipe import FbankSettings, QualityLimits
from avstore.pipelines.extract.records import Quality
from avstore.pipelines.interchange.foreign_media import Item

RATE = 16000
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class Converted:
    """verdict: why the clip cannot be taken (members empty), or what to know of it."""

    members: tuple[tuple[str, bytes], ...]
    frame_times: tuple[float, ...]
    fbank_frames: int
    duration_s: float
    quality: Quality
    verdict: Verdict | None = None
    detail: str = ""


def convert(item: Item, clip_seconds: float) -> Converted:
    """Members in store order without json. What is in the store's form already stays byte for
    byte; frames without times are taken as evenly spread over the clip.
    """
    problem = _problem(item)
    if problem:
        return Converted((), (), 0, 0.0, Quality(), *problem)
    seconds = _seconds(item.about.get("duration_s"), clip_seconds)
    try:
        samples, kept = _audio(item.audio or b"", seconds)
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        detail = f"audio cannot be decoded: {error}"
        return Converted((), (), 0, 0.0, Quality(), Verdict.UNDECODABLE, detail)
    bank, frames = _fbank(item.fbank, samples)
    flac = item.audio if kept and item.audio else encode_flac(samples, RATE)
    limits = QualityLimits()
    quality = Quality(
        silent_fraction=signals.silent_fraction(samples, RATE, limits.silent_dbfs),
        loudness_lufs=signals.integrated_loudness(samples, RATE),
    )
    pictures = ((f"f{i:03d}.jpg", data) for i, data in enumerate(item.frames))
    members = (("fbank.npy", bank), ("flac", flac), *pictures)
    times = _times(item.about.get("frame_times"), len(item.frames), seconds)
    verdict, detail = _flag(item, quality, limits)
    return Converted(members, times, frames, seconds, quality, verdict, detail)


def _seconds(said: Any, clip_seconds: float) -> float:
    return float(said) if isinstance(said, int | float) and 0 < said < 3600 else clip_seconds


def _problem(item: Item) -> tuple[Verdict, str] | None:
    if not item.frames:
        return Verdict.NO_VIDEO, "no frames beside the audio"
    if item.audio is None:
        return Verdict.NO_AUDIO, "no audio beside the frames"
    wrong = next((i for i, f in enumerate(item.frames) if not f.startswith(_JPEG)), None)
    if wrong is not None:
        return Verdict.UNDECODABLE, f"frame {wrong} is not a JPEG"
    return None


def _flag(item: Item, quality: Quality, limits: QualityLimits) -> tuple[Verdict | None, str]:
    said = item.about.get("verdict")
    if said in set(Verdict):
        return Verdict(said), "as its json says"
    silent = quality.silent_fraction or 0.0
    if silent >= limits.silent_fraction:
        return Verdict.SILENT, f"silent {100 * silent:.0f} % of the time"
    return None, ""


def _audio(content: bytes, clip_seconds: float) -> tuple[NDArray[np.int16], bool]:
    """Samples at 16 kHz mono, at most the clip's seconds; whether `content` is that already."""
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.audio[0]
        layout = (stream.codec_context.name, stream.rate, stream.channels, stream.format.name)
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        parts = [
            part.to_ndarray()[0]
            for frame in [*container.decode(audio=0), None]
            for part in resampler.resample(frame)
        ]
    if not parts:
        raise ValueError("no samples")
    samples = np.concatenate(parts)
    most = round(clip_seconds * RATE)
    kept = layout == ("flac", RATE, 1, "s16") and len(samples) <= most
    return samples[:most], kept


def _fbank(content: bytes | None, samples: NDArray[np.int16]) -> tuple[bytes, int]:
    """The filter bank as npy, and its frames; what is there is used where it has the form."""
    if content is not None:
        try:
            array = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError, OSError):
            array = None
        if array is not None and array.dtype == np.float16 and array.ndim == 2:
            return content, len(array)
    bank = log_mel(samples, RATE, FbankSettings()).astype(np.float16)
    buffer = io.BytesIO()
    np.save(buffer, bank, allow_pickle=False)
    return buffer.getvalue(), len(bank)


def _times(said: Any, count: int, seconds: float) -> tuple[float, ...]:
    if isinstance(said, list) and len(said) == count:
        return tuple(float(time) for time in said)
    return tuple(i * seconds / count for i in range(count))
