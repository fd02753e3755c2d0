"""Decode one sample: from the bytes of its members to arrays, before mixing and noise."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.npy import load_npy
from avstore.manifests.shard_reader import BadSample, BadSampleError
from avstore.manifests.video_windows import decode_window
from avstore.train.data.buffers import OutputBuffers
from avstore.train.data.frame_request import ChosenFrames, VideoRequest
from avstore.train.data.read import Contents
from avstore.train.data.request import SampleRequest
from avstore.train.data.rng import Purpose
from avstore.train.data.spec import BatchSpec
from avstore.train.data.transforms import features, masks, waveform
from avstore.train.data.transforms.clips import FBANK_RATE
from avstore.train.data.transforms.fbank import (
    FbankChoices,
    fit,
    fit_in_scratch,
    mask_and_normalise,
    mask_choices,
)
from avstore.train.data.transforms.frames import (
    Box,
    crop_box,
    decode_jpegs,
    frame_size,
    place_picture,
)


@dataclass
class DecodedSample:
    """The arrays of one sample; T frames, S pixels.

    Attributes:
        clip_id: Clip id.
        index: Index in the list.
        frames: [T, S, S, 3] in [0, 255], uint8, or float32 if mixed; or float32, normalised.
        normalised: Whether `frames` are normalised.
        jpegs: The frames undecoded, if the device decodes them.
        box: Crop of the stored frames.
        frame_size: (width, height) of the stored frames; None without frames.
        chosen: The chosen frames; None if none are read.
        fbank: float32 [frames, mels], masked and normalised; as stored if the device does that.
        fbank_frames: Frames of `fbank` that are no padding.
        choices: Random choices for the fbank.
        waveform: float32 [samples], or [channels, samples] of several channels, in [-1, 1].
        rate: Sampling rate of `waveform` in Hz.
        features: Derived features [rows, …] by name.
        masks: uint8 [S, S] by second.
        unknown_colours: Pixels of the masks that became background.
        mixed_with: (index, clip id) of the sample that it was mixed with.
        share: The sample's own share of the mixture.
        transformed: Whether `BatchSpec.transform` was applied. Then the arrays have the shapes that
            it gave them, and those below are set.
        own_samples: Samples of `waveform` that are no padding.
        mask_stack: Masks by second, and which seconds have one.
        extras: What it added, and the columns of the query.
    """

    clip_id: str
    index: int
    frames: NDArray[Any] | None = None
    normalised: bool = False
    jpegs: list[memoryview] = field(default_factory=list)
    box: Box = (0, 0, 0, 0)
    frame_size: tuple[int, int] | None = None
    chosen: ChosenFrames | None = None
    fbank: NDArray[Any] | None = None
    fbank_frames: int = 0
    choices: FbankChoices = field(default_factory=FbankChoices)
    waveform: NDArray[np.float32] | None = None
    rate: int = 0
    features: dict[str, NDArray[Any]] = field(default_factory=dict)
    masks: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    unknown_colours: int = 0
    mixed_with: tuple[int, str] | None = None
    share: float = 1.0
    transformed: bool = False
    own_samples: int = 0
    mask_stack: tuple[NDArray[Any], NDArray[np.bool_]] | None = None
    extras: dict[str, Any] = field(default_factory=dict)


def decode(
    request: SampleRequest,
    contents: Contents,
    spec: BatchSpec,
    out: OutputBuffers | None = None,
) -> DecodedSample:
    """Decode the contents of a request's members.

    Args:
        request: The request.
        contents: What was read.
        spec: Settings.
        out: Where to write frames, fbank and features; None for a sample that may be mixed.

    Raises:
        BadSampleError: If a member is damaged.
    """
    sample = DecodedSample(request.sample.clip_id, request.sample.index, chosen=request.chosen)
    sound = request.chosen.sound if request.chosen else None
    members = contents.members
    member = ""
    try:
        if request.frames:
            member = ", ".join(frame.name for frame in request.frames)
            jpegs = [members[frame.name] for frame in request.frames]
            _decode_frames(sample, jpegs, request, spec, out)
        elif request.video:
            member = request.video.ranges[0].name
            _decode_video(sample, contents.groups, request.video, request, spec, out)
        for second, mask in request.masks:
            member = mask.name
            sample.masks[second], unknown = masks.decode(
                members[member],
                sample.frame_size if spec.mask_size is None else None,
                sample.box,
                spec.mask_size or spec.image_size or 0,
            )
            sample.unknown_colours += unknown
        if request.fbank:
            member = request.fbank.name
            fbank = load_npy(members[member])
            if sound and fbank.ndim == 2:
                fbank = sound.cut(fbank, FBANK_RATE, axis=0)
            set_fbank(sample, fbank, request, spec, out)
        if request.waveform:
            member = request.waveform.name
            stored, rate = waveform.decode(members[member], spec.channels)
            sample.rate = spec.sample_rate or rate
            sample.waveform = waveform.resample(stored, rate, sample.rate)
            if sound:
                sample.waveform = sound.cut(sample.waveform, sample.rate, axis=-1)
        for feature in request.features:
            member = feature.member.name
            row = contents.rows.get(feature.name)
            if row is None:
                row = _decode_feature(members[member], feature.name, spec, out)
            sample.features[feature.name] = row
    except (ValueError, OSError) as error:
        ranges = request.groups or request.members
        offset = ranges[0].offset if ranges else None
        reason = f"cannot decode {member}: {error}"
        problem = BadSample(sample.clip_id, request.sample.shard.path, offset, reason)
        raise BadSampleError(problem) from error
    return sample


def _decode_frames(
    sample: DecodedSample,
    jpegs: list[memoryview],
    request: SampleRequest,
    spec: BatchSpec,
    out: OutputBuffers | None,
) -> None:
    """Decode, crop and resize JPEGs, by one crop for all of them."""
    size = frame_size(jpegs[0])
    if spec.decode == "device":
        _crop(sample, size, request, spec)
        sample.jpegs = jpegs
        return
    frames = _frames(sample, size, len(jpegs), request, spec, out)
    decode_jpegs(jpegs, size, sample.box, frames, sample.normalised)


def _decode_video(
    sample: DecodedSample,
    groups: Sequence[memoryview],
    wanted: VideoRequest,
    request: SampleRequest,
    spec: BatchSpec,
    out: OutputBuffers | None,
) -> None:
    """Decode, crop and resize pictures of a video, by one crop for all of them."""
    if spec.decode == "device":
        raise ValueError("decode='device' decodes JPEGs, not videos: use decode='worker'")
    numbers = np.array(request.chosen.numbers if request.chosen else ())
    pictures = (
        picture
        for content, window in zip(groups, wanted.windows, strict=True)
        for picture in decode_window(content, wanted.video, window)
    )
    frames: NDArray[Any] | None = None
    for number, pixels in pictures:
        size = (pixels.shape[1], pixels.shape[0])
        if frames is None:
            frames = _frames(sample, size, len(numbers), request, spec, out)
        rows = np.flatnonzero(numbers == number)
        place_picture(pixels, size, sample.box, frames[rows[0]], sample.normalised)
        frames[rows[1:]] = frames[rows[0]]


def _crop(
    sample: DecodedSample, size: tuple[int, int], request: SampleRequest, spec: BatchSpec
) -> None:
    """Set the sample's frame size, (width, height), and its crop."""
    cropped = spec.random and spec.augment.crop and spec.image_size
    generator = request.random.generator(Purpose.CROP) if cropped else None
    sample.frame_size = size
    sample.box = crop_box(*size, spec.image_size or min(size), generator)


def _frames(
    sample: DecodedSample,
    size: tuple[int, int],
    count: int,
    request: SampleRequest,
    spec: BatchSpec,
    out: OutputBuffers | None,
) -> NDArray[Any]:
    """Choose the crop of `count` frames of a size, and return where to write them."""
    _crop(sample, size, request, spec)
    shape = (count, spec.image_size or size[1], spec.image_size or size[0], 3)
    if out is None:
        sample.frames = np.empty(shape, np.uint8)
    else:
        sample.normalised = spec.pixels == "float"
        dtype = np.float32 if sample.normalised else np.uint8
        sample.frames = out.frames.row(out.row, shape, dtype)
    return sample.frames


def _decode_feature(
    content: memoryview, name: str, spec: BatchSpec, out: OutputBuffers | None
) -> NDArray[Any]:
    """Decode a feature, into its row of the batch if nothing else is done to it."""
    value = features.fit(load_npy(content), spec.feature_rows, spec.feature_norm)
    if out is None or not spec.plain_features:
        return value
    row = out.features[name].row(out.row, value.shape, value.dtype)
    row[...] = value
    return row


def set_fbank(
    sample: DecodedSample,
    stored: NDArray[Any],
    request: SampleRequest,
    spec: BatchSpec,
    out: OutputBuffers | None = None,
) -> None:
    """Cut or pad, mask and normalise an fbank; set the sample's fbank and its choices.

    Args:
        sample: The sample.
        stored: [n, mels], as stored or computed.
        request: Its request.
        spec: Settings. With fbank='device', masks are only chosen.
        out: Where to write the fbank; None for a sample that may be mixed.

    Raises:
        ValueError: If `stored` has another shape.
    """
    sample.fbank_frames = min(len(stored), spec.fbank_frames)
    shape = (spec.fbank_frames, *stored.shape[1:])
    direct = out is not None and stored.ndim == 2
    if spec.fbank == "device":
        row = out.fbanks.row(out.row, shape, stored.dtype) if out and direct else None
        sample.fbank = fit(stored, spec.fbank_frames, row)
    elif direct:
        sample.fbank = fit_in_scratch(stored, spec.fbank_frames)
    else:
        sample.fbank = fit(stored, spec.fbank_frames)
    augment = spec.augment
    if spec.random and (augment.freq_mask or augment.time_mask):
        generator = request.random.generator(Purpose.MASK)
        sample.choices = mask_choices(shape, augment.freq_mask, augment.time_mask, generator)
    if spec.fbank == "device":
        return
    # Noise is added on the way to the row, so that a noisy fbank stays in the scratch memory.
    noisy = spec.random and augment.noise
    row = out.fbanks.row(out.row, shape, np.float32) if out and not noisy else None
    sample.fbank = mask_and_normalise(sample.fbank, sample.choices, spec.mean, spec.std, row)
