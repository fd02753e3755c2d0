"""One pass of a Loader from any position."""

from typing import Any

from avstore.train.data import Batch, BatchSpec, Loader, SampleList


def one_pass(
    samples: SampleList, spec: BatchSpec, epoch: int = 0, step: int = 0, **options: Any
) -> list[Batch]:
    """Return the batches of an epoch from a step on."""
    loader = Loader(samples, spec, **options)
    loader.epoch, loader.step = epoch, step
    return list(loader)
