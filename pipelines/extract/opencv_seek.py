"""Find the frame that OpenCV gives after a seek to a frame number.

OpenCV does not count frames: it seeks some frames back by time, converts the time of the frame that
it meets to a number by the average rate, and reads on from there. The result is the frame with that
number if the rate is constant, except in MPEG transport streams. Otherwise it depends on where a
seek ends, so the seeks are made here as well. Compared with OpenCV 5.0.0 frame by frame.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

import av

from avstore.pipelines.extract.open_media import OpenedMedia, open_media, select_streams

_FIRST_STEP_BACK = 16
_MAX_STEP_BACK = 1 << 29


def frame_rate(opened: OpenedMedia) -> float:
    """Return CAP_PROP_FPS: the average rate of the video stream in frames per second, or 0."""
    rate = opened.video.average_rate or opened.video.guessed_rate
    return float(rate) if rate else 0.0


def frame_count(opened: OpenedMedia) -> int | None:
    """Return CAP_PROP_FRAME_COUNT: the declared number, else duration times rate; None without."""
    if opened.video.frames:
        return int(opened.video.frames)
    if opened.container.duration:
        seconds = opened.container.duration / av.time_base
    elif opened.video.duration:
        seconds = opened.video.duration * float(opened.video.time_base)
    else:
        return None
    return int(seconds * frame_rate(opened) + 0.5)


def sought_numbers(count: int, total: int) -> list[int]:
    """Return the frame numbers that the released scripts seek: int(i * total / count) - 1."""
    return [int(i * (total / count)) - 1 for i in range(count)]


def sought_indices(
    path: str, opened: OpenedMedia, times: Sequence[int], numbers: Sequence[int]
) -> list[int]:
    """Return the index of the frame that OpenCV reads after a seek to each frame number.

    Where it reads past the end of the file, which loses the clip upstream, it is the last frame.

    Args:
        path: A local file that is the clip.
        opened: The open file.
        times: Presentation times of all its frames in ticks, ascending.
        numbers: Frame numbers, at most the frame count.
    """
    number = _numbering(opened)
    seeks_exactly = opened.container.format.name != "mpegts"
    if seeks_exactly and all(number(time) == i for i, time in enumerate(times)):
        indices = [max(n, 0) for n in numbers]
    else:
        with open_media(path) as container:
            reopened = select_streams(container, sound=None)
            indices = [_Seeker(reopened, times).index_after(n) for n in numbers]
    return [min(i, len(times) - 1) for i in indices]


def _numbering(opened: OpenedMedia) -> Callable[[int], int]:
    """Return OpenCV's conversion of a presentation time to a frame number."""
    rate, start = frame_rate(opened), opened.video.start_time or 0
    tick = float(opened.video.time_base)
    return lambda time: int(rate * ((time - start) * tick) + 0.5)


class _Seeker:
    """Seek in a file as OpenCV does."""

    def __init__(self, opened: OpenedMedia, times: Sequence[int]) -> None:
        self._opened = opened
        self._times = times
        self._number = _numbering(opened)
        self._first = self._number(times[0])
        self._met: dict[int, int] = {}
        self._decoded: dict[int, int] = {}

    def index_after(self, number: int) -> int:
        """Return the index of the frame that is read after a seek to a frame number."""
        if number <= 0:
            return self._index_met(0)
        step = _FIRST_STEP_BACK
        while True:
            target = max(number - step, 0)
            index = self._index_met(target)
            if number == 1 or index >= len(self._times):
                return index + 1
            found = self._number(self._times[index]) - self._first
            if 0 <= found < number:
                return index + number - found
            if target == 0 or step >= _MAX_STEP_BACK:
                return index + 1
            step = step * 3 // 2

    def _index_met(self, number: int) -> int:
        """Return the index of the first frame that decodes after a seek to a number's time."""
        if number not in self._met:
            video = self._opened.video
            rate, tick = frame_rate(self._opened), float(video.time_base)
            stamp = (video.start_time or 0) + int(number / rate / tick + 0.5)
            try:
                self._opened.container.seek(stamp, stream=video, backward=True)
                self._met[number] = self._first_decoded()
            except (av.FFmpegError, IndexError):  # PyAV raises IndexError for a late stream
                self._met[number] = len(self._times)
        return self._met[number]

    def _first_decoded(self) -> int:
        """Return the index of the first frame that decodes from here; the end without one."""
        video = self._opened.video
        video.codec_context.flush_buffers()
        keyframe = None
        for packet in self._opened.container.demux(video):
            if keyframe is None and packet.dts is not None:
                keyframe = packet.dts
                if keyframe in self._decoded:
                    return self._decoded[keyframe]
            for frame in _frames(video.codec_context, packet):
                time = frame.dts if frame.pts is None else frame.pts
                if time is not None:
                    index = bisect_left(self._times, time)
                    if keyframe is not None:
                        self._decoded[keyframe] = index
                    return index
        return len(self._times)


def _frames(context: Any, packet: Any) -> Sequence[Any]:
    """Decode a packet; none come out of a damaged one."""
    try:
        decoded: Sequence[Any] = context.decode(packet)
    except av.FFmpegError:
        return ()
    return decoded
