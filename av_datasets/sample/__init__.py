"""The embedded samples: small synthetic corpora in the formats of published datasets.

They are read, fetched, validated and sharded by the same code as a real dataset.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from avstore.datasets.sample.corpus import SAMPLE, make_sample
from avstore.datasets.sample.folder import Progress, SamplePaths
from avstore.datasets.sample.spatial_corpus import SPATIAL_SAMPLE, make_spatial_sample
from avstore.datasets.spec import DatasetSpec

__all__ = [
    "SAMPLE",
    "SAMPLES",
    "SPATIAL_SAMPLE",
    "EmbeddedSample",
    "SamplePaths",
    "make_sample",
    "make_spatial_sample",
]


@dataclass(frozen=True)
class EmbeddedSample:
    """A sample of a dataset that this project makes.

    Attributes:
        spec: The dataset, with the sample's version.
        make: Writes it to a folder, as `write_folder`.
        folder: The folder's name in a store.
        lists: Example of the published annotation files, for messages.
    """

    spec: DatasetSpec
    make: Callable[[Path, Progress | None], SamplePaths]
    folder: str
    lists: str


SAMPLES: Mapping[str, EmbeddedSample] = {
    "vggsound": EmbeddedSample(SAMPLE, make_sample, "sample", "/path/to/vggsound.csv"),
    "yt360": EmbeddedSample(
        SPATIAL_SAMPLE, make_spatial_sample, "sample-yt360", "/path/to/segments_train_test"
    ),
}
"""The embedded samples, by the name of their dataset."""
