"""Convert a foreign clip to the members of a shard: 16 kHz mono FLAC, filter bank, frames."""

import io
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from avstore.manifests.npy import load_npy
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract import quality as signals
from avstore.pipelines.extract.audio import encode_flac
from avstore.pipelines.extract.fbank import log_mel
from avstore.pipelines.extract.recipe import FbankSettings, QualityLimits
from avstore.pipelines.extract.records import ExtractionResult, Quality
from avstore.pipelines.interchange.foreign_media import ForeignItem

RATE = 16000
_JPEG = b"\xff\xd8\xff"
_MAX_SECONDS = 3600


def convert(item: ForeignItem, clip_id: str, clip_seconds: float) -> ExtractionResult:
    """Convert a foreign clip to what extraction returns.

    Members that are already in the store's format keep their bytes. Frames without times are
    assumed to be evenly spaced over the clip.

    Args:
        item: The clip's files.
        clip_id: The published clip that they belong to.
        clip_seconds: Length of the clip, used where the item does not state it.

    Returns:
        Members in store order without json; no members and a verdict if the clip is not usable.
    """
    if problem := _problem(item):
        return ExtractionResult(clip_id, *problem, None, Quality())
    seconds = _seconds(item.metadata.get("duration_s"), clip_seconds)
    try:
        samples, unchanged = _decode_audio(item.audio or b"", seconds)
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        detail = f"audio cannot be decoded: {error}"
        return ExtractionResult(clip_id, Verdict.UNDECODABLE, detail, None, Quality())
    bank, bank_frames = _fbank(item.fbank, samples)
    flac = item.audio if unchanged and item.audio else encode_flac(samples, RATE)
    limits = QualityLimits()
    quality = Quality(
        silent_fraction=signals.silent_fraction(samples, RATE, limits.silent_dbfs),
        loudness_lufs=signals.integrated_loudness(samples, RATE),
    )
    verdict, detail = _flag(item, quality, limits)
    frames = ((f"f{i:03d}.jpg", data) for i, data in enumerate(item.frames))
    return ExtractionResult(
        clip_id,
        verdict,
        detail,
        None,
        quality,
        members=(("fbank.npy", bank), ("flac", flac), *frames),
        frame_times=_frame_times(item.metadata.get("frame_times"), len(item.frames), seconds),
        fbank_frames=bank_frames,
        duration_s=seconds,
    )


def _seconds(stated: Any, clip_seconds: float) -> float:
    usable = isinstance(stated, int | float) and 0 < stated < _MAX_SECONDS
    return float(stated) if usable else clip_seconds


def _problem(item: ForeignItem) -> tuple[Verdict, str] | None:
    """Return why the clip cannot be used, or None."""
    if not item.frames:
        return Verdict.NO_VIDEO, "the clip has audio and no frames"
    if item.audio is None:
        return Verdict.NO_AUDIO, "the clip has frames and no audio"
    wrong = next((i for i, f in enumerate(item.frames) if not f.startswith(_JPEG)), None)
    if wrong is not None:
        return Verdict.UNDECODABLE, f"frame {wrong} is not a JPEG"
    return None


def _flag(item: ForeignItem, quality: Quality, limits: QualityLimits) -> tuple[Verdict | None, str]:
    """Return the verdict of a stored clip and its detail."""
    stated = item.metadata.get("verdict")
    if isinstance(stated, str) and stated in set(Verdict):
        return Verdict(stated), "as its json says"
    silent = quality.silent_fraction or 0.0
    if silent >= limits.silent_fraction:
        return Verdict.SILENT, f"silent {100 * silent:.0f} % of the time"
    return None, ""


def _decode_audio(content: bytes, clip_seconds: float) -> tuple[NDArray[np.int16], bool]:
    """Return at most `clip_seconds` of 16 kHz mono, and whether `content` is just that."""
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
    unchanged = layout == ("flac", RATE, 1, "s16") and len(samples) <= most
    return samples[:most], unchanged


def _fbank(content: bytes | None, samples: NDArray[np.int16]) -> tuple[bytes, int]:
    """Return the filter bank as npy and its frame count; `content` if it has the store's format."""
    if content is not None:
        try:
            array = load_npy(content)
        except ValueError:
            array = None
        if array is not None and array.dtype == np.float16 and array.ndim == 2:
            return content, len(array)
    bank = log_mel(samples, RATE, FbankSettings()).astype(np.float16)
    buffer = io.BytesIO()
    np.save(buffer, bank, allow_pickle=False)
    return buffer.getvalue(), len(bank)


def _frame_times(stated: Any, count: int, seconds: float) -> tuple[float, ...]:
    numbers = isinstance(stated, list) and all(isinstance(t, int | float) for t in stated)
    if numbers and len(stated) == count and all(0 <= time < _MAX_SECONDS for time in stated):
        return tuple(float(time) for time in stated)
    return tuple(i * seconds / count for i in range(count))
