"""Select a clip's pictures by time, decode them, and hand them to what stores them."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from av.codec.hwaccel import HWAccel

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.colour import Plane
from avstore.pipelines.extract.coverage import Span, picture_spans
from avstore.pipelines.extract.decode import (
    decode_in_order,
    decode_wanted,
    end_of_video,
)
from avstore.pipelines.extract.decoder_log import DecoderLog, decode_errors, record_decoder_log
from avstore.pipelines.extract.decord_frames import DECORD_FORMATS, decord_frames
from avstore.pipelines.extract.moving_pictures import MovingPictures
from avstore.pipelines.extract.nvdec import device_of
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
from avstore.pipelines.extract.recipe import Recipe
from avstore.pipelines.extract.records import Rejected
from avstore.pipelines.extract.sampling import sample_instants, strict_indices, video_instants
from avstore.pipelines.extract.stored_frames import StoredFrames
from avstore.pipelines.extract.video import EncodedVideo
from avstore.pipelines.extract.window import Window, read_window

_NO_DECORD = "decord does not find frames by time in this file ({}): use decoder = 'pyav'"


@dataclass(frozen=True)
class DecodedPictures:
    """Hold a clip's pictures as they are stored.

    Attributes:
        jpegs: One JPEG per stored frame.
        times: Presentation time of each, in seconds from the clip's start.
        video: The stored moving pictures, if the recipe has any.
        lumas: Every fourth luma pixel of the stored pictures, (height, width) each: of all frames,
            or of at most 100 moving pictures.
        start: Start of the video within the clip, in seconds.
        spans: Stretches of the clip without a hole in the video, in seconds.
        repeated: Number of stored pictures that repeat the one before them.
        rotation: Degrees counterclockwise by which the picture is turned for display.
        errors: Messages of the decoder.
    """

    jpegs: tuple[bytes, ...]
    times: tuple[float, ...]
    video: EncodedVideo | None
    lumas: tuple[Plane, ...]
    start: float
    spans: tuple[Span, ...]
    repeated: int
    rotation: int
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """Hold the presentation times of a clip's pictures, in ticks.

    Attributes:
        times: All of them, ascending.
        frames: Those that are stored as frames, in order, repeats included.
        video: The same for moving pictures.
    """

    times: tuple[int, ...]
    frames: tuple[int, ...]
    video: tuple[int, ...]

    @property
    def wanted(self) -> Set[int]:
        """All that are decoded."""
        return {*self.frames, *self.video}


def decode_pictures(
    path: str, opened: OpenedMedia, window: Window, recipe: Recipe
) -> DecodedPictures:
    """Decode the pictures that a recipe wants of a window.

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
    times = _times_of_full_decode(path, window, device_of(recipe), delayed=delayed)
    with open_media(path, device_of(recipe)) as container:
        reopened = select_streams(container, sound=None)
        frames = _decode_selected(path, reopened, _reread(reopened, window), times, recipe)
    if frames is None:
        raise Rejected(Verdict.UNDECODABLE, "a second decode gives other frames than the first")
    return frames


def select_pictures(
    path: str, times: Sequence[int], opened: OpenedMedia, window: Window, recipe: Recipe
) -> Selection:
    """Select the pictures that a recipe wants of a clip.

    Raises:
        Rejected: No frame is within the clip's seconds.
    """
    base = opened.video.time_base
    published = recipe.fidelity == "published"
    end = (window.end if published else window.origin + window.duration) / base
    inside = [t for t in times if t < end]
    if not inside:
        raise Rejected(Verdict.TOO_SHORT, "the video has no frame within the clip's seconds")
    frames, video = [], []
    if recipe.frames and published:
        frames = published_indices(path, opened, window, inside, recipe.frames)
    elif recipe.frames:
        instants = sample_instants(recipe.frames, window.duration)
        frames = strict_indices(instants, inside, window.origin, base)
    if recipe.video:
        instants = video_instants(recipe.video, window.duration)
        video = strict_indices(instants, inside, window.origin, base)
    return Selection(
        tuple(inside), tuple(inside[i] for i in frames), tuple(inside[i] for i in video)
    )


def _decode_selected(
    path: str,
    opened: OpenedMedia,
    window: Window,
    times: PictureTimes,
    recipe: Recipe,
) -> DecodedPictures | None:
    """Decode the wanted pictures; return None if one does not come out of the decoder."""
    selection = select_pictures(path, times.shown, opened, window, recipe)
    exceptions = list[str]()
    context = opened.video.codec_context
    stores = _stores(selection, opened, recipe)
    with record_decoder_log() as log:
        for time, frame in _wanted_frames(
            context, window, times, selection.wanted, exceptions, log
        ):
            for store in stores:
                store.put(time, frame)
    errors = decode_errors(log, exceptions)
    if not all(store.is_complete for store in stores):
        return None
    return _collect(stores, selection, opened, window, errors)


def _stores(
    selection: Selection, opened: OpenedMedia, recipe: Recipe
) -> tuple[StoredFrames | MovingPictures, ...]:
    """Return what takes the decoded pictures, frames first."""
    aspect = opened.video.codec_context.sample_aspect_ratio
    stores: list[StoredFrames | MovingPictures] = []
    if recipe.frames:
        stores.append(StoredFrames(recipe.frames, selection.frames, aspect))
    if recipe.video:
        stores.append(MovingPictures(recipe.video, selection.video, aspect))
    return tuple(stores)


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


def _times_of_full_decode(
    path: str, window: Window, device: HWAccel | None, *, delayed: bool
) -> PictureTimes:
    """Return the presentation times of a full decode of the file, opened again."""
    with open_media(path, device) as container:
        reopened = select_streams(container, sound=None)
        times = times_of_full_decode(reopened.video, _reread(reopened, window), delayed=delayed)
    if times is None:
        detail = f"no frame of {len(window.video)} packets decodes"
        raise Rejected(Verdict.UNDECODABLE, detail)
    return times


def _reread(opened: OpenedMedia, window: Window) -> Window:
    """Read the same window from a file that was opened again."""
    offset = window.origin - opened.start
    return read_window(opened, offset, window.duration, whole_file=window.whole_file)


def _collect(
    stores: Sequence[StoredFrames | MovingPictures],
    selection: Selection,
    opened: OpenedMedia,
    window: Window,
    errors: tuple[str, ...],
) -> DecodedPictures:
    """Arrange what is stored."""
    base, origin = opened.video.time_base, window.origin
    tick, start = float(base), float(origin)
    seconds = [t * tick - start for t in selection.times]  # fractions would take a millisecond
    end = float(end_of_video(selection.times, window.video, base) - origin)
    video = next((s.finish() for s in stores if isinstance(s, MovingPictures)), None)
    return DecodedPictures(
        next((s.jpegs for s in stores if isinstance(s, StoredFrames)), ()),
        tuple(float(t * base - origin) for t in selection.frames),
        video,
        stores[0].lumas,
        float(selection.times[0] * base - origin),
        picture_spans(seconds, end),
        sum(a == b for a, b in pairwise(selection.frames or selection.video)),
        stores[0].rotation,
        errors,
    )


def _decode_by_decord(
    path: str, opened: OpenedMedia, window: Window, times: Sequence[int], recipe: Recipe
) -> DecodedPictures:
    """Decode the same frames by decord, which selects a video stream of its own."""
    for stream in opened.container.streams.video:
        require_allowed_codec(stream)
    selection = select_pictures(path, times, opened, window, recipe)
    base = opened.video.time_base
    stores = _stores(selection, opened, recipe)
    ticks = sorted(selection.wanted)
    for tick, frame in zip(
        ticks, decord_frames(path, [float(t * base) for t in ticks]), strict=True
    ):
        for store in stores:
            store.put(tick, frame)
    return _collect(stores, selection, opened, window, errors=())
