"""Classes of YT-360's segmentation: the panoptic classes of COCO, things and merged stuff.

Source: pedro-morgado/AVSpatialAlignment at 817a8cf (its lists of names and of evaluated classes).
Labels 0 to 79 are things; 80 is the stuff class "things", for any of them; 81 to 133 are stuff.
"""

import csv
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

THINGS = 80
"""Number of classes of things, and the value in maps of things where there is none."""

STUFF = 54
"""Number of classes of stuff, and the value in maps of stuff where there is none."""

MAPS_PER_SECOND = 4
"""Rate of the released maps."""


class PanopticClasses(NamedTuple):
    """Classes by label.

    Attributes:
        names: Name of each label, from 0.
        evaluated: Labels of the classes that are evaluated, in the published order: the 16 things
            and the 16 stuff classes that are most frequent in YT-360.
    """

    names: tuple[str, ...]
    evaluated: tuple[int, ...]


@lru_cache(maxsize=1)
def panoptic_classes() -> PanopticClasses:
    """Return the classes."""
    text = files("avstore.datasets").joinpath("data", "yt360_panoptic_classes.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    places = sorted(
        (int(row["evaluated_as"]), int(row["class"])) for row in rows if row["evaluated_as"]
    )
    return PanopticClasses(tuple(row["name"] for row in rows), tuple(label for _, label in places))
