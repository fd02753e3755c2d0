"""From a query over the manifest to batches: which sample comes when is a pure function."""

from train.data.batch import Batch
from train.data.build import Steps
from train.data.changes import ChangedDataError, Remembered
from train.data.loader import Loader
from train.data.loading import LoaderError, batches, stream
from train.data.mixture import Mixture, Stretch
from train.data.order import EpochOrder, Order, Rows, steps_per_epoch
from train.data.plan import ContinualPlan, PlanSpec
from train.data.query import sample_list
from train.data.raw import raw_samples
from train.data.reading import BadSampleError, Problem
from train.data.samples import SampleList
from train.data.sources import Source, sources
from train.data.spec import FBANK_STATISTICS, Augment, BatchSpec, Policy
from train.data.statistics import fbank_statistics, known_statistics
from train.data.step_stream import StepStream
from train.data.store import Store, open_store
from train.data.streams import compile_plan
from train.data.weights import class_balanced, with_weights

__all__ = [
    "FBANK_STATISTICS",
    "Augment",
    "BadSampleError",
    "Batch",
    "BatchSpec",
    "ChangedDataError",
    "ContinualPlan",
    "EpochOrder",
    "Loader",
    "LoaderError",
    "Mixture",
    "Order",
    "PlanSpec",
    "Policy",
    "Problem",
    "Remembered",
    "Rows",
    "SampleList",
    "Source",
    "StepStream",
    "Steps",
    "Store",
    "Stretch",
    "batches",
    "class_balanced",
    "compile_plan",
    "fbank_statistics",
    "known_statistics",
    "open_store",
    "raw_samples",
    "sample_list",
    "sources",
    "steps_per_epoch",
    "stream",
    "with_weights",
]
