"""From a query over the manifest to batches: which sample comes when is a pure function."""

from train.data.batch import Batch
from train.data.build import Steps
from train.data.loading import LoaderError, batches, stream
from train.data.order import EpochOrder, Order, Rows, steps_per_epoch
from train.data.query import sample_list
from train.data.reading import BadSampleError, Problem
from train.data.samples import SampleList
from train.data.spec import FBANK_STATISTICS, Augment, BatchSpec, Policy
from train.data.store import Store, open_store

__all__ = [
    "FBANK_STATISTICS",
    "Augment",
    "BadSampleError",
    "Batch",
    "BatchSpec",
    "EpochOrder",
    "LoaderError",
    "Order",
    "Policy",
    "Problem",
    "Rows",
    "SampleList",
    "Steps",
    "Store",
    "batches",
    "open_store",
    "sample_list",
    "steps_per_epoch",
    "stream",
]
