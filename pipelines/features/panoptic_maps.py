"""Merge maps of things and of stuff into YT-360's label maps, as AVSA's released code does."""

import numpy as np
from numpy.typing import NDArray

from avstore.datasets.yt360_panoptic import MAPS_PER_SECOND, STUFF, THINGS
from avstore.manifests.label_maps import IGNORED

FEATURE = "segmentation"
"""Name of the feature of packed label maps."""

RATE = float(MAPS_PER_SECOND)

Labels = NDArray[np.uint8]


class UnknownClassError(ValueError):
    """A map holds a number that is no class."""


def merged(things: Labels, stuff: Labels) -> Labels:
    """Return a label map: things where there are any, stuff elsewhere, 255 without either.

    Args:
        things: uint8 [height, width], 0 to 79, and 80 without a thing.
        stuff: uint8 [height, width], 0 to 53, and 54 without stuff.

    Raises:
        UnknownClassError: A map holds another number.
        ValueError: The maps differ in size.
    """
    if things.shape != stuff.shape:
        raise ValueError(f"things are {_size(things)} pixels and stuff {_size(stuff)}")
    for name, labels, most in (("things", things, THINGS), ("stuff", stuff, STUFF)):
        if (found := int(labels.max(initial=0))) > most:
            raise UnknownClassError(f"{name} has class {found}; 0 to {most} are known")
    beside = np.where(stuff == STUFF, IGNORED, stuff + THINGS).astype(np.uint8)
    return np.where(things == THINGS, beside, things)


def _size(labels: Labels) -> str:
    return f"{labels.shape[1]} x {labels.shape[0]}"
