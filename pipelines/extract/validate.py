"""From measured signals to a verdict; every threshold is the recipe's."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.audio import Sound
from avstore.pipelines.extract.frames import Pictures
from avstore.pipelines.extract.recipe import QualityLimits, Recipe
from avstore.pipelines.extract.records import MediaFacts, Quality
from avstore.pipelines.extract.rejected import Rejected


@dataclass(frozen=True)
class Flag:
    """What to know of a clip that is kept."""

    verdict: Verdict
    detail: str


def judge(
    media: MediaFacts,
    pictures: Pictures,
    sound: Sound,
    *,
    duration: Fraction,
    errors: Sequence[str],
    quality: Quality,
    recipe: Recipe,
    begins_s: float = 0.0,
) -> Flag | None:
    """What to know of a clip, or None. Raises Rejected where the recipe does not take it.

    begins_s: where in the file the clip starts.
    """
    limits = recipe.quality
    wanted = float(duration)
    if sound.start is None and media.duration_s and begins_s >= media.duration_s:
        detail = f"the file lasts {media.duration_s:.2f} s and the clip begins at {begins_s:g} s"
        raise Rejected(Verdict.TOO_SHORT, detail)
    if sound.start is None or sound.end is None:
        raise Rejected(Verdict.NO_AUDIO, "nothing of the audio stream decodes")
    offset = max(sound.start, 0.0) - max(pictures.start, 0.0)
    if abs(offset) > limits.max_av_offset_s:
        late = "audio" if offset > 0 else "video"
        detail = f"{late} starts {abs(offset):.3f} s late (limit {limits.max_av_offset_s:g} s)"
        raise Rejected(Verdict.BAD_TIMESTAMPS, detail)
    ends = {"video": pictures.end, "audio": sound.end}
    stream = min(ends, key=lambda name: ends[name])
    have = min(ends[stream], wanted)
    if have < limits.min_fraction * wanted:
        raise _too_short(media, begins_s, stream, have, wanted, limits)
    if len(errors) > limits.max_decode_errors:
        allowed = f"limit {limits.max_decode_errors}"
        detail = f"{len(errors)} decode errors ({allowed}), the first: {errors[0]}"
        raise Rejected(Verdict.UNDECODABLE, detail)
    flag = _flag(quality, limits)
    if flag and flag.verdict.value in limits.reject:
        raise Rejected(flag.verdict, flag.detail)
    return flag


def _too_short(
    media: MediaFacts,
    begins_s: float,
    stream: str,
    have: float,
    wanted: float,
    limits: QualityLimits,
) -> Rejected:
    """Too short if the file says so itself, truncated if it promised more than it holds."""
    detail = f"{stream} lasts {max(have, 0):.2f} s of {wanted:g} s wanted"
    least = f"least {limits.min_fraction * wanted:g} s"
    if media.duration_s and media.duration_s - begins_s >= limits.min_fraction * wanted:
        says = f"the header says {media.duration_s:.2f} s"
        return Rejected(Verdict.TRUNCATED, f"{detail} ({least}); {says}")
    return Rejected(Verdict.TOO_SHORT, f"{detail} ({least})")


def _flag(quality: Quality, limits: QualityLimits) -> Flag | None:
    """The first of silent, still, black that is over its threshold; rejecting ones first."""
    signals = (
        (Verdict.SILENT, quality.silent_fraction, limits.silent_fraction),
        (Verdict.BLACK, quality.black_fraction, limits.black_fraction),
        (Verdict.STILL, quality.still_fraction, limits.still_fraction),
    )
    flags = [
        Flag(v, f"{v} {100 * have:.0f} % of the time (threshold {100 * least:g} %)")
        for v, have, least in signals
        if have is not None and have >= least
    ]
    flags.sort(key=lambda flag: flag.verdict.value not in limits.reject)
    return flags[0] if flags else None
