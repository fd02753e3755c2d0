"""Weights of samples for draws with replacement."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from avstore.manifests.store import StoreError
from avstore.train.data.samples import SampleList, fingerprint_of
from avstore.train.data.shared import SharedTable


def class_balanced(samples: SampleList) -> SampleList:
    """The list with CAV-MAE's and UAVM's weights: a clip's is the sum over its labels of
    1000 / (clips of the label + 0.01), counted over the list (specs/uavm.md).

    Use it with BatchSpec(weighted=True). Raises StoreError where no clip has a label.
    """
    labels, starts = samples.numbers("label_ids"), samples.numbers("label_ids at")
    if not len(labels):
        raise StoreError("no clip of the list has a label: there are no classes to balance")
    counts = np.bincount(labels, minlength=samples.classes)
    each = 1000.0 / (counts[labels] + 0.01)
    total = np.concatenate([[0.0], np.cumsum(each)])
    return with_weights(samples, total[starts[1:]] - total[starts[:-1]])


def with_weights(samples: SampleList, weights: ArrayLike) -> SampleList:
    """The list with these weights (numbers, an array or a tensor), one a sample, in its order;
    another fingerprint. Raises StoreError where they are no such thing."""
    try:
        weights = np.asarray(weights, np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise StoreError(f"weights are numbers, one a sample: {error}") from error
    if len(weights) != len(samples) or not np.isfinite(weights).all() or (weights < 0).any():
        raise StoreError(f"{len(samples)} weights of at least 0 are wanted, one a sample")
    place = samples.table.column_names.index("weight")
    table = samples.table.set_column(place, "weight", pa.array(weights, pa.float64()))
    shards = samples.shards
    fingerprint = fingerprint_of(table, shards)
    return replace(samples, columns=SharedTable(table), fingerprint=fingerprint)
