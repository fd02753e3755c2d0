"""The whole of one clip: a file in, members and measured signals out."""

import io
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.extract import quality as signals
from avstore.pipelines.extract import sampling
from avstore.pipelines.extract.audio import Sound, decode_sound
from avstore.pipelines.extract.fbank import log_mel
from avstore.pipelines.extract.flac import encode_flac
from avstore.pipelines.extract.frames import Pictures, decode_pictures
from avstore.pipelines.extract.loudness import integrated_loudness
from avstore.pipelines.extract.open_media import (
    choose_streams,
    media_facts,
    open_media,
    sha256_of,
    stream_offset_ms,
)
from avstore.pipelines.extract.recipe import Recipe
from avstore.pipelines.extract.records import Extracted, MediaFacts, Quality, Source
from avstore.pipelines.extract.rejected import Rejected
from avstore.pipelines.extract.validate import judge
from avstore.pipelines.extract.window import read_window

Members = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Decoded:
    """One clip after its one decode pass."""

    media: MediaFacts
    pictures: Pictures
    sound: Sound
    duration: Fraction
    errors: tuple[str, ...]


def extract_clip(source: Source, recipe: Recipe) -> Extracted:
    """Frames, audio, filter bank and quality signals of one clip, or why there are none.

    Pure and in-process: a crash or hang of a decoder is the caller's (see the sandbox).

    Raises:
        OSError: the file cannot be read: the run's trouble, not the clip's.
    """
    size, digest = sha256_of(source.path)
    media = MediaFacts(size, digest)
    try:
        with open_media(source.path) as container:
            media = media_facts(container, size, digest)
            decoded = _decode(source, recipe, container, media)
    except Rejected as rejected:
        return _rejected(source, rejected, media, Quality())
    quality = _quality(decoded, recipe)
    media = decoded.media
    try:
        flag = judge(
            media,
            decoded.pictures,
            decoded.sound,
            duration=decoded.duration,
            errors=decoded.errors,
            quality=quality,
            recipe=recipe,
            begins_s=source.offset_s,
        )
    except Rejected as rejected:
        return _rejected(source, rejected, media, quality)
    bank = log_mel(decoded.sound.samples, recipe.audio.rate, recipe.fbank)
    return Extracted(
        source.clip_id,
        flag.verdict if flag else None,
        flag.detail if flag else "",
        media,
        quality,
        _members(decoded, bank, recipe),
        decoded.pictures.times,
        len(bank),
        float(decoded.duration),
    )


def _decode(source: Source, recipe: Recipe, container: Any, media: MediaFacts) -> Decoded:
    opened = choose_streams(container)
    duration = sampling.exact(source.duration_s if source.duration_s > 0 else recipe.duration_s)
    window = read_window(opened, sampling.exact(source.offset_s), duration)
    sound = decode_sound(opened.audio, window.audio, window.origin, duration, recipe.audio)
    pictures = decode_pictures(source.path, opened, window, recipe)
    errors = (*window.errors, *pictures.errors, *sound.errors)
    offset_ms = stream_offset_ms(opened)
    if source.offset_s <= 0 and sound.start is not None:
        offset_ms = (sound.start - pictures.start) * 1000  # by what was decoded, not by the header
    media = replace(media, rotation=pictures.rotation, av_offset_ms=offset_ms)
    return Decoded(media, pictures, sound, duration, errors)


def _quality(decoded: Decoded, recipe: Recipe) -> Quality:
    limits, rate = recipe.quality, recipe.audio.rate
    samples, lumas = decoded.sound.samples, decoded.pictures.lumas
    return Quality(
        silent_fraction=signals.silent_fraction(samples, rate, limits.silent_dbfs),
        still_fraction=signals.still_fraction(lumas, limits.still_luma),
        black_fraction=signals.black_fraction(lumas, limits.black_luma),
        loudness_lufs=integrated_loudness(samples, rate),
        clipped_fraction=decoded.sound.clipped_fraction,
        decode_errors=len(decoded.errors),
    )


def _members(decoded: Decoded, bank: NDArray[np.float32], recipe: Recipe) -> Members:
    buffer = io.BytesIO()
    np.save(buffer, bank.astype(np.float16), allow_pickle=False)
    flac = encode_flac(decoded.sound.samples, recipe.audio.rate)
    jpegs = decoded.pictures.jpegs
    frames = ((f"f{i:03d}.jpg", data) for i, data in enumerate(jpegs))
    return (("fbank.npy", buffer.getvalue()), ("flac", flac), *frames)


def _rejected(source: Source, rejected: Rejected, media: MediaFacts, quality: Quality) -> Extracted:
    return Extracted(source.clip_id, rejected.verdict, rejected.detail, media, quality)
