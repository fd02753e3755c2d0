"""The compressed packets of a clip's own seconds, from one demux pass."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av

from manifests.verdicts import Verdict
from pipelines.extract.limits import MAX_WINDOW_BYTES, MAX_WINDOW_FRAMES
from pipelines.extract.rejected import Rejected
from pipelines.extract.source import Opened

PREROLL_S = Fraction(1, 4)
"""Read before the clip's start, so that audio decoders and the resampler have settled."""


@dataclass
class Window:
    """Packets in stream order. `origin`: the clip's start on the container's clock, seconds."""

    origin: Fraction
    duration: Fraction
    video: list[Any] = field(default_factory=list)
    audio: list[Any] = field(default_factory=list)
    errors: int = 0


def read_window(opened: Opened, offset: Fraction, duration: Fraction) -> Window:
    """Every packet needed to decode [offset, offset + duration) of both streams.

    Raises Rejected where the packets of the window are more than the limits allow.
    """
    window = Window(opened.start + offset, duration)
    streams = [s for s in (opened.video, opened.audio) if s is not None]
    for stream in opened.container.streams:
        if stream not in streams:
            stream.discard = av.stream.Discard.all
    if offset > PREROLL_S:
        _seek(opened, window.origin - PREROLL_S)
    ends = {s.index: (window.origin + duration + PREROLL_S) / s.time_base for s in streams}
    open_ends, size = set(ends), 0
    try:
        for packet in opened.container.demux(streams):
            if packet.size == 0:
                continue  # the flush packet that PyAV adds at the end
            size += packet.size
            (window.video if packet.stream is opened.video else window.audio).append(packet)
            if packet.dts is not None and packet.dts > ends[packet.stream_index]:
                open_ends.discard(packet.stream_index)
                if not open_ends:
                    break
            if size > MAX_WINDOW_BYTES or len(window.video) > MAX_WINDOW_FRAMES:
                what = f"{size} bytes and {len(window.video)} pictures in {float(duration):g} s"
                raise Rejected(Verdict.UNDECODABLE, f"over the limits: {what}")
    except av.FFmpegError:
        window.errors += 1
    return window


def _seek(opened: Opened, instant: Fraction) -> None:
    """To the keyframe at or before an instant; where the file cannot seek, to its start."""
    try:
        target = int(instant / opened.video.time_base)
        opened.container.seek(target, stream=opened.video, backward=True)
    except av.FFmpegError:
        opened.container.seek(0)
