"""Test the selection of frames."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.pipelines.extract.recipe import FrameSettings
from avstore.pipelines.extract.sampling import (
    exact_seconds,
    indices_on_screen,
    published_indices,
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
    picked = strict_indices(count(n), times, origin, TEN, BASE)
    for index, instant in zip(picked, sample_instants(count(n), TEN), strict=True):
        begun = [t for t in times if t * BASE - origin <= instant]
        assert times[index] == (begun[-1] if begun else times[0])
    assert picked == sorted(picked)


def test_published_count_is_one_frame_early():
    """STELLA seeks index int(i * total / N) - 1; dense clips give the first frame twice."""
    times = [i * 40 for i in range(250)]
    picked = published_indices(count(80), times, Fraction(0), TEN, BASE)
    assert picked[:5] == [0, 2, 5, 8, 11]
    assert picked == [max(int(i * 250 / 80) - 1, 0) for i in range(80)]
    assert strict_indices(count(80), times, Fraction(0), TEN, BASE)[:5] == [0, 3, 6, 9, 12]


def test_published_count_spreads_over_a_short_clip():
    times = [i * 40 for i in range(150)]
    assert published_indices(count(80), times, Fraction(0), TEN, BASE)[-1] == int(79 * 150 / 80) - 1


@pytest.mark.parametrize("fps", [24, 25, 29, 30, 60])
def test_published_rate_is_ffmpegs_fps_filter(tmp_path, fps):
    """The reference is the filter itself; each frame's brightness is its number."""
    import numpy as np

    from tests.pipelines.extract.media import ffmpeg

    raw = ffmpeg(
        *("-f", "lavfi", "-i", f"color=black:size=16x16:rate={fps}:duration=4,format=gray"),
        *("-vf", "geq=lum='mod(N,250)',fps=3", "-f", "rawvideo", "-pix_fmt", "gray", "-"),
    )
    theirs = np.frombuffer(raw, np.uint8).reshape(-1, 256)[:, 0]
    times = list(range(4 * fps))
    ours = published_indices(rate(3.0), times, Fraction(0), Fraction(4), Fraction(1, fps))
    assert ours == theirs[: len(ours)].tolist()


def test_before_the_first_frame_it_is_the_first():
    assert indices_on_screen([100, 200], [0, 99, 100, 150, 500]) == [0, 0, 0, 0, 1]
