"""From a query over the manifest to batches: which sample comes when is a pure function."""

from avstore.manifests.library import OpenStore, open_store
from avstore.manifests.shard_reader import BadSample, BadSampleError
from avstore.train.data.batch import Batch
from avstore.train.data.collate import Steps
from avstore.train.data.loader import Loader
from avstore.train.data.loading import LoaderError, batches, stream
from avstore.train.data.mixture import Mixture, Stretch
from avstore.train.data.order import EpochOrder, Order, Rows, steps_per_epoch
from avstore.train.data.plan import ContinualPlan, PlanSpec
from avstore.train.data.query import sample_list
from avstore.train.data.raw import raw_samples
from avstore.train.data.resume_check import ChangedDataError, Remembered
from avstore.train.data.samples import SampleList
from avstore.train.data.sources import Source, sources
from avstore.train.data.spec import FBANK_STATISTICS, Augment, BatchSpec, Policy
from avstore.train.data.statistics import fbank_statistics, known_statistics
from avstore.train.data.step_stream import StepStream
from avstore.train.data.stream_plan import compile_plan
from avstore.train.data.weights import class_balanced, with_weights

__all__ = [
    "FBANK_STATISTICS",
    "Augment",
    "BadSample",
    "BadSampleError",
    "Batch",
    "BatchSpec",
    "ChangedDataError",
    "ContinualPlan",
    "EpochOrder",
    "Loader",
    "LoaderError",
    "Mixture",
    "OpenStore",
    "Order",
    "PlanSpec",
    "Policy",
    "Remembered",
    "Rows",
    "SampleList",
    "Source",
    "StepStream",
    "Steps",
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
