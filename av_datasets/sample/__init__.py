"""The embedded sample: a small corpus in VGGSound's own format that the project makes itself.

80 good clips of 10 s, 16 VGGSound classes in 4 categories (3 train and 2 test clips a class), and
7 rows that end badly on purpose: no audio stream, truncated, no video at all, too short, silent,
still, absent. It is read, fetched, judged and sharded by the same code as the real thing.
"""

from avstore.datasets.sample.corpus import SAMPLE, SamplePaths, make_sample

__all__ = ["SAMPLE", "SamplePaths", "make_sample"]
