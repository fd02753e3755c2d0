"""Collate what a batch holds beside stored members: columns of the query, and what was added."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avstore.manifests.store import StoreError
from avstore.train.data.decode import DecodedSample
from avstore.train.data.query_columns import has_nulls
from avstore.train.data.samples import SampleList


def extras_of(
    samples: SampleList, decoded: Sequence[DecodedSample]
) -> dict[str, Tensor | list[Any]]:
    """Return the extras of a batch by name.

    Args:
        samples: The list, with the query's columns.
        decoded: The B samples.

    Returns:
        A tensor [B, …] of numbers and arrays; a list of anything else, and of a column that has
        NULLs anywhere in the list.

    Raises:
        StoreError: Values of one name differ in kind, or arrays in shape.
    """
    if decoded[0].transformed:
        found = {name: [s.extras[name] for s in decoded] for name in decoded[0].extras}
    else:
        found = {name: [samples.extra(name, s.index) for s in decoded] for name in samples.extras}
    listed = {name for name in found if name in samples.extras and has_nulls(samples.table, name)}
    return {
        name: values
        if name in listed and not any(isinstance(value, np.ndarray) for value in values)
        else _collated(name, values, decoded)
        for name, values in found.items()
    }


def require_alike(decoded: Sequence[DecodedSample]) -> None:
    """Raise StoreError if a transform returned other names for some samples than for the first."""
    if not decoded[0].transformed:
        return
    first, held = decoded[0], _names(decoded[0])
    for sample in decoded[1:]:
        if (own := _names(sample)) != held:
            raise StoreError(
                f"the transform returned {', '.join(sorted(held))} for {first.clip_id} and "
                f"{', '.join(sorted(own))} for {sample.clip_id}: samples of one batch must be alike"
            )


def _names(sample: DecodedSample) -> set[str]:
    arrays = {
        "frames": sample.frames,
        "fbank": sample.fbank,
        "waveform": sample.waveform,
        "masks": sample.mask_stack,
    }
    held = {name for name, value in arrays.items() if value is not None}
    return held | sample.features.keys() | sample.extras.keys()


def _kind(value: Any) -> str:
    """Return the dtype of a number or an array; "list" for what is listed as it is."""
    if not isinstance(value, (bool, int, float, np.ndarray, np.generic)):
        return "list"
    array = np.asarray(value)
    return str(array.dtype) if array.dtype.kind in "biuf" else "list"


def _collated(name: str, values: list[Any], decoded: Sequence[DecodedSample]) -> Tensor | list[Any]:
    kinds = {_kind(value): sample.clip_id for value, sample in zip(values, decoded, strict=True)}
    if len(kinds) > 1:
        listed = " and ".join(f"{kind} ({clip})" for kind, clip in kinds.items())
        raise StoreError(
            f"{name!r} is {listed} in one batch: let the transform return one kind for all samples"
        )
    if kinds.keys() == {"list"}:
        return values
    arrays = [np.asarray(value) for value in values]
    shapes = {array.shape: sample.clip_id for array, sample in zip(arrays, decoded, strict=True)}
    if len(shapes) > 1:
        listed = " and ".join(f"{list(shape)} ({clip})" for shape, clip in shapes.items())
        raise StoreError(f"{name!r} has the shapes {listed} in one batch: return arrays alike")
    return torch.from_numpy(np.stack(arrays))
