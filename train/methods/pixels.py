"""The inputs of a batch by name, for methods that mix, edit or keep them."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from avstore.train.data import Batch

Inputs = dict[str, Tensor]
LABELS = "labels"
_FEATURE = "feature "


def inputs_of(batch: Batch) -> Inputs:
    """Return the inputs of a batch that have numbers: frames, fbank, features, soft labels."""
    own = {"video": batch.video, "audio": batch.audio}
    found = {name: value for name, value in own.items() if value is not None}
    if isinstance(batch.labels, Tensor) and batch.labels.is_floating_point():
        found[LABELS] = batch.labels
    return found | {f"{_FEATURE}{name}": value for name, value in batch.features.items()}


def with_inputs(batch: Batch, inputs: Inputs) -> Batch:
    """Return a batch with other inputs, of `inputs_of`."""
    features = {
        name.removeprefix(_FEATURE): value
        for name, value in inputs.items()
        if name.startswith(_FEATURE)
    }
    own: dict[str, Any] = {
        name: value for name, value in inputs.items() if not name.startswith(_FEATURE)
    }
    return replace(batch, **own, features={**batch.features, **features})


def batch_of(inputs: Inputs, like: Batch) -> Batch:
    """Return rows that are known by their inputs alone as a batch, of the kind of another one."""
    rows = len(next(iter(inputs.values())))
    bare = Batch(video=None, audio=None, labels=[[]] * rows, clip_ids=[""] * rows, step=like.step)
    return with_inputs(bare, inputs)
