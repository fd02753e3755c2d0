"""The embedded sample: a small synthetic corpus in VGGSound's format.

80 good clips of 10 s, 16 VGGSound classes in 4 categories (3 train and 2 test clips per class), and
7 rows with a defect: no audio stream, truncated, no video, too short, silent, still, absent. It is
read, fetched, validated and sharded by the same code as a real dataset.
"""

from avstore.datasets.sample.corpus import SAMPLE, SamplePaths, make_sample

__all__ = ["SAMPLE", "SamplePaths", "make_sample"]
