"""Index single samples of a list, for notebooks and for DataLoaders of your own."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, SupportsIndex

import torch
from torch.utils import data

from avstore.train.data.batch import Batch
from avstore.train.data.members_check import require_members
from avstore.train.data.order import EpochOrder
from avstore.train.data.samples import SampleList
from avstore.train.data.spec import DEFAULT_POLICY, BatchSpec, ErrorPolicy
from avstore.train.data.steps import Steps


@dataclass(frozen=True)
class Dataset(data.Dataset[Mapping[str, Any]]):
    """The samples of a list by row, as a map-style dataset: what a batch of one sample holds.

    Item i is a dict of tensors without the dimension of the batch, by the keys of `Batch`, and of
    the `clip_id`; labels='ids' are int64 [labels]. It is the same at every access. With
    BatchSpec(random=False) nothing is random; else the sample is augmented by the choices of
    (seed, epoch, i): those of `Loader` with shuffle='listed' in that epoch. For the next draw, make
    a dataset with another `epoch`.

    JPEGs are decoded and fbanks normalised here, whatever `decode` and `fbank` are; pixels='uint8'
    stays uint8. What chooses samples does not apply: `batch_size`, `shuffle`, `weighted`,
    `drop_last`, `pad_last`, `turns`. Nor does `batch_transform`.

    A stock DataLoader stacks samples, if they are alike: choose labels='index' or 'multi_hot'.

    Attributes:
        samples: The list.
        spec: Settings.
        seed: Seed in [0, 2^64).
        epoch: Epoch of the random choices.
        policy: What to do about a sample that cannot be read; 'skip' raises.

    Raises:
        TypeError: If `samples` is no list.
        StoreError: If `spec` reads what no clip has.

    Example:
        >>> spec = BatchSpec(1, frames=2, image_size=24, random=False, labels="multi_hot")
        >>> dataset = Dataset(samples, spec)
        >>> len(dataset), list(dataset[-1])
        (23, ['video', 'fbank', 'labels', 'clip_id'])
        >>> tuple(dataset[0]["video"].shape), dataset[0]["clip_id"] == samples.clip_ids[0]
        ((2, 3, 24, 24), True)
        >>> from torch.utils.data import DataLoader
        >>> tuple(next(iter(DataLoader(dataset, batch_size=8)))["labels"].shape)
        (8, 5)
    """

    samples: SampleList
    spec: BatchSpec
    seed: int = 0
    epoch: int = 0
    policy: ErrorPolicy = DEFAULT_POLICY

    def __post_init__(self) -> None:
        if not isinstance(self.samples, SampleList):
            raise TypeError(
                f"samples={str(self.samples)[:80]!r} is not a SampleList: a Dataset indexes the "
                "rows of sample_list(…); a plan or a mixture is for Loader"
            )
        require_members(self.samples, self.spec)

    @cached_property
    def _steps(self) -> Steps:
        """Batches of one sample each, in the order of the list."""
        spec = replace(
            self.spec,
            batch_size=1,
            shuffle="listed",
            weighted=False,
            drop_last=False,
            pad_last=False,
            turns=None,
            batch_transform=None,
            decode="worker",
            fbank="worker",
        )
        return Steps(EpochOrder(self.samples, spec, self.seed, self.epoch), spec, self.policy)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, row: SupportsIndex) -> dict[str, Any]:
        """Return the sample of a row; negative rows count from the end.

        Raises:
            IndexError: If there is no such row.
            TypeError: If `row` is no integer.
            BadSampleError: If the sample cannot be read.
        """
        if not hasattr(row, "__index__"):
            raise TypeError(
                f"{row!r} is not the number of one row: for several, use torch.utils.data.Subset, "
                "a list comprehension, or a Loader for batches"
            )
        number, count = operator.index(row), len(self)
        if not -count <= number < count:
            raise IndexError(f"row {number} is not in [-{count}, {count}), the rows of the list")
        return _only_sample(self._steps[number % count])


def _only_sample(batch: Batch) -> dict[str, Any]:
    """Return what a batch of one sample holds, without the dimension of the batch.

    Of several clips, arrays have a dimension of the clips.
    """
    one = batch.clips == 1
    sample = {
        name: value[0] if one or name == "labels" else value
        for name, value in batch.items()
        if name != "clip_ids"
    }
    if not isinstance(batch.labels, torch.Tensor):
        sample["labels"] = torch.tensor(batch.labels[0], dtype=torch.int64)
    return {**sample, "clip_id": batch.clip_ids[0]}
