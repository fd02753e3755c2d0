"""The wanted frames of a clip: chosen by time, decoded, cut to size, encoded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract import decode as video
from avstore.pipelines.extract import sampling
from avstore.pipelines.extract.decoder_log import complaints, listening
from avstore.pipelines.extract.jpeg import Resizer, encode_jpeg
from avstore.pipelines.extract.open_media import Opened, choose_streams, open_media
from avstore.pipelines.extract.recipe import Recipe
from avstore.pipelines.extract.rejected import Rejected
from avstore.pipelines.extract.window import Window, read_window

LUMA_STEP = 4
Made = tuple[bytes, NDArray[np.uint8]]


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

    The packets' own times tell which. Where they do not, or a wanted frame does not come out, or
    the decoder complains, the clip is decoded in full, twice: for the times, then the frames.

    Raises Rejected: no frame decodes, or frames without times.
    """
    times = video.packet_times(window.video)
    if times and recipe.decoder == "decord":
        return _by_decord(path, opened, window, times, recipe)
    if times:
        found = _decode_chosen(opened, window, times, recipe, sparing=True)
        if found is not None and not found.errors:
            return found
    times = _times_of_full_decode(path, window, recipe)
    with open_media(path) as container:
        again = choose_streams(container, want_audio=False)
        fresh = _same_window(again, window)
        found = _decode_chosen(again, fresh, times, recipe, sparing=False)
    if found is None:
        raise Rejected(Verdict.UNDECODABLE, "a second decode gives other frames than the first")
    return found


def _by_decord(
    path: str, opened: Opened, window: Window, times: Sequence[int], recipe: Recipe
) -> Pictures:
    """The same frames, decoded by decord."""
    from avstore.pipelines.extract.decord_frames import decord_frames  # noqa: PLC0415 - only where asked for

    choice = choose(times, opened, window, recipe)
    base = opened.video.time_base
    resizer = Resizer(recipe.frames, opened.video.codec_context.sample_aspect_ratio)
    ticks = sorted(set(choice.wanted))
    frames = decord_frames(path, [float(t * base) for t in ticks])
    made = {t: _made(f, resizer, recipe) for t, f in zip(ticks, frames, strict=True)}
    return _collected(made, choice, opened, window, rotation=resizer.rotation, errors=())


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
    opened: Opened, window: Window, times: Sequence[int], recipe: Recipe, *, sparing: bool
) -> Pictures | None:
    """The wanted frames, or None if one of them does not come out of the decoder."""
    choice = choose(times, opened, window, recipe)
    wanted, raised = set(choice.wanted), list[str]()
    context = opened.video.codec_context
    resizer = Resizer(recipe.frames, context.sample_aspect_ratio)
    made: dict[int, Made] = {}
    with listening() as log:
        for frame in video.decode_wanted(context, window.video, wanted, raised, sparing):
            made[frame.pts] = _made(frame, resizer, recipe)
    if len(made) < len(wanted):
        return None
    errors = complaints(log, raised)
    return _collected(made, choice, opened, window, rotation=resizer.rotation, errors=errors)


def _made(frame: Any, resizer: Resizer, recipe: Recipe) -> Made:
    """A frame's JPEG, and every fourth of its luma pixels each way."""
    planes = resizer.planes(frame)
    luma = planes[0][::LUMA_STEP, ::LUMA_STEP].copy()
    return encode_jpeg(planes, recipe.frames.quality), luma


def _collected(
    made: Mapping[int, Made],
    choice: Choice,
    opened: Opened,
    window: Window,
    *,
    rotation: int,
    errors: tuple[str, ...],
) -> Pictures:
    base, origin = opened.video.time_base, window.origin
    return Pictures(
        tuple(made[t][0] for t in choice.wanted),
        tuple(float(t * base - origin) for t in choice.wanted),
        tuple(made[t][1] for t in choice.wanted),
        float(choice.times[0] * base - origin),
        float(video.end_of(choice.times, window.video, base) - origin),
        rotation,
        errors,
    )


def choose(times: Sequence[int], opened: Opened, window: Window, recipe: Recipe) -> Choice:
    """Which of the clip's frames a recipe wants. Raises Rejected where the clip has none."""
    base = opened.video.time_base
    end = (window.origin + window.duration) / base
    inside = [t for t in times if t < end]
    if not inside:
        raise Rejected(Verdict.TOO_SHORT, "the video has no frame within the clip's seconds")
    pick = sampling.published if recipe.fidelity == "published" else sampling.strict
    picked = pick(recipe.frames, inside, window.origin, window.duration, base)
    return Choice(tuple(inside), tuple(inside[i] for i in picked))
