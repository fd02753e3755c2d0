"""Read the compressed packets of a clip's own seconds in one demux pass."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from typing import Any

import av

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.coded_order import mark_coded_order
from avstore.pipelines.extract.decoder_log import DecoderLog, logged_errors, record_decoder_log
from avstore.pipelines.extract.open_media import (
    MAX_WINDOW_BYTES,
    MAX_WINDOW_FRAMES,
    OpenedMedia,
)
from avstore.pipelines.extract.records import Rejected

PREROLL_S = Fraction(1, 4)
"""Seconds read before the clip's start, so that audio decoders and the resampler settle."""

MAX_FILE_FACTOR = 2
"""A file up to this many times as long as its clip is the clip itself, as a downloader cut it.

A longer one is the video that the clip is a part of.
"""

MAX_INTERLEAVING_S = 30
"""Largest distance in the file, in seconds, between two streams' packets of one instant."""


@dataclass
class Window:
    """Hold the packets of a clip's own seconds.

    Attributes:
        origin: Start of the clip on the container's clock, in seconds.
        duration: Length of the clip, in seconds.
        whole_file: Whether the file is the clip, so that released code reads all of it.
        video: Video packets in stream order.
        audio: Audio packets in stream order.
        errors: Messages of the demuxer.
        bytes: Size of all packets.
        in_coded_order: Whether the times of the video are those of coded pictures: each picture
            of a full decode, in the order in which they are shown, has the next one.
    """

    origin: Fraction
    duration: Fraction
    whole_file: bool = False
    video: list[Any] = field(default_factory=list)
    audio: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    bytes: int = 0
    in_coded_order: bool = False

    @property
    def end(self) -> Fraction:
        """Return the end of what is read on the container's clock, in seconds."""
        return self.origin + self.duration * (MAX_FILE_FACTOR if self.whole_file else 1)


def read_window(
    opened: OpenedMedia, offset: Fraction, duration: Fraction, *, whole_file: bool = False
) -> Window:
    """Read every packet needed to decode [offset, offset + duration) of the selected streams.

    Args:
        opened: The open file.
        offset: Start of the clip within the file, in seconds.
        duration: Length of the clip, in seconds.
        whole_file: Read all of the file, up to MAX_FILE_FACTOR times the duration.

    Raises:
        Rejected: The packets are more than the limits allow.
    """
    window = Window(opened.start + offset, duration, whole_file)
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
    sought = window.audio if opened.video is None else window.video
    first = next((p.pts * p.time_base for p in sought if p.pts is not None), None)
    if first is None or first > window.origin:
        # The file's index led past the clip's start: read the file from its own start.
        window = Window(window.origin, duration)
        opened.container.seek(0)
        _read(opened, streams, window)
    return window


def last_instant(window: Window) -> Fraction:
    """Return the end of the last packet on the container's clock, in seconds."""
    packets = (p for p in (*window.video, *window.audio) if p.pts is not None)
    ends = ((p.pts + (p.duration or 0)) * p.time_base for p in packets)
    return Fraction(max(ends, default=window.origin))


def _read(opened: OpenedMedia, streams: Sequence[Any], window: Window) -> None:
    """Read the window from here on."""
    _demux(opened, streams, window)
    window.in_coded_order = bool(window.video) and mark_coded_order(opened.video, window.video)


def _demux(opened: OpenedMedia, streams: Sequence[Any], window: Window) -> None:
    """Append the packets from here to the end of the window, and the demuxer's errors in it."""
    # Whole ticks: comparing fractions takes as long as demuxing.
    ends = {s.index: floor((window.end + PREROLL_S) / s.time_base) for s in streams}
    last = window.end + PREROLL_S + MAX_INTERLEAVING_S
    last_ends = {s.index: floor(last / s.time_base) for s in streams}
    unfinished = set(ends)
    with record_decoder_log() as log:
        try:
            for packet in opened.container.demux(streams):
                if packet.size == 0:
                    continue  # the flush packet that PyAV adds at the end
                if packet.dts is not None and packet.dts > ends[packet.stream_index]:
                    unfinished.discard(packet.stream_index)
                    if not unfinished or packet.dts > last_ends[packet.stream_index]:
                        return
                    continue
                _append(opened, window, packet, log)
        except (av.FFmpegError, IndexError) as error:
            # PyAV raises IndexError for a stream that appears in the middle of the file.
            window.errors.append(f"demuxer: {error}")
        window.errors += logged_errors(log)


def _append(opened: OpenedMedia, window: Window, packet: Any, log: DecoderLog) -> None:
    """Append a packet to a window, with the demuxer's errors since the one before it."""
    (window.video if packet.stream is opened.video else window.audio).append(packet)
    window.bytes += packet.size
    if window.bytes > MAX_WINDOW_BYTES or len(window.video) > MAX_WINDOW_FRAMES:
        found = f"{window.bytes} bytes and {len(window.video)} pictures"
        detail = f"over the limits: {found} in {float(window.duration):g} s"
        raise Rejected(Verdict.UNDECODABLE, detail, by_policy=True)
    if log:
        if packet.dts is None or packet.dts * packet.time_base >= window.origin:
            window.errors += logged_errors(log)
        log.clear()  # errors before the clip are not the clip's


def _from_keyframe(packets: list[Any]) -> list[Any]:
    """Drop the pictures before the first keyframe, in stream and in presentation order.

    After a seek into an open group of pictures, they refer to pictures that were not read. All of
    them are shown before the clip starts.
    """
    first = next((i for i, p in enumerate(packets) if p.is_keyframe), None)
    if first is None or packets[first].pts is None:
        return packets
    start = packets[first].pts
    return [p for p in packets[first:] if p.pts is None or p.pts >= start]


def _seek(opened: OpenedMedia, instant: Fraction) -> None:
    """Seek to the keyframe at or before an instant, or to the file's start if it cannot seek."""
    stream: Any = opened.audio if opened.video is None else opened.video
    try:
        opened.container.seek(int(instant / stream.time_base), stream=stream, backward=True)
    except av.FFmpegError:
        opened.container.seek(0)
