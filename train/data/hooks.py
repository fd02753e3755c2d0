"""Apply a user's functions to samples and batches, with random generators of the rows' own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from avstore.manifests.store import StoreError
from avstore.train.data.batch import Batch
from avstore.train.data.batch_keys import INFORMATION, RESERVED
from avstore.train.data.buffers import OutputBuffers
from avstore.train.data.decode import DecodedSample
from avstore.train.data.frame_request import ChosenFrames
from avstore.train.data.order import Order, Rows, row_key
from avstore.train.data.rng import Purpose, RandomKey, philox
from avstore.train.data.samples import SampleList
from avstore.train.data.spec import BatchSpec, BatchTransform, SampleTransform
from avstore.train.data.transforms.frames import normalise_into
from avstore.train.data.transforms.masks import by_second
from avstore.train.data.transforms.waveform import fit
from avstore.train.data.waveform_length import waveform_length

# What a transform may return although it was not read.
_ARRAYS = {"frames", "fbank", "waveform"}


def transform_sample(
    transform: SampleTransform,
    sample: DecodedSample,
    random: RandomKey,
    spec: BatchSpec,
    samples: SampleList,
    out: OutputBuffers | None,
) -> DecodedSample:
    """Apply `BatchSpec.transform` to a decoded sample; change the sample in place.

    Args:
        transform: The function.
        sample: The sample, mixed and noisy if it is to be; frames not yet normalised.
        random: Key of the row's random choices.
        spec: Settings.
        samples: The list, for labels and columns.
        out: Where to write normalised frames.

    Raises:
        StoreError: If the transform returns something else than a sample.
    """
    given = _sample_of(sample, spec, samples)
    try:
        found = transform(dict(given), random.generator(Purpose.TRANSFORM))
    except StopIteration as error:  # it would end the loop over the rows
        raise RuntimeError(f"the transform of {sample.clip_id} raised StopIteration") from error
    except Exception as error:
        error.add_note(f"in the transform of {sample.clip_id}")
        raise
    _check(found, given, sample.clip_id)
    _take(sample, {**found}, given, spec)
    if sample.frames is not None and spec.pixels == "float":
        sample.frames = _normalised(sample.frames, out)
        sample.normalised = True
    return sample


def transform_batch(
    transform: BatchTransform, batch: Batch, order: Order, rows: Rows, spec: BatchSpec
) -> Batch:
    """Apply `BatchSpec.batch_transform` to a batch.

    Args:
        transform: The function.
        batch: The batch.
        order: The order of its rows.
        rows: Its rows, one for each sample.
        spec: Settings.

    Raises:
        StoreError: If the transform returns something else than a batch of as many rows.
    """
    numbers = [divmod(number, spec.clips) for number in range(len(batch))]
    keys = [row_key(order, rows, row).of_clip(clip) for row, clip in numbers]
    generators = [
        np.random.Generator(philox(key.seed, Purpose.BATCH_TRANSFORM, key.epoch, key.place))
        for key in keys
    ]
    try:
        found: object = transform(batch, generators)
    except StopIteration as error:
        raise RuntimeError("batch_transform raised StopIteration") from error
    if not isinstance(found, Batch) or len(found) != len(batch):
        raise StoreError(
            f"batch_transform returned {_kind(found)} for a batch of {len(batch)} rows: return a "
            "Batch of as many, such as by dataclasses.replace(batch, …)"
        )
    for name, value in found.items():
        if len(value) != len(batch):
            raise StoreError(
                f"batch_transform returned {len(value)} rows of {name!r} for a batch of "
                f"{len(batch)} rows: return as many"
            )
    return found


def _sample_of(sample: DecodedSample, spec: BatchSpec, samples: SampleList) -> dict[str, Any]:
    """Return the dict that a transform is given."""
    given: dict[str, Any] = {}
    if sample.frames is not None:
        given["frames"] = sample.frames
    if sample.fbank is not None:
        given["fbank"] = sample.fbank
    if sample.waveform is not None and "waveform" in spec.read:
        length = waveform_length(sample, spec)
        sample.own_samples = min(sample.waveform.shape[-1], length)
        given["waveform"] = fit(sample.waveform, length)
    if "masks" in spec.read:
        size = spec.mask_size or spec.image_size or 0
        sample.mask_stack = by_second(sample.masks, spec.segments, size)
        given["masks"] = sample.mask_stack[0]
    given |= sample.features
    given |= {name: samples.extra(name, sample.index) for name in samples.extras}
    sound = sample.chosen.sound if sample.chosen else None
    return given | {
        "clip_id": sample.clip_id,
        "labels": samples.label_ids(sample.index),
        "frame_times": sample.chosen.times.copy() if sample.chosen else np.zeros(0),
        "waveform_start": sound.start if sound else 0.0,
        "sample_rate": sample.rate,
    }


def _check(found: Any, given: Mapping[str, Any], clip_id: str) -> None:
    if not isinstance(found, Mapping):
        raise StoreError(
            f"the transform returned {_kind(found)} for {clip_id}: return the sample, a dict"
        )
    for name, value in found.items():
        if name in INFORMATION and value is not given[name]:
            raise StoreError(
                f"the transform returned another {name} for {clip_id}: it is for information; "
                "return what is new under another name"
            )
        if not isinstance(name, str) or name in RESERVED - given.keys() - _ARRAYS:
            raise StoreError(
                f"the transform returned {name!r} for {clip_id}, which is no name for something "
                "new: a batch has a key of that name"
            )


def _take(
    sample: DecodedSample, found: dict[str, Any], given: Mapping[str, Any], spec: BatchSpec
) -> None:
    """Set the sample to what the transform returned."""
    for name in INFORMATION:
        found.pop(name, None)
    sample.transformed = True
    sample.frames = _array(found.pop("frames", None), "frames", sample.clip_id)
    sample.fbank = _array(found.pop("fbank", None), "fbank", sample.clip_id)
    sample.waveform = _array(found.pop("waveform", None), "waveform", sample.clip_id)
    masks = _array(found.pop("masks", None), "masks", sample.clip_id)
    if sample.mask_stack is not None:
        sample.mask_stack = None if masks is None else (masks, sample.mask_stack[1])
    sample.features = {
        name: _numpy(found.pop(name), name, sample.clip_id)
        for name in spec.features
        if name in found
    }
    sample.extras = {
        name: _numpy(value, name, sample.clip_id) if isinstance(value, Tensor) else value
        for name, value in found.items()
    }
    if sample.frames is not None:
        _check_frames(sample.frames, sample.clip_id)
        if sample.chosen and sample.frames.shape[-4] != len(sample.chosen.times):
            times = np.zeros(0, np.float32)  # unknown: the transform took other frames
            sample.chosen = ChosenFrames((), times, (), sample.chosen.sound)
    if sample.fbank is not None and sample.fbank is not given.get("fbank"):
        frames = sample.fbank.shape[-2] if sample.fbank.ndim > 1 else 0
        sample.fbank_frames = min(sample.fbank_frames or frames, frames)
    before = given.get("waveform")
    if sample.waveform is not None and (
        before is None or sample.waveform.shape[-1] != before.shape[-1]
    ):
        sample.own_samples = sample.waveform.shape[-1]


def _array(value: Any, name: str, clip_id: str) -> NDArray[Any] | None:
    if value is None:
        return None
    array = _numpy(value, name, clip_id)
    if array.dtype.kind not in "biuf" or not array.ndim:
        raise StoreError(
            f"the transform returned {name} for {clip_id} that are no array of numbers"
        )
    return array


def _numpy(value: Any, name: str, clip_id: str) -> NDArray[Any]:
    """Return an array, also of a tensor."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise StoreError(
            f"the transform returned {name} for {clip_id} that NumPy does not take ({error}): "
            "return an array, or a tensor by x.detach().float().numpy()"
        ) from error


def _check_frames(frames: NDArray[Any], clip_id: str) -> None:
    if frames.ndim < 4 or frames.shape[-1] != 3 or frames.dtype not in (np.uint8, np.float32):
        raise StoreError(
            f"the transform returned frames {frames.dtype} {list(frames.shape)} for {clip_id}: "
            "return uint8 or float32 [frames, height, width, 3] in [0, 255]"
        )


def _normalised(frames: NDArray[Any], out: OutputBuffers | None) -> NDArray[np.float32]:
    """Return frames [..., height, width, 3] normalised, in their row of the batch."""
    shape = frames.shape
    row = out.frames.row(out.row, shape, np.float32) if out else np.empty(shape, np.float32)
    pictures = zip(frames.reshape(-1, *shape[-3:]), row.reshape(-1, *shape[-3:]), strict=True)
    for picture, target in pictures:
        normalise_into(np.ascontiguousarray(picture), target)
    return row


def _kind(value: Any) -> str:
    return f"a batch of {len(value)} rows" if isinstance(value, Batch) else type(value).__name__
