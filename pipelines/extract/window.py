"""The compressed packets of a clip's own seconds, from one demux pass."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.limits import MAX_WINDOW_BYTES, MAX_WINDOW_FRAMES
from avstore.pipelines.extract.open_media import Opened
from avstore.pipelines.extract.rejected import Rejected

PREROLL_S = Fraction(1, 4)
"""Read before the clip's start, so that audio decoders and the resampler have settled."""

APART_S = 30
"""How far apart in the file the two streams' packets of one instant may lie."""


@dataclass
class Window:
    """Packets in stream order. `origin`: the clip's start on the container's clock, seconds."""

    origin: Fraction
    duration: Fraction
    video: list[Any] = field(default_factory=list)
    audio: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def read_window(opened: Opened, offset: Fraction, duration: Fraction) -> Window:
    """Every packet needed to decode [offset, offset + duration) of both streams.

    Raises Rejected where the packets of the window are more than the limits allow.
    """
    window = Window(opened.start + offset, duration)
    streams = [s for s in (opened.video, opened.audio) if s is not None]
    for stream in opened.container.streams:
        if stream not in streams:
            stream.discard = av.stream.Discard.all
    if offset <= PREROLL_S:
        _read(opened, streams, window)
        return window
    _seek(opened, window.origin - PREROLL_S)
    _read(opened, streams, window)
    window.video = _from_keyframe(window.video)
    first = next((p.pts for p in window.video if p.pts is not None), None)
    if first is None or first * opened.video.time_base > window.origin:
        # The index led past the clip's start: read the file from its own.
        window = Window(window.origin, duration)
        opened.container.seek(0)
        _read(opened, streams, window)
    return window


def _read(opened: Opened, streams: Sequence[Any], window: Window) -> None:
    """Packets from here to the end of the window into it."""
    end = window.origin + window.duration + PREROLL_S
    ends = {s.index: end / s.time_base for s in streams}
    far = {s.index: (end + APART_S) / s.time_base for s in streams}
    open_ends, size = set(ends), 0
    try:
        for packet in opened.container.demux(streams):
            if packet.size == 0:
                continue  # the flush packet that PyAV adds at the end
            if packet.dts is not None and packet.dts > ends[packet.stream_index]:
                open_ends.discard(packet.stream_index)
                if not open_ends or packet.dts > far[packet.stream_index]:
                    break
                continue
            size += packet.size
            (window.video if packet.stream is opened.video else window.audio).append(packet)
            if size > MAX_WINDOW_BYTES or len(window.video) > MAX_WINDOW_FRAMES:
                seconds = float(window.duration)
                what = f"{size} bytes and {len(window.video)} pictures in {seconds:g} s"
                raise Rejected(Verdict.UNDECODABLE, f"over the limits: {what}")
    except (av.FFmpegError, IndexError) as error:  # PyAV's IndexError: a new stream on the way
        window.errors.append(f"demuxer: {error}")


def _from_keyframe(packets: list[Any]) -> list[Any]:
    """Without the pictures before the first keyframe in either order: after a seek into an open
    group of pictures they refer to what was not read. All are from before the clip.
    """
    first = next((i for i, p in enumerate(packets) if p.is_keyframe), None)
    if first is None or packets[first].pts is None:
        return packets
    start = packets[first].pts
    return [p for p in packets[first:] if p.pts is None or p.pts >= start]


def _seek(opened: Opened, instant: Fraction) -> None:
    """To the keyframe at or before an instant; where the file cannot seek, to its start."""
    try:
        target = int(instant / opened.video.time_base)
        opened.container.seek(target, stream=opened.video, backward=True)
    except av.FFmpegError:
        opened.container.seek(0)
