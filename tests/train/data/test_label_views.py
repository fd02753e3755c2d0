"""Views of panoramas of labels: cut by the nearest pixel, with the pictures and the sound."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.datasets.ambisonics import direction, encode
from avstore.manifests.label_maps import pack_maps
from avstore.manifests.store import StoreError
from avstore.train.data.spatial import Chain, SphericalViews
from avstore.train.data.spatial_labels import LabelAtEnd, LabelledViews, MirrorPanorama
from avstore.train.data.transforms.ambisonics import rotate, to_front
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


HEIGHT, WIDTH = 32, 64


def scene(seconds: float = 0.25) -> dict:
    """A panorama with a red east and a blue west, their maps (0 and 2), and sound on the left."""
    east = np.arange(WIDTH) >= WIDTH // 2
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:, east, 0], picture[:, ~east, 2] = 255, 255
    label = np.where(east, 0, 2).astype(np.uint8) * np.ones((HEIGHT, 1), np.uint8)
    times = seconds + np.arange(4, dtype=np.float32) / 16
    older = np.full_like(label, 7)
    return {
        "clip_id": "yt360/a-1",
        "frames": np.stack([picture] * 4),
        "waveform": encode(np.ones(8), math.pi / 2, 0.0).astype(np.float32),
        "segmentation": pack_maps([older, older, label, None, older], 4),
        "frame_times": times,
        "waveform_start": 0.0,
        "sample_rate": 24_000,
    }


def test_the_labels_are_those_of_the_time_at_which_the_pictures_end() -> None:
    generator = np.random.default_rng(0)
    found = {s: LabelAtEnd()(scene(s), generator)["label_map"] for s in (0.0, 0.2, 0.25, 0.5, 0.75)}
    kinds = {seconds: set(np.unique(own).tolist()) for seconds, own in found.items()}
    assert kinds == {0.0: {7}, 0.2: {7}, 0.25: {0, 2}, 0.5: {0, 2}, 0.75: {7}}


def test_classes_are_numbered_in_their_order_and_others_are_ignored() -> None:
    found = LabelAtEnd(classes=(4, 2))(scene(), np.random.default_rng(0))["label_map"]
    assert "segmentation" not in LabelAtEnd()(scene(), np.random.default_rng(0))
    assert set(np.unique(found).tolist()) == {1, 255}


@pytest.mark.parametrize("mirrored", [0.0, 1.0])
def test_pictures_labels_and_sound_stay_together(mirrored: float) -> None:
    """Where a view is red its label is 0, and the sound of the west side comes from there."""
    steps = (
        LabelAtEnd(),
        MirrorPanorama(mirrored),
        LabelledViews(SphericalViews(views=6, size=16, seconds=1.0)),
    )
    found = Chain(steps)(scene(), np.random.default_rng(3))
    assert found["label_map"].shape == (6, 16, 16)
    assert found["frames"].shape == (6, 4, 16, 16, 3)
    assert found["waveform"].shape == (6, 4, 8)
    red, blue = found["frames"][:, 0, ..., 0] > 250, found["frames"][:, 0, ..., 2] > 250
    assert (found["label_map"][red] == 0).all()
    assert (found["label_map"][blue] == 2).all()
    (x, y, _), sound = found["positions"][0], found["waveform"][0, :, 0]
    place = direction(1 - x if mirrored else x, y)
    sign = -1 if mirrored else 1
    expected = rotate(encode(np.ones(1), math.pi / 2, 0.0), to_front(*place))[:, 0]
    np.testing.assert_allclose(sound * np.array([1, sign, 1, 1]), expected, atol=1e-5)


def test_views_are_those_without_labels() -> None:
    """The labels change nothing else: the draws of the views are the same."""
    views = SphericalViews(views=2, size=16, seconds=1.0)
    labelled = Chain((LabelAtEnd(), LabelledViews(views)))(scene(), np.random.default_rng(5))
    plain = scene()
    del plain["segmentation"]
    plain = views(plain, np.random.default_rng(5))
    for name in ("frames", "waveform", "positions"):
        np.testing.assert_array_equal(labelled[name], plain[name])


def test_wrong_use_is_said_in_one_line() -> None:
    sample, generator = scene(), np.random.default_rng(0)
    sample["segmentation"] = np.zeros(30, np.uint8)
    with pytest.raises(StoreError, match="segmentation of yt360/a-1: it holds no packed"):
        LabelAtEnd()(sample, generator)
    with pytest.raises(StoreError, match="needs 'segmentation' in BatchSpec"):
        LabelAtEnd()({"frame_times": np.zeros(1)}, generator)
    with pytest.raises(StoreError, match="LabelledViews needs 'label_map'"):
        LabelledViews(SphericalViews())(scene(), generator)
    with pytest.raises(ValueError, match="is not in"):
        MirrorPanorama(1.5)
    with pytest.raises(ValueError, match="labels from 0 to 255"):
        LabelAtEnd(classes=())
