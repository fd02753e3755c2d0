"""Packed label maps: read back one by one, found by time, and bounded if damaged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.manifests.label_maps import IGNORED, LabelMaps, pack_maps


def maps(count: int, height: int = 6, width: int = 12) -> list[np.ndarray | None]:
    random = np.random.default_rng(count)
    return [random.integers(0, 134, (height, width)).astype(np.uint8) for _ in range(count)]


@settings(max_examples=50, deadline=None)
@given(
    present=st.lists(st.booleans(), min_size=1, max_size=12).filter(any),
    seconds=st.floats(0, 5),
)
def test_maps_come_back_and_a_time_finds_the_one_before_it(present, seconds) -> None:
    made = [own if kept else None for own, kept in zip(maps(len(present)), present, strict=True)]
    found = LabelMaps.of(pack_maps(made, 4))
    assert (len(found), found.rate, found.height, found.width) == (len(made), 4, 6, 12)
    assert found.missing == [number for number, own in enumerate(made) if own is None]
    for number, own in enumerate(made):
        if own is not None:
            np.testing.assert_array_equal(found.read(number), own)
    before = [own for own in made[: int(seconds * 4 + 1e-3) + 1] if own is not None]
    expected = before[-1] if before else np.full((6, 12), IGNORED)
    np.testing.assert_array_equal(found.at(seconds), expected)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([None, None], "none"),
        ([np.zeros((2, 4), np.uint8), np.zeros((4, 8), np.uint8)], "one size"),
        ([np.zeros((0, 4), np.uint8)], "too large"),
    ],
)
def test_maps_that_cannot_be_packed(given, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pack_maps(given, 4)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_maps_raise_value_errors(data) -> None:
    packed = pack_maps(maps(3), 4).copy()
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    packed = packed[: data.draw(st.integers(0, len(packed)))]
    try:
        found = LabelMaps.of(packed)
        own = found.at(1.0)
    except ValueError:
        return
    assert own.shape == (found.height, found.width)


def test_a_map_that_expands_to_more_than_it_says_is_refused() -> None:
    packed = pack_maps(maps(1, 64, 128), 4).copy()
    packed[6:8] = np.frombuffer(np.uint16(2).tobytes(), np.uint8)  # a lower height
    with pytest.raises(ValueError, match="damaged"):
        LabelMaps.of(packed).read(0)
