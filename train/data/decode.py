"""One sample from bytes to arrays: read, check, decode; nothing mixed yet."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.members import invalidate, read_members
from avstore.manifests.shard_reader import (
    BadSample,
    BadSampleError,
    ByteRange,
    Reader,
    ReadError,
)
from avstore.train.data.decoded_sample import Piece, Places
from avstore.train.data.fbanks import fbank_of, read_fbank
from avstore.train.data.request import Request
from avstore.train.data.rng import Purpose
from avstore.train.data.spec import BatchSpec
from avstore.train.data.transforms import features, masks, pictures, sound, spectrograms

# A checksum that is not known, or not asked for.
_UNCHECKED = -1


def decoded(
    request: Request,
    spec: BatchSpec,
    reader: Reader,
    places: Places | None = None,
    first: bool = True,
) -> Piece:
    """What the bytes hold; nothing mixed yet. first: what proves wrong may be read once more."""
    sample = request.sample
    piece = Piece(sample.clip_id, sample.index)
    straight = read_fbank(piece, request, spec, reader, places)
    content = read_checked(request, reader, without=request.fbank if straight else None)
    doing = "read"
    try:
        if request.frames:
            doing = f"decode a frame of {', '.join(request.frames)}:"
            files = [content[name] for name in request.frames]
            _pictures(piece, files, request, spec, places)
        for name in request.masks:
            doing = f"decode {name}:"
            second = int(name.removeprefix("mask_").removesuffix(".png"))
            piece.masks[second], unknown = masks.decode(
                content[name],
                piece.frame if spec.mask_size is None else None,
                piece.box,
                spec.mask_size or spec.image_size or 0,
            )
            piece.unknown_colours += unknown
        if request.fbank and not straight:
            doing = f"decode {request.fbank}:"
            stored = spectrograms.load_npy(content[request.fbank])
            piece.fbank = fbank_of(stored, piece, request, spec, places)
        if request.sound:
            doing = f"decode {request.sound}:"
            piece.waveform, piece.rate = sound.decode(content[request.sound])
        for name, wanted in request.features:
            doing = f"decode {name}:"
            array = spectrograms.load_npy(content[wanted.name])
            piece.features[name] = features.fit(array, spec.feature_rows, spec.feature_norm)
    except (ValueError, OSError, KeyError) as error:
        if first and invalidate(reader, request.wanted()):
            return decoded(request, spec, reader, places, first=False)
        offset = sample.range(request.members[0])[0] if request.members else None
        problem = BadSample(sample.clip_id, sample.shard.path, offset, f"cannot {doing} {error}")
        raise BadSampleError(problem) from error
    return piece


def read_checked(
    request: Request, reader: Reader, without: str | None = None
) -> Mapping[str, memoryview]:
    """Contents by suffix (of features: by whole name), checked as the request says; without: a
    member that was read already."""
    content: dict[str, memoryview] = {}
    names = [name for name in request.members if name != without]
    wanted = [request.member(name) for name in names]
    crc = request.sample.crc32 if request.whole else _UNCHECKED
    found = _read_checked(request, reader, wanted, crc)
    content.update(zip(names, found, strict=True))
    for (_, feature), known in zip(request.features, request.feature_crcs, strict=True):
        crc = known if request.whole else _UNCHECKED
        (content[feature.name],) = _read_checked(request, reader, [feature], crc)
    return content


def _read_checked(
    request: Request, reader: Reader, wanted: list[ByteRange], crc: int
) -> list[memoryview]:
    """Contents of members of one shard, whose CRC-32 together is `crc`."""
    shard = wanted[0].shard if wanted else request.sample.shard
    try:
        return read_members(reader, wanted, None if crc == _UNCHECKED else crc)
    except ReadError as error:
        clip_id = request.sample.clip_id
        raise BadSampleError(BadSample(clip_id, shard.path, error.offset, error.reason)) from error


def _pictures(
    piece: Piece,
    jpegs: list[memoryview],
    request: Request,
    spec: BatchSpec,
    places: Places | None = None,
) -> None:
    """Decode, crop and resize frames; one crop for all of them."""
    choices = None
    if spec.random and spec.augment.crop and spec.image_size:
        choices = request.draw.generator(Purpose.CROP)
    width, height = size = pictures.jpeg_size(jpegs[0])
    box = pictures.crop_box(*size, spec.image_size or min(size), choices)
    piece.frame, piece.box = size, box
    if spec.decode == "device":
        piece.jpegs = jpegs
        return
    shape = (len(jpegs), spec.image_size or height, spec.image_size or width, 3)
    # What is to be mixed does not go into the batch as it is; of 'all' clips have their own number.
    if places is None or spec.mixing or spec.chosen_frames == "all":
        out: NDArray[Any] = np.empty(shape, np.uint8)
    else:
        piece.normalised = spec.pixels == "float"
        out = places.pictures(shape, np.float32 if piece.normalised else np.uint8)
    whole = box == (0, 0, width, height) and shape[1:3] == (height, width)
    for row, jpeg in zip(out, jpegs, strict=True):
        if whole and not piece.normalised:
            pictures.decode(jpeg, row)
            continue
        pixels = pictures.decode(jpeg)
        pixels = pixels if whole else pictures.resize(pixels, box, shape[1])
        if piece.normalised:
            pictures.normalise_into(np.ascontiguousarray(pixels), row)
        else:
            row[:] = pixels
    piece.pictures = out
