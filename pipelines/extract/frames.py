"""Select a clip's frames by time, decode them, resize them, and encode them as JPEG."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.coverage import Span, picture_spans
from avstore.pipelines.extract.decode import (
    decode_in_order,
    decode_wanted,
    end_of_video,
)
from avstore.pipelines.extract.decoder_log import DecoderLog, decode_errors, record_decoder_log
from avstore.pipelines.extract.jpeg import Resizer, encode_jpeg
from avstore.pipelines.extract.open_media import (
    OpenedMedia,
    open_media,
    require_allowed_codec,
    select_streams,
)
from avstore.pipelines.extract.picture_times import (
    PictureTimes,
    times_of_full_decode,
    times_of_packets,
)
from avstore.pipelines.extract.published import published_indices
from avstore.pipelines.extract.recipe import Recipe, RecipeError
from avstore.pipelines.extract.records import Rejected
from avstore.pipelines.extract.sampling import strict_indices
from avstore.pipelines.extract.window import Window, read_window

LUMA_STEP = 4
"""Quality signals use every fourth luma pixel in each direction."""

DECORD_TOLERANCE_S = 0.005

DECORD_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"}
"""Formats in which decord's frames are those at their times, if the packets have such times.

In MPEG streams and FLV its seeks end at other frames.
"""

_NO_DECORD = "decord does not find frames by time in this file ({}): use decoder = 'pyav'"

_StoredFrame = tuple[bytes, NDArray[np.uint8]]


@dataclass(frozen=True)
class DecodedFrames:
    """Hold a clip's frames as they are stored.

    Attributes:
        jpegs: One JPEG per stored frame.
        times: Presentation time of each, in seconds from the clip's start.
        lumas: Every fourth luma pixel of each, (height, width).
        start: Start of the video within the clip, in seconds.
        spans: Stretches of the clip without a hole in the video, in seconds.
        repeated: Number of frames that repeat the frame before them.
        rotation: Degrees counterclockwise by which the picture is turned for display.
        errors: Messages of the decoder.
    """

    jpegs: tuple[bytes, ...]
    times: tuple[float, ...]
    lumas: tuple[NDArray[np.uint8], ...]
    start: float
    spans: tuple[Span, ...]
    repeated: int
    rotation: int
    errors: tuple[str, ...]


@dataclass(frozen=True)
class FrameSelection:
    """Hold the presentation times of a clip's frames, in ticks.

    Attributes:
        times: All of them, ascending.
        wanted: Those that the recipe wants, in order, repeats included.
    """

    times: tuple[int, ...]
    wanted: tuple[int, ...]


def decode_frames(path: str, opened: OpenedMedia, window: Window, recipe: Recipe) -> DecodedFrames:
    """Decode the frames that a recipe wants of a window.

    The packets' own times select them. If the packets do not determine the times, if a wanted
    frame does not come out, or if the decoder reports an error, the clip is decoded in full,
    twice: once for the times, once for the frames.

    Raises:
        Rejected: No frame decodes, or the frames have no times.
    """
    delayed = _is_delayed(opened, recipe)
    times = times_of_packets(window, delayed=delayed)
    if recipe.decoder == "decord":
        if times is None or times.decoded or opened.container.format.name not in DECORD_FORMATS:
            detail = _NO_DECORD.format(opened.container.format.name)
            raise Rejected(Verdict.UNDECODABLE, detail, by_policy=True)
        return _decode_by_decord(path, opened, window, times.shown, recipe)
    if times:
        frames = _decode_selected(path, opened, window, times, recipe)
        if frames is not None and not frames.errors:
            return frames
    times = _times_of_full_decode(path, window, delayed=delayed)
    with open_media(path) as container:
        reopened = select_streams(container, require_audio=False)
        frames = _decode_selected(path, reopened, _reread(reopened, window), times, recipe)
    if frames is None:
        raise Rejected(Verdict.UNDECODABLE, "a second decode gives other frames than the first")
    return frames


def select_frames(
    path: str, times: Sequence[int], opened: OpenedMedia, window: Window, recipe: Recipe
) -> FrameSelection:
    """Select the frames that a recipe wants of a clip.

    Raises:
        Rejected: No frame is within the clip's seconds.
    """
    base = opened.video.time_base
    published = recipe.fidelity == "published"
    end = (window.end if published else window.origin + window.duration) / base
    inside = [t for t in times if t < end]
    if not inside:
        raise Rejected(Verdict.TOO_SHORT, "the video has no frame within the clip's seconds")
    if published:
        indices = published_indices(path, opened, window, inside, recipe.frames)
    else:
        indices = strict_indices(recipe.frames, inside, window.origin, window.duration, base)
    return FrameSelection(tuple(inside), tuple(inside[i] for i in indices))


def _decode_selected(
    path: str,
    opened: OpenedMedia,
    window: Window,
    times: PictureTimes,
    recipe: Recipe,
) -> DecodedFrames | None:
    """Decode the wanted frames; return None if one of them does not come out of the decoder."""
    selection = select_frames(path, times.shown, opened, window, recipe)
    wanted, exceptions = set(selection.wanted), list[str]()
    context = opened.video.codec_context
    resizer = Resizer(recipe.frames, context.sample_aspect_ratio)
    stored: dict[int, _StoredFrame] = {}
    with record_decoder_log() as log:
        for time, frame in _wanted_frames(context, window, times, wanted, exceptions, log):
            stored[time] = _encode(frame, resizer, recipe)
    if len(stored) < len(wanted):
        return None
    errors = decode_errors(log, exceptions)
    return _collect(stored, selection, opened, window, rotation=resizer.rotation, errors=errors)


def _is_delayed(opened: OpenedMedia, recipe: Recipe) -> bool:
    """Return whether times in coded order are those at which the decoder gives a picture.

    In ASF they are: its other streams have the same clock. In AVI the first picture is shown with
    the first sound, but FFmpeg's programs delay it, and with them released preparations.
    """
    return opened.container.format.name == "asf" or recipe.fidelity == "published"


def _wanted_frames(
    context: Any,
    window: Window,
    times: PictureTimes,
    wanted: Set[int],
    errors: list[str],
    log: DecoderLog,
) -> Iterator[tuple[int, Any]]:
    """Yield the wanted frames with their times, by a full decode where only that gives times."""
    if times.decoded is not None:
        return decode_in_order(context, window.video, times.decoded, wanted, errors, log)
    frames = decode_wanted(context, window.video, wanted, errors)
    return ((frame.pts, frame) for frame in frames)


def _times_of_full_decode(path: str, window: Window, *, delayed: bool) -> PictureTimes:
    """Return the presentation times of a full decode of the file, opened again."""
    with open_media(path) as container:
        reopened = select_streams(container, require_audio=False)
        times = times_of_full_decode(reopened.video, _reread(reopened, window), delayed=delayed)
    if times is None:
        detail = f"no frame of {len(window.video)} packets decodes"
        raise Rejected(Verdict.UNDECODABLE, detail)
    return times


def _reread(opened: OpenedMedia, window: Window) -> Window:
    """Read the same window from a file that was opened again."""
    offset = window.origin - opened.start
    return read_window(opened, offset, window.duration, whole_file=window.whole_file)


def _encode(frame: Any, resizer: Resizer, recipe: Recipe) -> _StoredFrame:
    """Return a frame's JPEG and its subsampled luma."""
    planes = resizer.planes(frame)
    luma = planes[0][::LUMA_STEP, ::LUMA_STEP].copy()
    return encode_jpeg(planes, recipe.frames.quality), luma


def _collect(
    stored: Mapping[int, _StoredFrame],
    selection: FrameSelection,
    opened: OpenedMedia,
    window: Window,
    *,
    rotation: int,
    errors: tuple[str, ...],
) -> DecodedFrames:
    """Arrange stored frames, by their tick, in the selection's order."""
    base, origin = opened.video.time_base, window.origin
    tick, start = float(base), float(origin)
    seconds = [t * tick - start for t in selection.times]  # fractions would take a millisecond
    end = float(end_of_video(selection.times, window.video, base) - origin)
    return DecodedFrames(
        tuple(stored[t][0] for t in selection.wanted),
        tuple(float(t * base - origin) for t in selection.wanted),
        tuple(stored[t][1] for t in selection.wanted),
        float(selection.times[0] * base - origin),
        picture_spans(seconds, end),
        sum(a == b for a, b in pairwise(selection.wanted)),
        rotation,
        errors,
    )


def _decode_by_decord(
    path: str, opened: OpenedMedia, window: Window, times: Sequence[int], recipe: Recipe
) -> DecodedFrames:
    """Decode the same frames by decord, which selects a video stream of its own."""
    for stream in opened.container.streams.video:
        require_allowed_codec(stream)
    selection = select_frames(path, times, opened, window, recipe)
    base = opened.video.time_base
    resizer = Resizer(recipe.frames, opened.video.codec_context.sample_aspect_ratio)
    ticks = sorted(set(selection.wanted))
    frames = decord_frames(path, [float(t * base) for t in ticks])
    stored = {t: _encode(f, resizer, recipe) for t, f in zip(ticks, frames, strict=True)}
    return _collect(stored, selection, opened, window, rotation=resizer.rotation, errors=())


def decord_frames(path: str, times: Sequence[float]) -> Iterator[av.VideoFrame]:
    """Decode frames by decord instead of PyAV, as RGB, for comparison.

    decord opens the file without lists of allowed demuxers and decoders. Give it only files that
    `open_media` accepted before, and all of whose video streams have an allowed codec.

    Args:
        path: A local file.
        times: Presentation times, ascending, in seconds on the container's clock.

    Raises:
        RecipeError: decord is not installed.
        Rejected: decord cannot read the file, or has no frame at one of the times.
    """
    try:
        import decord  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise RecipeError("decoder = 'decord' needs the package decord") from error
    try:
        reader = decord.VideoReader(path, num_threads=1)
        starts = np.asarray(reader.get_frame_timestamp(np.arange(len(reader))))[:, 0]
        for time in times:
            index = int(np.argmin(np.abs(starts - time)))
            if abs(starts[index] - time) > DECORD_TOLERANCE_S:
                detail = f"decord has no frame at {time:.3f} s, the nearest is at"
                raise Rejected(Verdict.UNDECODABLE, f"{detail} {starts[index]:.3f} s")
            yield av.VideoFrame.from_ndarray(reader[index].asnumpy(), format="rgb24")
    except decord.DECORDError as error:
        lines = str(error).strip().splitlines()
        raise Rejected(Verdict.UNDECODABLE, f"decord: {lines[-1] if lines else error}") from error
