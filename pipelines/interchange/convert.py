"""Convert a foreign clip to the members of a shard: FLAC, filter bank, frames.

Sound becomes 16 kHz mono, unless the clip is of a store's own shard.
"""

import io
from typing import Any

import numpy as np

from avstore.manifests.verdicts import POLICIES, Verdict
from avstore.pipelines.extract import quality as signals
from avstore.pipelines.extract.audio import encode_flac
from avstore.pipelines.extract.fbank import log_mel
from avstore.pipelines.extract.flags import first_flag
from avstore.pipelines.extract.foreign_audio import ForeignAudio
from avstore.pipelines.extract.recipe_sections import FbankSettings, QualityLimits
from avstore.pipelines.extract.records import ExtractionResult, Quality, Rejected
from avstore.pipelines.extract.sandbox import Sandbox
from avstore.pipelines.interchange.foreign_media import ForeignItem

RATE = 16000
_JPEG = b"\xff\xd8\xff"
_MAX_SECONDS = 3600
_FLAGS = [verdict for verdict, policy in POLICIES.items() if policy.status == "stored"]


def convert(
    item: ForeignItem, clip_id: str, clip_seconds: float, sandbox: Sandbox
) -> ExtractionResult:
    """Convert a foreign clip to what extraction returns.

    Members that are already in the store's format keep their bytes. Frames without times are
    assumed to be evenly spaced over the clip.

    Args:
        item: The clip's files.
        clip_id: The published clip that they belong to.
        clip_seconds: Length of the clip, used where the item does not state it.
        sandbox: Decodes the audio.

    Returns:
        Members in store order without json; no members and a verdict if the clip is not usable.
    """
    if problem := _problem(item):
        return ExtractionResult(clip_id, *problem, None, Quality())
    seconds = _seconds(item.metadata.get("duration_s"), clip_seconds)
    try:
        audio = sandbox.decode_audio(
            item.audio or b"",
            item.fbank or b"",
            RATE,
            seconds,
            keep=item.own_recipe is not None,
        )
    except Rejected as rejected:
        return ExtractionResult(clip_id, rejected.verdict, rejected.detail, None, Quality())
    samples, rate = audio.samples, audio.rate
    bank, bank_frames = _fbank(item.fbank, audio)
    flac = item.audio if audio.unchanged and item.audio else encode_flac(samples, rate)
    limits = QualityLimits()
    quality = Quality(
        silent_fraction=signals.silent_fraction(samples, rate, limits.silent_dbfs),
        loudest_dbfs=signals.loudest_dbfs(samples, rate),
        loudness_lufs=signals.integrated_loudness(samples, rate),
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
    if stated in _FLAGS:
        return Verdict(stated), "as its json says"
    flag = first_flag(quality, limits)
    return (flag.verdict, flag.detail) if flag else (None, "")


def _fbank(content: bytes | None, audio: ForeignAudio) -> tuple[bytes, int]:
    """Return the filter bank as npy and its frame count; `content` if it has the store's format."""
    if content is not None and audio.fbank_rows is not None:
        return content, audio.fbank_rows
    bank = log_mel(audio.samples, audio.rate, FbankSettings()).astype(np.float16)
    buffer = io.BytesIO()
    np.save(buffer, bank, allow_pickle=False)
    return buffer.getvalue(), len(bank)


def _frame_times(stated: Any, count: int, seconds: float) -> tuple[float, ...]:
    numbers = isinstance(stated, list) and all(isinstance(t, int | float) for t in stated)
    if numbers and len(stated) == count and all(0 <= time < _MAX_SECONDS for time in stated):
        return tuple(float(time) for time in stated)
    return tuple(i * seconds / count for i in range(count))
