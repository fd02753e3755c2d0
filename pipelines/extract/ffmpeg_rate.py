"""Change a frame rate as the program ffmpeg does: its filter `fps`, and its output option `-r`.

Frames keep their order and are repeated or left out. All functions are pure and return positions
in the given frames. They were compared frame for frame with the program (9.0.2; -r also 5.1).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

_TOO_EARLY, _TOO_LATE = -1.1, 1.1
_REPEAT_MARGIN = 0.6
_OFF_MIDPOINT = 2.0**-17


@dataclass(frozen=True)
class TimedFrame:
    """Place a frame on the output's clock.

    Attributes:
        index: Its position in the source.
        start: Start in output frames; 0 is the start of the file.
        duration: Duration in output frames.
    """

    index: int
    start: Fraction
    duration: Fraction


def timed_frames(
    times: Sequence[int],
    durations: Mapping[int, int],
    origin: Fraction,
    base: Fraction,
    rate: Fraction,
) -> list[TimedFrame]:
    """Place frames on the clock of an output of `rate` frames per second.

    Args:
        times: Presentation times in ticks, ascending.
        durations: Declared durations in ticks, by presentation time.
        origin: Start of the file on the container's clock, in seconds.
        base: Seconds per tick.
        rate: Frames per second of the output.
    """
    start = _nearest(origin / base)
    lasting = _durations(times, durations)
    return [
        TimedFrame(i, (t - start) * base * rate, d * base * rate)
        for i, (t, d) in enumerate(zip(times, lasting, strict=True))
    ]


def fps_filter(frames: Sequence[TimedFrame]) -> list[TimedFrame]:
    """Return the output of the filter: each frame goes to its nearest slot.

    A slot shows the last frame whose nearest slot is no later. Slots end where the last frame does,
    rounded likewise.
    """
    slots = [_nearest(frame.start) for frame in frames]
    end = _nearest(frames[-1].start + frames[-1].duration)
    output, shown = [], 0
    for slot in range(slots[0], end):
        while shown + 1 < len(slots) and slots[shown + 1] <= slot:
            shown += 1
        output.append(TimedFrame(frames[shown].index, Fraction(slot), Fraction(1)))
    return output


def constant_rate(frames: Sequence[TimedFrame], *, only_stream: bool = False) -> list[int]:
    """Return the source positions of an output of constant rate, as `-r` makes one.

    Args:
        frames: The frames on the output's clock.
        only_stream: Whether the file has no other stream: then nothing fills the time before the
            first frame.
    """
    output: list[int] = []
    repeats = [0, 0, 0]
    pictures, previous = 0, frames[0].index
    for frame in frames:
        start, duration = _start(frame), float(frame.duration)
        if only_stream and frame is frames[0] and start >= 0.5:
            pictures = round(start)
            start = float(pictures)
        late = start - pictures
        end = late + duration
        if late < 0 < end:
            late = 0.0
        before, now = _copies(late, end)
        output += [previous] * before + [frame.index] * (now - before)
        pictures += now
        previous, repeats = frame.index, [before, *repeats[:2]]
    return output + [previous] * sorted(repeats)[1]


def _copies(late: float, end: float) -> tuple[int, int]:
    """Return how many pictures a frame adds: of its predecessor, and in all.

    Args:
        late: Start of the frame after the next picture's time, in pictures.
        end: End of the frame after it.
    """
    if end < _TOO_EARLY:
        return 0, 0
    if end <= _TOO_LATE:
        return 0, 1
    return round(late - _REPEAT_MARGIN) if late > _TOO_LATE else 0, round(end)


def _start(frame: TimedFrame) -> float:
    """Return a frame's start, moved off the midpoints between whole numbers as the program does."""
    start = float(frame.start)
    if start == round(start):
        return start
    return start + (_OFF_MIDPOINT if start > 0 else -_OFF_MIDPOINT)


def _durations(times: Sequence[int], declared: Mapping[int, int]) -> Iterator[int]:
    """Yield each frame's duration in ticks: the declared one, else the distance from the last.

    A declared single tick is no duration if frames are more than two ticks apart.
    """
    for i, time in enumerate(times):
        duration = declared.get(time, 0)
        step = time - times[i - 1] if i else 0
        if duration > 1 or (duration == 1 and step <= 2):
            yield duration
        else:
            yield step or duration or 1


def _nearest(value: Fraction) -> int:
    """Round to the nearest whole number, halves away from zero."""
    return floor(value + Fraction(1, 2)) if value >= 0 else -floor(Fraction(1, 2) - value)
