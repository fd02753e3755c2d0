"""Reject or flag a clip by its measured signals and the recipe's thresholds."""

from collections.abc import Mapping, Sequence

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.audio import Waveform
from avstore.pipelines.extract.coverage import Coverage
from avstore.pipelines.extract.flags import Flag, first_flag
from avstore.pipelines.extract.pictures import DecodedPictures
from avstore.pipelines.extract.recipe_sections import QualityLimits
from avstore.pipelines.extract.records import MediaFacts, Quality, Rejected


def validate(
    media: MediaFacts,
    pictures: DecodedPictures | None,
    waveform: Waveform | None,
    quality: Quality,
    *,
    errors: Sequence[str],
    coverage: Mapping[str, Coverage],
    offset_s: float,
    limits: QualityLimits,
) -> Flag | None:
    """Check a decoded clip against a recipe's limits.

    Args:
        media: Facts about the file.
        pictures: The decoded pictures; None if the recipe stores none.
        waveform: The decoded audio; None if the recipe stores none.
        quality: Measured signals.
        errors: Messages of demuxer and decoders.
        coverage: What the stored streams, `video` and `audio`, cover of the wanted seconds.
        offset_s: Start of the clip within the file, in seconds.
        limits: The recipe's thresholds.

    Returns:
        The flag of a clip that is stored, or None.

    Raises:
        Rejected: The clip is over one of the limits.
    """
    if waveform is not None:
        _check_audio(media, waveform, offset_s)
    if waveform is not None and pictures is not None:
        _check_offset(pictures, waveform, limits)
    stream = min(coverage, key=lambda name: coverage[name].seconds)
    if coverage[stream].is_below(limits.min_fraction):
        raise _too_short(media, offset_s, stream, coverage[stream], limits)
    if len(errors) > limits.max_decode_errors:
        limit = f"limit {limits.max_decode_errors}"
        detail = f"{len(errors)} decode errors ({limit}), the first: {errors[0]}"
        raise Rejected(Verdict.UNDECODABLE, detail)
    flag = first_flag(quality, limits)
    if flag and flag.verdict.value in limits.reject:
        raise Rejected(flag.verdict, flag.detail)
    return flag


def _check_audio(media: MediaFacts, waveform: Waveform, offset_s: float) -> None:
    """Reject a clip none of whose audio decodes."""
    if waveform.start is not None:
        return
    if media.duration_s and offset_s >= media.duration_s:
        detail = f"the file lasts {media.duration_s:.2f} s and the clip begins at {offset_s:g} s"
        raise Rejected(Verdict.TOO_SHORT, detail)
    raise Rejected(Verdict.NO_AUDIO, "no packet of the audio stream decodes")


def _check_offset(pictures: DecodedPictures, waveform: Waveform, limits: QualityLimits) -> None:
    """Reject a clip of which one stream starts too long after the other."""
    offset = max(waveform.start or 0.0, 0.0) - max(pictures.start, 0.0)
    if abs(offset) > limits.max_av_offset_s:
        late = "audio" if offset > 0 else "video"
        detail = f"{late} starts {abs(offset):.3f} s late (limit {limits.max_av_offset_s:g} s)"
        raise Rejected(Verdict.BAD_TIMESTAMPS, detail)


def _too_short(
    media: MediaFacts,
    offset_s: float,
    stream: str,
    covered: Coverage,
    limits: QualityLimits,
) -> Rejected:
    """Return `truncated` if the header says more than the file holds, else `too_short`."""
    minimum = limits.min_fraction * covered.duration
    verb = "lasts" if covered.ends_early else "covers"
    detail = f"{stream} {verb} {covered.seconds:.2f} s of {covered.duration:g} s wanted"
    if not covered.ends_early:
        detail += f", with nothing from {covered.gap[0]:.2f} s to {covered.gap[1]:.2f} s"
    if media.duration_s and media.duration_s - offset_s >= minimum:
        header = f"the header says {media.duration_s:.2f} s"
        return Rejected(Verdict.TRUNCATED, f"{detail} (minimum {minimum:g} s); {header}")
    return Rejected(Verdict.TOO_SHORT, f"{detail} (minimum {minimum:g} s)")
