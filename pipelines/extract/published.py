"""Select the frames that released scripts take, from the facts that their programs use."""

from collections.abc import Sequence
from fractions import Fraction

import av
from av.format import Flags

from avstore.pipelines.extract import opencv_seek
from avstore.pipelines.extract.ffmpeg_rate import constant_rate, fps_filter, timed_frames
from avstore.pipelines.extract.open_media import OpenedMedia
from avstore.pipelines.extract.recipe_sections import FrameSettings
from avstore.pipelines.extract.sampling import exact_seconds
from avstore.pipelines.extract.window import Window


def published_indices(
    path: str, opened: OpenedMedia, window: Window, times: Sequence[int], frames: FrameSettings
) -> list[int]:
    """Return the index of each frame that the released script takes.

    Released scripts read files that a downloader cut. If the clip is a part of a longer file, they
    are given the frames within the clip's seconds.

    Args:
        path: A local file.
        opened: The open file.
        window: The clip's packets.
        times: Presentation times of the video in ticks, ascending.
        frames: The recipe's sampling.
    """
    base = opened.video.time_base
    skipped = 0 if window.whole_file else sum(t < window.origin / base for t in times)
    given = times[min(skipped, len(times) - 1) :]
    if frames.rule == "opencv":
        indices = _opencv(path, opened, window, given, frames.count or 1)
    else:
        indices = _ffmpeg(opened, window, given, frames)
    return [len(times) - len(given) + i for i in indices]


def _opencv(
    path: str, opened: OpenedMedia, window: Window, times: Sequence[int], count: int
) -> list[int]:
    """Return the frames of STELLA's and CAV-MAE's scripts.

    Of min(frame count, int(rate * duration)) frames, they seek number int(i * total / count) - 1
    (extract_video_frame in G-JWLee/STELLA_code and YuanGongND/cav-mae).
    """
    rate = opencv_seek.frame_rate(opened)
    total = int(rate * float(window.duration)) if rate else len(times)
    if not window.whole_file or not rate:
        numbers = opencv_seek.sought_numbers(count, min(len(times), total))
        return [max(n, 0) for n in numbers]
    declared = opencv_seek.frame_count(opened)
    numbers = opencv_seek.sought_numbers(
        count, min(len(times) if declared is None else declared, total)
    )
    return opencv_seek.sought_indices(path, opened, times, numbers)


def _ffmpeg(
    opened: OpenedMedia, window: Window, times: Sequence[int], frames: FrameSettings
) -> list[int]:
    """Return the frames of a command with the filter `fps` (UAVM) or the option `-r` (VALOR, LLP).

    The program makes the output's rate constant after the filter as well.
    """
    origin = _start_of_video(opened) if window.whole_file else window.origin
    durations = {p.pts: p.duration for p in window.video if p.pts is not None and p.duration}
    rate = exact_seconds(frames.rate or 1.0)
    timed = timed_frames(times, durations, origin, opened.video.time_base, rate)
    if frames.rule == "fps_filter":
        timed = fps_filter(timed) or timed[:1]
    return constant_rate(timed, only_stream=len(opened.container.streams) == 1)


def _start_of_video(opened: OpenedMedia) -> Fraction:
    """Return where the program's clock starts: with the file, or in an MPEG stream with the video.

    Of formats whose clock may jump, it counts the streams alone that the command uses.
    """
    video = opened.video
    if opened.container.format.flags & Flags.ts_discont.value and video.start_time is not None:
        return Fraction(video.start_time * video.time_base)
    return Fraction(opened.container.start_time or 0, av.time_base)
