"""Decode the wanted frames of a window, each exactly as a full decode gives it.

Packets that no wanted frame depends on are left out in two ways: `needed_packets` drops the ends
of closed groups of pictures, and the decoder itself skips single pictures that no other refers to.
"""

from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any

import av

from avstore.pipelines.extract.decoder_log import DecoderLog
from avstore.pipelines.extract.picture_times import packet_times

_INTRA_ONLY = {"mjpeg", "prores", "rawvideo", "png"}
# Decoders that can skip a picture that no other refers to without changing another picture. VP8,
# VP9 and AV1 are not among them: a skipped picture changes entropy contexts and motion vectors of
# the next.
_CAN_SKIP = {"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"}
_CLOSED_GROUPS = {"h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4"}
_PROGRESSIVE = 1
_H264_IDR = 5


def decode_wanted(
    context: Any,
    packets: Sequence[Any],
    wanted: Collection[int],
    errors: list[str],
    *,
    skip: bool = True,
) -> Iterator[Any]:
    """Yield the frames with the wanted presentation times, each once, and stop after the last.

    Args:
        context: The codec context.
        packets: Packets in stream order.
        wanted: Presentation times in ticks.
        errors: Receives the messages of decoding errors.
        skip: Leave out packets and pictures that no wanted frame depends on.
    """
    skip_pictures = skip and can_skip(context)
    if skip and packet_times(packets) is not None:
        packets = needed_packets(context, packets, wanted)
        if context.name in _INTRA_ONLY:
            packets = [p for p in packets if p.pts in wanted]
    remaining = set(wanted)
    for packet in (*packets, None):
        if skip_pictures:
            keep = packet is None or packet.pts in wanted
            context.skip_frame = "DEFAULT" if keep else "NONREF"
        try:
            frames = context.decode(packet)
        except av.FFmpegError as error:
            errors.append(str(error))
            continue
        for frame in frames:
            if frame.pts in remaining:
                remaining.discard(frame.pts)
                if frame.is_corrupt:
                    errors.append(f"the frame at tick {frame.pts} is corrupt")
                yield frame
        if not remaining:
            return


def decode_in_order(
    context: Any,
    packets: Sequence[Any],
    times: Sequence[int],
    wanted: Collection[int],
    errors: list[str],
    log: DecoderLog,
) -> Iterator[tuple[int, Any]]:
    """Yield the wanted pictures of a full decode, each with its time.

    Errors before the first wanted picture are left out: after a seek into an open group, pictures
    before the clip refer to others that were not read.

    Args:
        context: The codec context.
        packets: Packets in stream order.
        times: Time of each picture in ticks, in the order in which the decoder gives them.
        wanted: Times in ticks.
        errors: Receives the messages of decoding errors; also if the number of pictures differs.
        log: The log that is recorded.
    """
    remaining, first, count = set(wanted), min(wanted), 0
    for packet in (*packets, None):
        try:
            frames = context.decode(packet)
        except av.FFmpegError as error:
            errors.append(str(error))
            continue
        for frame in frames:
            time = times[min(count, len(times) - 1)]
            count += 1
            if time < first:
                errors.clear()
                log.clear()
            if time in remaining:
                remaining.discard(time)
                if frame.is_corrupt:
                    errors.append(f"the frame at tick {time} is corrupt")
                yield time, frame
    if count != len(times):
        errors.append(f"{count} pictures come out of the decoder, not {len(times)}")


def can_skip(context: Any) -> bool:
    """Return whether skipping pictures that no other refers to leaves all others unchanged.

    False for interlaced streams, where a packet can be one field of a frame, and for HEVC with
    temporal layers, where "not referred to" holds within a layer only.
    """
    if context.name == "mpeg4":
        return True  # both fields are in one picture
    if context.name not in _CAN_SKIP or context.field_order != _PROGRESSIVE:
        return False
    return context.name != "hevc" or _one_temporal_layer(context.extradata or b"")


def _one_temporal_layer(extradata: bytes) -> bool:
    """Read hvcC (ISO/IEC 14496-15, 8.3.3.1): configurationVersion 1, numTemporalLayers 1."""
    return len(extradata) > 22 and extradata[0] == 1 and extradata[21] >> 3 & 7 == 1


def needed_packets(context: Any, packets: Sequence[Any], wanted: Collection[int]) -> list[Any]:
    """Drop the end of each closed group of pictures, after its last wanted picture.

    Args:
        context: The codec context.
        packets: Packets in stream order, with distinct presentation times.
        wanted: Presentation times in ticks.
    """
    cuts = _closed_starts(context, packets)
    kept: list[Any] = []
    for start, end in zip(cuts, [*cuts[1:], len(packets)], strict=True):
        group = packets[start:end]
        last = max((i for i, p in enumerate(group) if p.pts in wanted), default=-1)
        kept += group[: last + 1]
    return kept


def _closed_starts(context: Any, packets: Sequence[Any]) -> list[int]:
    """Return 0 and the positions of keyframes that start a closed group of pictures.

    All packets before such a keyframe are shown before it and all after it are shown after it.
    In H.264 it is also an IDR picture, not just a recovery point.
    """
    if context.name not in _CLOSED_GROUPS:
        return [0]
    times = [p.pts for p in packets]
    before = [*accumulate(times, max)]
    after = [*accumulate(reversed(times), min)][::-1]
    extradata = context.extradata or b""
    return [0] + [
        i
        for i in range(1, len(packets))
        if packets[i].is_keyframe
        and before[i - 1] < times[i] <= after[i]
        and (context.name != "h264" or _H264_IDR in _nal_types(bytes(packets[i]), extradata))
    ]


def _nal_types(data: bytes, extradata: bytes) -> Iterator[int]:
    """Yield the types of an H.264 packet's NAL units, as in MP4 (lengths) or a byte stream."""
    at = 0
    if extradata[:1] == b"\x01" and len(extradata) > 4:  # avcC (ISO/IEC 14496-15, 5.3.3.1)
        prefix = (extradata[4] & 3) + 1
        while at + prefix < len(data):
            yield data[at + prefix] & 31
            at += prefix + int.from_bytes(data[at : at + prefix], "big")
        return
    while (at := data.find(b"\x00\x00\x01", at)) >= 0 and at + 3 < len(data):
        yield data[at + 3] & 31
        at += 3


def end_of_video(times: Sequence[int], packets: Sequence[Any], time_base: Fraction) -> Fraction:
    """Return when the last shown frame ends, in seconds on the container's clock."""
    last = times[-1]
    durations = (p.duration for p in packets if p.pts == last and p.duration)
    mean_step = (times[-1] - times[0]) // max(len(times) - 1, 1)
    return (last + next(durations, mean_step)) * time_base
