"""From packets to the frames that were asked for, each exactly as a full decode gives it."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import av

from pipelines.extract.window import Window


def packet_times(packets: Sequence[Any]) -> list[int] | None:
    """Presentation times (ticks, ascending) of the packets that are shown.

    None where packets do not tell: a missing time, or two pictures with the same one.
    """
    times = [p.pts for p in packets if not p.is_discard]
    if not times or None in times or len(set(times)) < len(times):
        return None
    return sorted(times)


def decode(context: Any, packets: Sequence[Any], errors: list[str]) -> Iterator[Any]:
    """Frames of packets in decoding order, flushed at the end. Complaints go to `errors`."""
    for packet in (*packets, None):
        try:
            yield from context.decode(packet)
        except av.FFmpegError as error:
            errors.append(str(error))


def decoded_times(context: Any, window: Window) -> list[int]:
    """Presentation times (ticks, ascending) as a full decode gives them."""
    return sorted({f.pts for f in decode(context, window.video, []) if f.pts is not None})


def span(times: Sequence[int], packets: Sequence[Any], time_base: Fraction) -> Fraction:
    """Where the last shown frame ends, in seconds on the container's clock."""
    last = times[-1]
    lasts = (p.duration for p in packets if p.pts == last and p.duration)
    steps = (times[-1] - times[0]) // max(len(times) - 1, 1)
    return (last + next(lasts, steps)) * time_base
