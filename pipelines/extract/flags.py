"""Flag clips that are silent, black or still, as people mean it."""

from collections.abc import Iterator
from dataclasses import dataclass

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.recipe_sections import QualityLimits
from avstore.pipelines.extract.records import Quality

AUDIBLE_DBFS = -50.0
"""A block of 100 ms this loud is heard: a clap, a click of a mouse."""

STILL_CHANGE = 5.0
"""Luma levels. Pictures that an encoder repeats change by up to 4.2, a talking mouth by 6 to 90."""

VISIBLE_LUMA = 64
"""A pixel this bright is seen in a black picture: a lamp, a star, a title."""

_DEFAULT = QualityLimits()


@dataclass(frozen=True)
class Flag:
    """Hold a finding about a clip that is stored.

    Attributes:
        verdict: `silent`, `still` or `black`.
        detail: The signal and its measured value.
    """

    verdict: Verdict
    detail: str


def first_flag(quality: Quality, limits: QualityLimits) -> Flag | None:
    """Return the first of silent, black, still that applies; rejecting ones first.

    A recipe that sets thresholds of its own for a flag is judged by them alone.
    """
    flags = list(_flags(quality, limits))
    flags.sort(key=lambda flag: flag.verdict.value not in limits.reject)
    return flags[0] if flags else None


def _flags(quality: Quality, limits: QualityLimits) -> Iterator[Flag]:
    if _is_over(quality.silent_fraction, limits.silent_fraction) and not (
        _keeps_defaults(limits, "silent_dbfs", "silent_fraction")
        and _is_over(quality.loudest_dbfs, AUDIBLE_DBFS)
    ):
        yield _by_time(Verdict.SILENT, quality.silent_fraction, limits.silent_fraction)
    if _is_over(quality.black_fraction, limits.black_fraction) and not (
        _keeps_defaults(limits, "black_luma", "black_fraction")
        and _is_over(quality.brightest_luma, VISIBLE_LUMA)
    ):
        yield _by_time(Verdict.BLACK, quality.black_fraction, limits.black_fraction)
    if not _keeps_defaults(limits, "still_luma", "still_fraction"):
        if _is_over(quality.still_fraction, limits.still_fraction):
            yield _by_time(Verdict.STILL, quality.still_fraction, limits.still_fraction)
    elif quality.largest_change is not None and quality.largest_change < STILL_CHANGE:
        change = f"{quality.largest_change:.1f} of 255 levels (threshold {STILL_CHANGE:g})"
        yield Flag(Verdict.STILL, f"still: no part of the picture changes by more than {change}")


def _is_over(value: float | None, limit: float) -> bool:
    return value is not None and value >= limit


def _keeps_defaults(limits: QualityLimits, *names: str) -> bool:
    return all(getattr(limits, name) == getattr(_DEFAULT, name) for name in names)


def _by_time(verdict: Verdict, value: float | None, limit: float) -> Flag:
    share = f"{100 * (value or 0.0):.0f} % of the time (threshold {100 * limit:g} %)"
    return Flag(verdict, f"{verdict} {share}")
