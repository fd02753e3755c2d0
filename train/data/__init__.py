"""Load batches of stored samples: query, order, read, decode, collate.

Which samples a step holds is a pure function of (sample list, settings, seed, epoch, step). The
examples in this package assume a store in the folder `data`, and

    from avstore.train.data import *

    samples = sample_list(open_store("data"), "SELECT clip_id FROM clips")
"""

from typing import TYPE_CHECKING, Any

from avstore.manifests.library import OpenStore, open_store
from avstore.manifests.shard_reader import BadSample, BadSampleError
from avstore.train.data.batch import Batch, join
from avstore.train.data.dataset import Dataset
from avstore.train.data.group_order import GroupOrder
from avstore.train.data.loader import Loader
from avstore.train.data.mixture import Mixture, QuerySource, WeightPhase, sources
from avstore.train.data.order import (
    EpochOrder,
    Order,
    Rows,
    class_balanced,
    steps_per_epoch,
    with_weights,
)
from avstore.train.data.plan import ContinualPlan, PlanSpec, compile_plan
from avstore.train.data.query import sample_list
from avstore.train.data.random_spec import Augment, Turns
from avstore.train.data.raw import raw_samples
from avstore.train.data.resume_check import ChangedDataError
from avstore.train.data.samples import SampleList
from avstore.train.data.spec import FBANK_STATISTICS, BatchSpec, ErrorPolicy
from avstore.train.data.statistics import fbank_statistics, known_statistics
from avstore.train.data.steps import Steps
from avstore.train.data.worker_pool import LoaderError

if TYPE_CHECKING:
    from avstore.train.data.data_module import DataModule as DataModule

__all__ = [
    "FBANK_STATISTICS",
    "Augment",
    "BadSample",
    "BadSampleError",
    "Batch",
    "BatchSpec",
    "ChangedDataError",
    "ContinualPlan",
    "Dataset",
    "EpochOrder",
    "ErrorPolicy",
    "GroupOrder",
    "Loader",
    "LoaderError",
    "Mixture",
    "OpenStore",
    "Order",
    "PlanSpec",
    "QuerySource",
    "Rows",
    "SampleList",
    "Steps",
    "Turns",
    "WeightPhase",
    "class_balanced",
    "compile_plan",
    "fbank_statistics",
    "join",
    "known_statistics",
    "open_store",
    "raw_samples",
    "sample_list",
    "sources",
    "steps_per_epoch",
    "with_weights",
]


def __getattr__(name: str) -> Any:
    """Import `DataModule` when it is first used: it needs Lightning, which is optional."""
    if name != "DataModule":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from avstore.train.data.data_module import DataModule  # noqa: PLC0415 -- optional

    return DataModule
