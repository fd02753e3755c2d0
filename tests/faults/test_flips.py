"""One flipped bit anywhere in a store is found by verify and taken in by no rebuild.

AVSTORE_FLIPS=1000 sets the number of flips of the slow test.
"""

import os
from pathlib import Path

import pytest

from tests.faults import flips

FLIPS = int(os.environ.get("AVSTORE_FLIPS") or 4 * len(flips.KINDS))


@pytest.mark.parametrize(
    "count",
    [
        len(flips.KINDS),
        pytest.param(FLIPS, marks=[pytest.mark.slow, pytest.mark.timeout(600 + 4 * FLIPS)]),
    ],
    ids=["each kind once", "all"],
)
def test_every_flip_is_found_and_none_is_taken_in(tmp_path: Path, count: int) -> None:
    counts = flips.run(tmp_path, count, seed=count)
    print(counts.table())
    assert counts.missed == [], "\n".join(counts.missed)
    assert counts.taken_in == [], "\n".join(counts.taken_in)
    assert counts.made.total() == count
