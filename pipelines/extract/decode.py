"""From packets to the frames that were asked for, each exactly as a full decode gives it."""

from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from typing import Any

import av

from avstore.pipelines.extract.skip_packets import needed
from avstore.pipelines.extract.window import Window

_INTRA_ONLY = {"mjpeg", "prores", "rawvideo", "png"}
# Decoders that leave out a picture no other refers to when asked to, and lose nothing else.
# VP8, VP9 and AV1 are not among them: their leaving a picture out changes entropy contexts and
# motion vectors of the next.
_SKIPPING = {"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"}
_PROGRESSIVE = 1


def packet_times(packets: Sequence[Any]) -> list[int] | None:
    """Presentation times (ticks, ascending) of the packets that are shown.

    None where packets do not tell: a missing time, or two pictures with the same one.
    """
    times = [p.pts for p in packets]
    if None in times or len(set(times)) < len(times):
        return None
    return sorted(p.pts for p in packets if not p.is_discard) or None


def decode_wanted(
    context: Any,
    packets: Sequence[Any],
    wanted: Collection[int],
    errors: list[str],
    sparing: bool = True,
) -> Iterator[Any]:
    """Frames with the wanted presentation times (ticks), each once; exceptions go to `errors`.

    It stops after the last wanted frame. sparing: pictures that are not wanted and that no other
    picture refers to are left out, unseen by the decoder.
    """
    skipping = sparing and may_skip(context)
    if sparing and packet_times(packets) is not None:
        packets = needed(context, packets, wanted)
        if context.name in _INTRA_ONLY:
            packets = [p for p in packets if p.pts in wanted]
    left = set(wanted)
    for packet in (*packets, None):
        if skipping:
            keep = packet is None or packet.pts in wanted
            context.skip_frame = "DEFAULT" if keep else "NONREF"
        try:
            frames = context.decode(packet)
        except av.FFmpegError as error:
            errors.append(str(error))
            continue
        for frame in frames:
            if frame.pts in left:
                left.discard(frame.pts)
                if frame.is_corrupt:
                    errors.append(f"the frame at tick {frame.pts} is corrupt")
                yield frame
        if not left:
            return


def may_skip(context: Any) -> bool:
    """Whether pictures that no other refers to can be left out without any other effect.

    Not for interlaced streams, where a packet may be one field of a frame, nor for HEVC with
    temporal layers, where "not referred to" holds within a layer only.
    """
    if context.name == "mpeg4":
        return True  # both fields are in one picture
    if context.name not in _SKIPPING or context.field_order != _PROGRESSIVE:
        return False
    return context.name != "hevc" or _one_temporal_layer(context.extradata or b"")


def _one_temporal_layer(extradata: bytes) -> bool:
    """hvcC (ISO/IEC 14496-15, 8.3.3.1): configurationVersion 1, numTemporalLayers 1."""
    return len(extradata) > 22 and extradata[0] == 1 and extradata[21] >> 3 & 7 == 1


def decoded_times(context: Any, window: Window) -> list[int]:
    """Presentation times (ticks, ascending) as a full decode gives them."""
    times = set()
    for packet in (*window.video, None):
        try:
            times |= {frame.pts for frame in context.decode(packet)}
        except av.FFmpegError:
            continue  # counted when the wanted frames are decoded
    return sorted(times - {None})


def end_of(times: Sequence[int], packets: Sequence[Any], time_base: Fraction) -> Fraction:
    """Where the last shown frame ends, in seconds on the container's clock."""
    last = times[-1]
    lasts = (p.duration for p in packets if p.pts == last and p.duration)
    steps = (times[-1] - times[0]) // max(len(times) - 1, 1)
    return (last + next(lasts, steps)) * time_base
