"""Collate decoded samples to a batch: stack their arrays and build their targets."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avstore.manifests.shard_reader import BadSample
from avstore.manifests.store import StoreError
from avstore.train.data.batch import Batch
from avstore.train.data.buffers import BatchBuffer, recycled
from avstore.train.data.decode import DecodedSample
from avstore.train.data.device_transform import DeviceFbank, DeviceFrames
from avstore.train.data.extras import extras_of, require_alike
from avstore.train.data.order import Rows
from avstore.train.data.samples import SampleList
from avstore.train.data.spec import BatchSpec
from avstore.train.data.transforms import waveform
from avstore.train.data.transforms.frames import normalise, normalise_into
from avstore.train.data.transforms.labels import by_segment, multi_hot
from avstore.train.data.transforms.masks import by_second
from avstore.train.data.waveform_length import waveform_length


def collate(
    samples: SampleList,
    rows: Rows,
    decoded: Sequence[DecodedSample],
    spec: BatchSpec,
    frames: BatchBuffer,
    fbanks: BatchBuffer,
    features: Mapping[str, BatchBuffer],
    problems: tuple[BadSample, ...] = (),
) -> Batch:
    """Collate samples to a batch.

    Args:
        samples: The list, for labels.
        rows: The samples' rows.
        decoded: The samples, `spec.clips` for each row.
        spec: Settings.
        frames: Memory of the batch's frames.
        fbanks: Memory of the batch's fbanks.
        features: Memory of the batch's derived features, by name.
        problems: Samples that were skipped or replaced.

    Raises:
        StoreError: If the samples differ in shape, or have no such labels as the spec wants.
    """
    require_alike(decoded)
    video, frame_counts, jpegs = _video(decoded, spec, frames)
    masks, mask_known = _masks(decoded, spec)
    waveforms = _waveforms(decoded, spec)
    return Batch(
        video=video,
        audio=_fbanks(decoded, fbanks),
        labels=targets(samples, decoded, spec),
        clip_ids=[sample.clip_id for sample in decoded],
        step=rows.step,
        epoch=rows.epoch,
        indices=torch.tensor([sample.index for sample in decoded]),
        clips=spec.clips,
        origin=_of_rows(rows.origin, spec),
        padded=_of_rows(rows.padded, spec),
        slots=_of_rows(rows.slots, spec),
        audio_frames=torch.tensor([sample.fbank_frames for sample in decoded]),
        audio_roll=torch.tensor([sample.choices.roll for sample in decoded]),
        video_frames=torch.tensor(frame_counts),
        frame_times=_by_frame([_times(sample) for sample in decoded], np.nan),
        frames_valid=_by_frame([_valid(sample) for sample in decoded], False),
        waveform_start=torch.tensor([_sound_start(sample) for sample in decoded]),
        waveform=waveforms,
        waveform_samples=torch.tensor([_own_samples(sample, spec) for sample in decoded]),
        sample_rate=None if waveforms is None else _sample_rate(decoded),
        masks=masks,
        mask_known=mask_known,
        mask_unknown=torch.tensor([sample.unknown_colours for sample in decoded]),
        features={
            name: _feature([sample.features[name] for sample in decoded], name, features[name])
            for name in decoded[0].features
        },
        extras=extras_of(samples, decoded),
        mixed_with=[sample.mixed_with[1] if sample.mixed_with else None for sample in decoded],
        share=torch.tensor([sample.share for sample in decoded]),
        problems=problems,
        jpegs=jpegs,
        normalise_pixels=jpegs is not None or (video is not None and spec.pixels == "uint8"),
        device_fbank=_device_fbank(decoded, spec),
    )


def _of_rows(values: NDArray[Any], spec: BatchSpec) -> Tensor:
    """Return a value of each clip, given one of each sample."""
    return torch.from_numpy(values if spec.clips == 1 else np.repeat(values, spec.clips))


def _video(
    decoded: Sequence[DecodedSample], spec: BatchSpec, buffer: BatchBuffer
) -> tuple[Tensor | None, list[int], DeviceFrames | None]:
    """Return frames, how many each sample has, and the JPEGs if the device decodes them."""
    if spec.decode == "device" and "frames" in spec.read:
        return None, *_device_frames(decoded, spec.image_size or 0)
    frames = [sample.frames for sample in decoded if sample.frames is not None]
    if not frames:
        return None, [0] * len(decoded), None
    counts = [one.shape[-4] for one in frames]
    longest = max(counts)
    _require_frame_times(decoded, counts)
    if min(counts) < longest and frames[0].ndim == 4:
        frames = [_with_black_frames(one, longest, decoded[0].normalised) for one in frames]
        buffer = BatchBuffer(len(decoded), "frames")
    video = buffer.stack(frames).movedim(-1, -3)
    finished = spec.pixels == "uint8" or decoded[0].normalised
    return video if finished else normalise(video), counts, None


def _require_frame_times(decoded: Sequence[DecodedSample], counts: Sequence[int]) -> None:
    """Raise StoreError if a transform took other numbers of frames of some samples."""
    if len(set(counts)) > 1 and any(s.chosen and not len(s.chosen.times) for s in decoded):
        pairs = {count: s.clip_id for count, s in zip(counts, decoded, strict=True)}
        listed = " and ".join(f"{count} frames ({clip})" for count, clip in pairs.items())
        raise StoreError(
            f"the transform returned {listed} in one batch: let it return as many of each"
        )


def _with_black_frames(frames: NDArray[Any], count: int, normalised: bool) -> NDArray[Any]:
    """Return frames [T, height, width, 3], padded with black ones to `count`."""
    padded = np.zeros((count, *frames.shape[1:]), frames.dtype)
    padded[: len(frames)] = frames
    if normalised and len(frames) < count:
        normalise_into(np.zeros(frames.shape[1:], np.uint8), padded[len(frames)])
        padded[len(frames) + 1 :] = padded[len(frames)]
    return padded


def _times(sample: DecodedSample) -> NDArray[np.float32]:
    return sample.chosen.times if sample.chosen else np.zeros(0, np.float32)


def _valid(sample: DecodedSample) -> NDArray[np.bool_]:
    return np.array(sample.chosen.valid if sample.chosen else (), np.bool_)


def _by_frame(values: Sequence[NDArray[Any]], padding: float) -> Tensor:
    """Return a value of each frame [B, T], padded for samples with fewer frames."""
    if not values:
        return torch.zeros(0, 0)
    longest = max(len(value) for value in values)
    if min(len(value) for value in values) < longest:
        values = [np.pad(v, (0, longest - len(v)), constant_values=padding) for v in values]
    return torch.from_numpy(np.stack(values))


def _sound_start(sample: DecodedSample) -> float:
    """Return where the sound of a row begins, in seconds."""
    sound = sample.chosen.sound if sample.chosen else None
    return sound.start if sound else 0.0


def _device_frames(decoded: Sequence[DecodedSample], size: int) -> tuple[list[int], DeviceFrames]:
    """Return how many frames each sample has, and their JPEGs."""
    counts = [len(sample.jpegs) for sample in decoded]
    if len(set(counts)) > 1:
        raise StoreError(
            f"clips have {min(counts)} to {max(counts)} frames: decode='device' needs as many "
            "of each; choose another frame_choice than 'all'"
        )
    files = [jpeg for sample in decoded for jpeg in sample.jpegs]
    boxes = [sample.box for sample in decoded for _ in sample.jpegs]
    return counts, DeviceFrames.pack(files, boxes, counts[0], size)


def _device_fbank(decoded: Sequence[DecodedSample], spec: BatchSpec) -> DeviceFbank | None:
    """Return what the device does to fbanks, if anything."""
    if spec.fbank == "worker" or "fbank" not in spec.read:
        return None
    return DeviceFbank.pack([sample.choices for sample in decoded], spec.mean, spec.std)


def _fbanks(decoded: Sequence[DecodedSample], buffer: BatchBuffer) -> Tensor | None:
    """Return the fbanks [B, 1, frames, mels]; those of a transform may have more dimensions."""
    found = [sample.fbank for sample in decoded if sample.fbank is not None]
    if not found:
        return None
    stacked = buffer.stack(found)
    return stacked[:, None] if found[0].ndim == 2 else stacked


def _waveforms(decoded: Sequence[DecodedSample], spec: BatchSpec) -> Tensor | None:
    """Return the waveforms, cut or padded alike unless they were transformed; None if not read."""
    if decoded[0].transformed:
        found = [sample.waveform for sample in decoded if sample.waveform is not None]
        return _stack(found, "waveform") if found else None
    if "waveform" not in spec.read:
        return None
    stored = [sample.waveform for sample in decoded if sample.waveform is not None]
    length = max((waveform_length(sample, spec) for sample in decoded), default=0)
    out = recycled((len(stored), *stored[0].shape[:-1], length), np.float32)
    for row, one in zip(out, stored, strict=True):
        waveform.fit(one, length, row)
    return torch.from_numpy(out)


def _own_samples(sample: DecodedSample, spec: BatchSpec) -> int:
    """Return how many samples of the row's waveform are no padding."""
    if sample.transformed:
        return sample.own_samples
    if sample.waveform is None or "waveform" not in spec.read:
        return 0
    return min(int(sample.waveform.shape[-1]), waveform_length(sample, spec))


def _sample_rate(decoded: Sequence[DecodedSample]) -> int | None:
    """Return the sampling rate of all waveforms in Hz; None without any.

    Raises:
        StoreError: If they have several.
    """
    found = {sample.rate: sample.clip_id for sample in decoded if sample.waveform is not None}
    if len(found) > 1:
        listed = ", ".join(f"{rate} Hz ({clip})" for rate, clip in sorted(found.items()))
        raise StoreError(
            f"the clips of a batch have several sampling rates: {listed}; set sample_rate to "
            "resample them, or read one recipe at a time (recipe=)"
        )
    return next(iter(found), 0) or None


def _masks(
    decoded: Sequence[DecodedSample], spec: BatchSpec
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Return the masks by second, and which seconds have one; None if not read."""
    size = spec.mask_size or spec.image_size or 0
    if decoded[0].transformed:
        stacked = [sample.mask_stack for sample in decoded if sample.mask_stack is not None]
    elif "masks" in spec.read:
        stacked = [by_second(sample.masks, spec.segments, size) for sample in decoded]
    else:
        stacked = []
    if not stacked:
        return None, None
    values, known = zip(*stacked, strict=True)
    return torch.from_numpy(np.stack(values)), torch.from_numpy(np.stack(known))


def _feature(arrays: Sequence[NDArray[Any]], name: str, buffer: BatchBuffer) -> Tensor:
    """Stack a feature of all samples, in the batch's memory if they are alike."""
    alike = len({(array.shape, array.dtype) for array in arrays}) == 1
    return buffer.stack(arrays) if alike else _stack(arrays, name)


def _stack(arrays: Sequence[NDArray[Any]], name: str) -> Tensor:
    """Stack arrays of one shape; no arrays at all give an empty tensor."""
    if not arrays:
        return torch.empty(0)
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise StoreError(
            f"{name} has the shapes {', '.join(str(shape) for shape in sorted(shapes))} in one "
            "batch: set feature_rows, and read one recipe at a time (recipe=)"
        )
    out = recycled((len(arrays), *arrays[0].shape), np.result_type(*arrays))
    return torch.from_numpy(np.stack(arrays, out=out))


def targets(
    samples: SampleList, decoded: Sequence[DecodedSample], spec: BatchSpec
) -> Tensor | list[list[int]]:
    """Build the targets of a batch, as `BatchSpec.labels` says.

    Args:
        samples: The list that holds the labels.
        decoded: The B samples.
        spec: Settings.

    Returns:
        A list of ids for each sample; int64 [B]; float32 [B, classes], [B, segments, classes] or
        [B, segments, 2, classes].

    Raises:
        StoreError: If the labels do not fit the settings.
    """
    ids = [samples.label_ids(sample.index) for sample in decoded]
    if spec.labels == "ids":
        return ids
    if spec.labels == "index":
        pairs = zip(ids, decoded, strict=True)
        return torch.tensor([_only_label(own, sample) for own, sample in pairs])
    classes = _classes(samples, spec)
    if spec.labels in ("segments", "segments_by_modality"):
        found = [_segment_target(samples, sample, spec, classes) for sample in decoded]
        return torch.from_numpy(np.stack(found))
    smoothing = spec.smoothing if spec.random else 0.0
    found = []
    for own, sample in zip(ids, decoded, strict=True):
        mixed = samples.label_ids(sample.mixed_with[0]) if sample.mixed_with else None
        found.append(multi_hot(own, classes, smoothing, mixed, sample.share))
    return torch.from_numpy(np.stack(found))


def _only_label(label_ids: list[int], sample: DecodedSample) -> int:
    if len(label_ids) != 1:
        raise StoreError(
            f"{sample.clip_id} has {len(label_ids)} labels; labels='index' needs exactly one: "
            "choose 'multi_hot', or leave the clip out of the query"
        )
    return label_ids[0]


def _classes(samples: SampleList, spec: BatchSpec) -> int:
    classes = samples.classes if spec.classes is None else spec.classes
    if spec.background is not None:
        classes = max(classes, spec.background + 1)
    if classes < samples.classes or not classes:
        raise StoreError(
            f"classes={classes} are too few: the clips' vocabulary has {samples.classes} classes"
        )
    return classes


def _segment_target(
    samples: SampleList, sample: DecodedSample, spec: BatchSpec, classes: int
) -> NDArray[np.float32]:
    def target(index: int) -> NDArray[np.float32]:
        if spec.labels == "segments":
            return by_segment(samples.segments(index), spec.segments, classes, spec.background)
        parts = samples.segments_apart(index)
        targets = [by_segment(own, spec.segments, classes, spec.background) for own in parts]
        return np.stack(targets, axis=1)

    own = target(sample.index)
    if sample.mixed_with is None:
        return own
    partner = target(sample.mixed_with[0])
    return np.float32(sample.share) * own + np.float32(1 - sample.share) * partner
