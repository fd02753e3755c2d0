"""Reject or flag a clip by its measured signals and the recipe's thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.audio import Waveform
from avstore.pipelines.extract.frames import DecodedFrames
from avstore.pipelines.extract.recipe import QualityLimits
from avstore.pipelines.extract.records import MediaFacts, Quality, Rejected


@dataclass(frozen=True)
class Flag:
    """Hold a finding about a clip that is stored.

    Attributes:
        verdict: `silent`, `still` or `black`.
        detail: The signal and its measured value.
    """

    verdict: Verdict
    detail: str


def validate(
    media: MediaFacts,
    frames: DecodedFrames,
    waveform: Waveform,
    quality: Quality,
    *,
    errors: Sequence[str],
    duration: Fraction,
    offset_s: float,
    limits: QualityLimits,
) -> Flag | None:
    """Check a decoded clip against a recipe's limits.

    Args:
        media: Facts about the file.
        frames: The decoded frames.
        waveform: The decoded audio.
        quality: Measured signals.
        errors: Messages of demuxer and decoders.
        duration: Wanted seconds.
        offset_s: Start of the clip within the file, in seconds.
        limits: The recipe's thresholds.

    Returns:
        The flag of a clip that is stored, or None.

    Raises:
        Rejected: The clip is over one of the limits.
    """
    wanted = float(duration)
    _check_audio(media, waveform, offset_s)
    _check_offset(frames, waveform, limits)
    ends = {"video": frames.end, "audio": waveform.end or 0.0}
    stream = min(ends, key=lambda name: ends[name])
    covered = min(ends[stream], wanted)
    if covered < limits.min_fraction * wanted:
        raise _too_short(media, offset_s, stream, covered, wanted, limits)
    if len(errors) > limits.max_decode_errors:
        limit = f"limit {limits.max_decode_errors}"
        detail = f"{len(errors)} decode errors ({limit}), the first: {errors[0]}"
        raise Rejected(Verdict.UNDECODABLE, detail)
    flag = _flag(quality, limits)
    if flag and flag.verdict.value in limits.reject:
        raise Rejected(flag.verdict, flag.detail)
    return flag


def _check_audio(media: MediaFacts, waveform: Waveform, offset_s: float) -> None:
    """Reject a clip none of whose audio decodes."""
    if waveform.start is not None and waveform.end is not None:
        return
    if media.duration_s and offset_s >= media.duration_s:
        detail = f"the file lasts {media.duration_s:.2f} s and the clip begins at {offset_s:g} s"
        raise Rejected(Verdict.TOO_SHORT, detail)
    raise Rejected(Verdict.NO_AUDIO, "no packet of the audio stream decodes")


def _check_offset(frames: DecodedFrames, waveform: Waveform, limits: QualityLimits) -> None:
    """Reject a clip of which one stream starts too long after the other."""
    offset = max(waveform.start or 0.0, 0.0) - max(frames.start, 0.0)
    if abs(offset) > limits.max_av_offset_s:
        late = "audio" if offset > 0 else "video"
        detail = f"{late} starts {abs(offset):.3f} s late (limit {limits.max_av_offset_s:g} s)"
        raise Rejected(Verdict.BAD_TIMESTAMPS, detail)


def _too_short(
    media: MediaFacts,
    offset_s: float,
    stream: str,
    covered: float,
    wanted: float,
    limits: QualityLimits,
) -> Rejected:
    """Return `truncated` if the header says more than the file holds, else `too_short`."""
    minimum = limits.min_fraction * wanted
    detail = f"{stream} lasts {max(covered, 0):.2f} s of {wanted:g} s wanted"
    if media.duration_s and media.duration_s - offset_s >= minimum:
        header = f"the header says {media.duration_s:.2f} s"
        return Rejected(Verdict.TRUNCATED, f"{detail} (minimum {minimum:g} s); {header}")
    return Rejected(Verdict.TOO_SHORT, f"{detail} (minimum {minimum:g} s)")


def _flag(quality: Quality, limits: QualityLimits) -> Flag | None:
    """Return the first of silent, black, still over its threshold; rejecting ones first."""
    signals = (
        (Verdict.SILENT, quality.silent_fraction, limits.silent_fraction),
        (Verdict.BLACK, quality.black_fraction, limits.black_fraction),
        (Verdict.STILL, quality.still_fraction, limits.still_fraction),
    )
    flags = [
        Flag(verdict, f"{verdict} {100 * value:.0f} % of the time (threshold {100 * limit:g} %)")
        for verdict, value, limit in signals
        if value is not None and value >= limit
    ]
    flags.sort(key=lambda flag: flag.verdict.value not in limits.reject)
    return flags[0] if flags else None
