"""Test the selection of frames."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.pipelines.extract.recipe_sections import FrameSettings
from avstore.pipelines.extract.sampling import (
    exact_seconds,
    indices_on_screen,
    sample_instants,
    strict_indices,
)

BASE = Fraction(1, 1000)
TEN = Fraction(10)


def count(n: int) -> FrameSettings:
    return FrameSettings(sampling="count", count=n, size=64)


def rate(r: float) -> FrameSettings:
    return FrameSettings(sampling="rate", rate=r, size=64)


def at(*times: float) -> FrameSettings:
    return FrameSettings(sampling="times", times=times, size=64)


def test_instants():
    assert sample_instants(count(80), TEN)[:3] == [0, Fraction(1, 8), Fraction(1, 4)]
    assert len(sample_instants(rate(3.0), TEN)) == 30
    assert sample_instants(rate(3.0), TEN)[1] == Fraction(1, 3)
    assert len(sample_instants(rate(8.0), exact_seconds(9.99))) == 80
    assert sample_instants(at(0.5, 2.0, 30.0), TEN) == [Fraction(1, 2), 2]


@settings(deadline=None)
@given(
    st.lists(st.integers(-500, 20_000), min_size=1, max_size=300, unique=True).map(sorted),
    st.integers(1, 100),
    st.integers(0, 3000),
)
def test_the_frame_on_screen(times, n, origin_ms):
    origin = origin_ms * BASE
    picked = strict_indices(sample_instants(count(n), TEN), times, origin, BASE)
    for index, instant in zip(picked, sample_instants(count(n), TEN), strict=True):
        begun = [t for t in times if t * BASE - origin <= instant]
        assert times[index] == (begun[-1] if begun else times[0])
    assert picked == sorted(picked)


def test_before_the_first_frame_it_is_the_first():
    assert indices_on_screen([100, 200], [0, 99, 100, 150, 500]) == [0, 0, 0, 0, 1]
