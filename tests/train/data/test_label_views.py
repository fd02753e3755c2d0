"""Views of panoramas of labels: cut by the nearest pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.train.data.transforms.equirectangular import View, nearest, take, view_map
from tests.train.systems.avsa.released_segmentation import NUMBERS, label_map


def test_the_published_sampling_is_that_of_the_released_code() -> None:
    maps = label_map()
    for place, expected in zip(NUMBERS["views"], NUMBERS["nearest"], strict=True):
        found = maps.take(nearest(View(*place), 12, 48, 24, published=True))
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=30, deadline=None)
@given(x=st.floats(0, 0.999), y=st.floats(0.33, 0.66), width=st.floats(0.15, 0.3))
def test_labels_are_where_the_pictures_pixels_are(x: float, y: float, width: float) -> None:
    """Four quarters of two labels: label and picture change at the same places."""
    view = View(x, y, width, 2 * width)
    labels = np.zeros((64, 128), np.uint8)
    labels[:, 30:90] = 1
    labels[40:] ^= 1
    picture = np.repeat(labels[..., None] * 200, 3, axis=2)
    found = labels.take(nearest(view, 32, 128, 64))
    seen = take(picture[None], view_map(view, 32, 128, 64))[0, ..., 0]
    plain = np.isin(seen, (0, 200))  # not between the two
    assert plain.mean() > 0.5
    np.testing.assert_array_equal(found[plain] * 200, seen[plain])


@pytest.mark.parametrize("y", [0.0, 1.0])
def test_views_of_the_poles_stay_in_the_panorama(y: float) -> None:
    found = nearest(View(0.0, y, 0.5, 1.0), 32, 128, 64)
    assert 0 <= found.min() <= found.max() < 128 * 64
