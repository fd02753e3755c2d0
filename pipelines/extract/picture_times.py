"""Find when each picture of a clip is shown.

Most containers say so. AVI, ASF and AVI's codecs in Matroska have a time for each coded picture
only, in coded order. Decoders give pictures in the order in which they are shown, so there the
n-th picture that a full decode gives has the n-th time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av

from avstore.pipelines.extract.window import Window

_DEFAULT_RATE = 25


@dataclass(frozen=True)
class PictureTimes:
    """Hold the presentation times of a clip's pictures, in ticks.

    Attributes:
        shown: All of them, ascending.
        decoded: The time of each picture that a full decode gives, in that order; None if each
            picture carries its own time.
    """

    shown: tuple[int, ...]
    decoded: tuple[int, ...] | None = None


def packet_times(packets: Sequence[Any]) -> list[int] | None:
    """Return the presentation times (ticks, ascending) of the packets that are shown.

    None if the packets do not determine them: a time is missing, or two pictures share one.
    """
    times = [p.pts for p in packets]
    if None in times or len(set(times)) < len(times):
        return None
    return sorted(p.pts for p in packets if not p.is_discard) or None


def times_of_packets(window: Window, *, delayed: bool) -> PictureTimes | None:
    """Return the times by the packets alone, or None if they do not determine them.

    If the times are in coded order, it is assumed that every packet gives one picture.

    Args:
        window: The clip's packets.
        delayed: As for `times_of_full_decode`.
    """
    times = packet_times(window.video)
    if times is None or (delayed and window.in_coded_order):
        return None
    return PictureTimes(tuple(times), tuple(times) if window.in_coded_order else None)


def times_of_full_decode(stream: Any, window: Window, *, delayed: bool) -> PictureTimes | None:
    """Return the times by decoding every packet, or None if no picture comes out.

    Args:
        stream: The video stream.
        window: The clip's packets.
        delayed: If the times are in coded order, a picture is shown when the decoder gives it:
            later than it is coded by the decoder's delay, as FFmpeg's programs have it.
    """
    found: list[int | None] = []
    by_decoder = delayed and window.in_coded_order
    for packet in (*window.video, None):
        try:
            frames = stream.codec_context.decode(packet)
            found += [frame.dts if by_decoder else frame.pts for frame in frames]
        except av.FFmpegError:
            continue  # counted when the wanted frames are decoded
    if not found:
        return None
    rate = stream.average_rate or stream.guessed_rate or _DEFAULT_RATE
    times = without_missing(found, 1 / (rate * stream.time_base), stream.start_time or 0)
    if window.in_coded_order and not delayed:
        times = sorted(times)
    return PictureTimes(tuple(sorted(set(times))), tuple(times))


def without_missing(times: Sequence[int | None], step: Fraction, start: int) -> list[int]:
    """Replace missing times: between known ones evenly, before and after them by a step.

    Args:
        times: Times in ticks, in the order in which the pictures are shown.
        step: Ticks from picture to picture by the declared frame rate.
        start: Time of the first picture if none is known.
    """
    known = [(i, time) for i, time in enumerate(times) if time is not None] or [(0, start)]
    out: list[int] = []
    (first, time), (last, end) = known[0], known[-1]
    out += [round(time - (first - i) * step) for i in range(first)]
    for (i, a), (j, b) in pairwise(known):
        out += [round(a + Fraction(b - a, j - i) * (k - i)) for k in range(i, j)]
    return out + [round(end + (i - last) * step) for i in range(last, len(times))]
