"""Extract one clip: open the file, decode it once, measure it, validate it, encode its members."""

import io
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.verdicts import Verdict
from avstore.manifests.video_record import StoredVideo
from avstore.pipelines.extract.audio import Waveform, decode_audio, encode_flac
from avstore.pipelines.extract.coverage import Coverage, coverage
from avstore.pipelines.extract.cut_files import explained_by_cut
from avstore.pipelines.extract.fbank import log_mel
from avstore.pipelines.extract.nvdec import device_of
from avstore.pipelines.extract.open_media import (
    container_seconds,
    file_state,
    media_facts,
    open_media,
    select_streams,
    size_and_sha256,
    stream_offset_ms,
)
from avstore.pipelines.extract.pictures import DecodedPictures, decode_pictures
from avstore.pipelines.extract.quality import measure_quality
from avstore.pipelines.extract.recipe import Recipe
from avstore.pipelines.extract.records import (
    ClipSource,
    ExtractionResult,
    MediaFacts,
    Quality,
    Rejected,
)
from avstore.pipelines.extract.sampling import exact_seconds
from avstore.pipelines.extract.validate import validate
from avstore.pipelines.extract.window import MAX_FILE_FACTOR, last_instant, read_window

_MAX_READS = 2

Members = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class DecodedClip:
    """Hold one clip after its decode pass.

    Attributes:
        media: Facts about the file, rotation and stream offset included.
        pictures: The pictures that the recipe stores, encoded; None if it stores none.
        waveform: The clip's audio; None if the recipe stores none.
        duration: Wanted seconds.
        errors: Messages of demuxer and decoders.
    """

    media: MediaFacts
    pictures: DecodedPictures | None
    waveform: Waveform | None
    duration: Fraction
    errors: tuple[str, ...]

    @cached_property
    def coverage(self) -> dict[str, Coverage]:
        """What the stored streams, `video` and `audio`, cover of the wanted seconds."""
        parts = {"video": self.pictures, "audio": self.waveform}
        seconds = float(self.duration)
        return {name: coverage(part.spans, seconds) for name, part in parts.items() if part}


def extract_clip(source: ClipSource, recipe: Recipe) -> ExtractionResult:
    """Extract frames, waveform, fbank and quality signals of one clip.

    Runs in the calling process: call it through `Sandbox` where a decoder's crash or hang must
    not stop the caller.

    Args:
        source: The file, and where in it the clip is.
        recipe: The extraction settings.

    Returns:
        The members and measured signals; without members if the clip is rejected. A file that
        changed between its hash and its last decoded packet is read again, and then gets the
        retryable verdict `media_changed`.

    Raises:
        OSError: The file cannot be read. This is a fault of the run, not of the clip.
    """
    for _ in range(_MAX_READS):
        before = file_state(source.path)
        result = _extract_once(source, recipe)
        after = file_state(source.path)
        if after == before:
            return result
    detail = f"the file changed while it was read ({before.bytes} → {after.bytes} bytes)"
    return ExtractionResult(source.clip_id, Verdict.MEDIA_CHANGED, detail, None, Quality())


def _extract_once(source: ClipSource, recipe: Recipe) -> ExtractionResult:
    """Extract a clip from a file that does not change meanwhile."""
    size, sha256 = size_and_sha256(source.path)
    media, quality = MediaFacts(size, sha256), Quality()
    try:
        with open_media(source.path, device_of(recipe)) as container:
            media = media_facts(container, size, sha256)
            decoded = _decode(source, recipe, container, media)
        media = decoded.media
        quality = measure_quality(
            decoded.waveform, decoded.pictures, decoded.coverage, len(decoded.errors), recipe
        )
        flag = validate(
            media,
            decoded.pictures,
            decoded.waveform,
            quality,
            errors=decoded.errors,
            coverage=decoded.coverage,
            offset_s=source.offset_s,
            limits=recipe.quality,
        )
    except Rejected as found:
        rejected = explained_by_cut(source.path, found, has_audio=media.audio_codec is not None)
        return ExtractionResult(source.clip_id, rejected.verdict, rejected.detail, media, quality)
    fbank = _fbank(decoded, recipe)
    return ExtractionResult(
        source.clip_id,
        flag.verdict if flag else None,
        flag.detail if flag else "",
        media,
        quality,
        _members(decoded, fbank, recipe),
        decoded.pictures.times if decoded.pictures else (),
        0 if fbank is None else len(fbank),
        _stored_seconds(decoded, recipe),
        _stored_video(decoded, recipe),
    )


def _decode(source: ClipSource, recipe: Recipe, container: Any, media: MediaFacts) -> DecodedClip:
    """Decode the clip's own seconds of the streams that the recipe stores."""
    opened = select_streams(container, pictures=recipe.has_pictures, sound=recipe.has_sound)
    duration = _wanted(source, recipe, container)
    # Released scripts do not know the clip's own seconds.
    published = recipe.fidelity == "published"
    seconds = exact_seconds(recipe.duration_s) if published else duration
    whole = _is_whole_file(source, recipe, container, seconds)
    offset = exact_seconds(source.offset_s)
    window = read_window(opened, offset, seconds if whole else duration, whole_file=whole)
    one_stream = recipe.has_pictures != recipe.has_sound
    if math.isinf(source.duration_s) and (one_stream or container.duration is None):
        duration = min(duration, last_instant(window) - window.origin)
        if not whole:
            window.duration = duration
    waveform = pictures = None
    if opened.audio is not None:
        waveform = decode_audio(
            opened.audio, window.audio, window.origin, duration, recipe.audio, whole_file=whole
        )
    if opened.video is not None:
        pictures = decode_pictures(source.path, opened, window, recipe)
    offset_ms = stream_offset_ms(opened)
    if pictures and waveform and source.offset_s <= 0 and waveform.start is not None:
        # Decoded start times are exact; the container's header can be wrong.
        offset_ms = (waveform.start - pictures.start) * 1000
    rotation = pictures.rotation if pictures else None
    media = replace(media, rotation=rotation, av_offset_ms=offset_ms)
    streams = (part for part in (pictures, waveform) if part)
    errors = (*window.errors, *(error for part in streams for error in part.errors))
    return DecodedClip(media, pictures, waveform, duration, errors)


def _is_whole_file(source: ClipSource, recipe: Recipe, container: Any, duration: Fraction) -> bool:
    """Return whether the recipe takes all of the file, and the file is the clip."""
    if recipe.fidelity == "strict" and recipe.audio.length == "clip":
        return False
    lasts = container_seconds(container)
    return source.offset_s <= 0 and (lasts is None or lasts <= MAX_FILE_FACTOR * duration)


def _wanted(source: ClipSource, recipe: Recipe, container: Any) -> Fraction:
    """Return the seconds to extract; of a file without a known end, as many as the recipe takes."""
    if not math.isinf(source.duration_s):
        return exact_seconds(source.duration_s if source.duration_s > 0 else recipe.duration_s)
    seconds = container_seconds(container)
    if seconds is None:
        return exact_seconds(recipe.duration_s)
    rest = seconds - source.offset_s
    if rest <= 0:
        detail = f"the file lasts {seconds:.2f} s and the clip begins at {source.offset_s:g} s"
        raise Rejected(Verdict.TOO_SHORT, detail)
    return exact_seconds(min(rest, recipe.duration_s))


def _stored_seconds(decoded: DecodedClip, recipe: Recipe) -> float:
    """Return the length of the stored waveform in seconds."""
    if decoded.waveform is None or recipe.audio.length == "clip":
        return float(decoded.duration)
    return len(decoded.waveform.mono) / recipe.audio.rate


def _stored_video(decoded: DecodedClip, recipe: Recipe) -> StoredVideo | None:
    """Describe the stored moving pictures for the sidecar."""
    if recipe.video is None or decoded.pictures is None or decoded.pictures.video is None:
        return None
    video, settings = decoded.pictures.video, recipe.video
    return StoredVideo(
        frames=video.pictures,
        rate=float(settings.exact_rate),
        gop_frames=settings.keyframe_every,
        gop_offsets=video.gop_offsets,
        gop_crc32=video.gop_crc32,
        codec=settings.codec,
    )


def _fbank(decoded: DecodedClip, recipe: Recipe) -> NDArray[np.float32] | None:
    """Return the fbank if the recipe stores it."""
    if decoded.waveform is None or "fbank" not in recipe.members:
        return None
    return log_mel(decoded.waveform.mono, recipe.audio.rate, recipe.fbank)


def _members(decoded: DecodedClip, fbank: NDArray[np.float32] | None, recipe: Recipe) -> Members:
    """Encode the members in store order."""
    members: list[tuple[str, bytes]] = []
    if fbank is not None:
        buffer = io.BytesIO()
        np.save(buffer, fbank.astype(np.float16), allow_pickle=False)
        members.append(("fbank.npy", buffer.getvalue()))
    if decoded.waveform is not None and "waveform" in recipe.members:
        members.append(("flac", encode_flac(decoded.waveform.samples, recipe.audio.rate)))
    if decoded.pictures is not None:
        if decoded.pictures.video is not None:
            members.append(("mp4", decoded.pictures.video.content))
        members += ((f"f{i:03d}.jpg", data) for i, data in enumerate(decoded.pictures.jpegs))
    return tuple(members)
