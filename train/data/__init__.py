"""From a query over the manifest to batches: which sample comes when is a pure function."""

from train.data.batches import Batch, BatchSpec, batches, steps_per_epoch
from train.data.samples import SampleList, Store, open_store, sample_list

__all__ = [
    "Batch",
    "BatchSpec",
    "SampleList",
    "Store",
    "batches",
    "open_store",
    "sample_list",
    "steps_per_epoch",
]
