"""One flipped bit anywhere in a store is found by verify and taken in by no rebuild."""

from pathlib import Path

import pytest

from tests.faults import flips


@pytest.mark.parametrize(
    "count",
    [
        3 * len(flips.KINDS),
        pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(3000)]),
    ],
)
def test_every_flip_is_found_and_none_is_taken_in(tmp_path: Path, count: int) -> None:
    counts = flips.run(tmp_path, count, seed=count)
    print(counts.table())
    assert counts.missed == [], "\n".join(counts.missed)
    assert counts.taken_in == [], "\n".join(counts.taken_in)
    assert counts.made.total() == count
