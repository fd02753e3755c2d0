"""The wanted frames of a clip: chosen by time, decoded, cut to size, encoded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manifests.verdicts import Verdict
from pipelines.extract import sampling, video
from pipelines.extract.picture import encode_jpeg, frame_geometry, small_planes
from pipelines.extract.rejected import Rejected
from pipelines.extract.source import Opened, choose_streams, open_media
from pipelines.extract.window import Window, read_window
from pipelines.recipe import Recipe

LUMA_STEP = 4


@dataclass(frozen=True)
class Pictures:
    """jpegs, times, lumas: one each per stored frame (times: seconds from the clip's start;
    lumas: every fourth pixel each way). start, end: of the video within the clip, seconds.
    rotation: degrees counterclockwise that the picture is turned for display.
    """

    jpegs: tuple[bytes, ...]
    times: tuple[float, ...]
    lumas: tuple[NDArray[np.uint8], ...]
    start: float
    end: float
    rotation: int
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """Presentation times (ticks, ascending) of a clip's frames, and those wanted, in order."""

    times: tuple[int, ...]
    wanted: tuple[int, ...]


def decode_pictures(path: str, opened: Opened, window: Window, recipe: Recipe) -> Pictures:
    """The frames that a recipe wants of a window.

    The packets' own times tell which; where they do not, or a wanted frame does not come out,
    the times of a full decode do.

    Raises Rejected: no frame decodes, or frames without times.
    """
    times = video.packet_times(window.video)
    if times:
        found = _decode_chosen(opened, window, times, recipe)
        if found is not None:
            return found
    times = _times_of_full_decode(path, window, recipe)
    with open_media(path) as container:
        again = choose_streams(container, want_audio=False)
        fresh = _same_window(again, window)
        found = _decode_chosen(again, fresh, times, recipe)
    if found is None:
        raise Rejected(Verdict.UNDECODABLE, "a second decode gives other frames than the first")
    return found


def _times_of_full_decode(path: str, window: Window, recipe: Recipe) -> list[int]:
    with open_media(path) as container:
        again = choose_streams(container, want_audio=False)
        fresh = _same_window(again, window)
        times = video.decoded_times(again.video.codec_context, fresh)
    if not times:
        detail = f"no frame of {len(window.video)} packets decodes"
        raise Rejected(Verdict.UNDECODABLE, detail)
    return times


def _same_window(opened: Opened, window: Window) -> Window:
    offset = window.origin - opened.start
    return read_window(opened, offset, window.duration)


def _decode_chosen(
    opened: Opened, window: Window, times: Sequence[int], recipe: Recipe
) -> Pictures | None:
    """The wanted frames, or None if one of them does not come out of the decoder."""
    choice = choose(times, opened, window, recipe)
    wanted, errors = set(choice.wanted), list[str]()
    context = opened.video.codec_context
    made: dict[int, tuple[bytes, NDArray[np.uint8]]] = {}
    rotation = 0
    geometry, shape = None, None
    for frame in video.decode(context, window.video, errors):
        if frame.pts not in wanted or frame.pts in made:
            continue
        if geometry is None or shape != (frame.width, frame.height):
            geometry = frame_geometry(frame, recipe.frames, context.sample_aspect_ratio)
            shape = (frame.width, frame.height)
            rotation = geometry.turns * 90
        planes = small_planes(frame, geometry, context.name)
        luma = planes[0][::LUMA_STEP, ::LUMA_STEP].copy()
        made[frame.pts] = (encode_jpeg(planes, recipe.frames.quality), luma)
        if frame.is_corrupt:
            errors.append(f"a corrupt frame at tick {frame.pts}")
        if len(made) == len(wanted):
            break
    if len(made) < len(wanted):
        return None
    base, origin = opened.video.time_base, window.origin
    return Pictures(
        tuple(made[t][0] for t in choice.wanted),
        tuple(float(t * base - origin) for t in choice.wanted),
        tuple(made[t][1] for t in choice.wanted),
        float(choice.times[0] * base - origin),
        float(video.span(choice.times, window.video, base) - origin),
        rotation,
        tuple(errors),
    )


def choose(times: Sequence[int], opened: Opened, window: Window, recipe: Recipe) -> Choice:
    """Which of the clip's frames a recipe wants."""
    stream, base = opened.video, opened.video.time_base
    end = (window.origin + window.duration) / base
    # A frame from before the start is still on screen at the start.
    inside = [t for t in times if t < end]
    on_clock = [t * base - window.origin for t in inside]
    if not inside:
        raise Rejected(Verdict.TOO_SHORT, "the video has no frame within the clip's seconds")
    wanted = sampling.instants(recipe.frames, float(window.duration))
    if recipe.fidelity == "published":
        fps = float(stream.average_rate or 0)
        first = sum(t < 0 for t in on_clock)
        total = min(len(inside) - first, int(fps * float(window.duration)))
        picked = sampling.published(recipe.frames, on_clock[first:], wanted, total)
        picked = [first + i for i in picked]
    else:
        picked = sampling.shown_at(on_clock, wanted)
    return Choice(tuple(inside), tuple(inside[i] for i in picked))
