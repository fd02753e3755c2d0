"""Views of panoramas with ambisonic sound: projections, rotations, and both together."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.datasets.ambisonics import direction, encode
from avstore.manifests.store import StoreError
from avstore.train.data import BatchSpec, Loader, open_store, sample_list
from avstore.train.data.spatial import Chain, Misalign, SphericalViews
from avstore.train.data.transforms.ambisonics import rotate, to_front, yaw
from avstore.train.data.transforms.equirectangular import View, take, view_map
from tests.train.data import store_factory as toy

HEIGHT, WIDTH, SIZE = 128, 256, 32
ANGLE = st.floats(-math.pi, math.pi)
TILT = st.floats(-math.pi / 2, math.pi / 2)
places = {"x": st.floats(0, 0.999), "y": st.floats(0.02, 0.98)}


def vector(azimuth: float, elevation: float) -> np.ndarray:
    """Return (X, Y, Z): front, left, up."""
    level = math.cos(elevation)
    return np.array([math.cos(azimuth) * level, math.sin(azimuth) * level, math.sin(elevation)])


def angles(place: np.ndarray) -> tuple[float, float]:
    return math.atan2(place[1], place[0]), math.asin(np.clip(place[2], -1, 1))


def panorama() -> np.ndarray:
    """Return a smooth picture that has no symmetry."""
    down, across = np.mgrid[:HEIGHT, :WIDTH]
    a, e = 2 * np.pi * across / WIDTH, np.pi * down / HEIGHT
    channels = [np.sin(a) * np.sin(e), np.cos(2 * a) * np.sin(e), np.cos(e)]
    return np.stack([np.uint8(128 + 120 * c) for c in channels], axis=2)


def projected(picture: np.ndarray, view: View) -> np.ndarray:
    """Project by rays: for each pixel of the view the vector from its centre, in float64."""
    azimuth, elevation = direction(view.x, view.y)
    front = vector(azimuth, elevation)
    left = vector(azimuth + math.pi / 2, 0)
    up = np.cross(front, left)
    steps = 2 * (np.arange(SIZE) + 0.5) / SIZE - 1
    across, down = np.meshgrid(steps * math.pi * view.width, steps * math.pi / 2 * view.height)
    rays = front - across[..., None] * left - down[..., None] * up
    rays /= np.linalg.norm(rays, axis=2, keepdims=True)
    column = (1 - np.arctan2(rays[..., 1], rays[..., 0]) / math.pi) / 2 * WIDTH - 0.5
    row = (1 - np.arcsin(rays[..., 2]) / (math.pi / 2)) / 2 * HEIGHT - 0.5
    out = np.zeros((SIZE, SIZE, 3))
    for line, below in ((np.floor(row), False), (np.floor(row) + 1, True)):
        for place, right in ((np.floor(column), False), (np.floor(column) + 1, True)):
            weight = np.abs(1 - below - row % 1) * np.abs(1 - right - column % 1)
            rows = np.clip(line, 0, HEIGHT - 1).astype(int)
            out += weight[..., None] * picture[rows, place.astype(int) % WIDTH]
    return out


@settings(max_examples=40, deadline=None)
@given(**places, width=st.floats(0.05, 0.3), ratio=st.floats(0.75, 1.34))
def test_a_view_is_the_projection_by_rays(x, y, width, ratio):
    view = View(x, y, width, 2 * width * ratio)
    frames = np.stack([panorama(), panorama()[:, ::-1]])
    found = take(frames, view_map(view, SIZE, WIDTH, HEIGHT))
    assert found.shape == (2, SIZE, SIZE, 3)
    for one, picture in zip(found, frames, strict=True):
        assert np.abs(one - projected(picture, view)).max() <= 1


def test_the_published_sampling_is_near():
    view = View(0.3, 0.4, 0.2, 0.4)
    near = take(panorama()[None], view_map(view, SIZE, WIDTH, HEIGHT, published=True))
    assert np.abs(near[0] - projected(panorama(), view)).max() < 12


@given(a=ANGLE, e=TILT, centre_a=ANGLE, centre_e=TILT)
def test_a_rotated_source_is_the_source_encoded_where_it_went(a, e, centre_a, centre_e):
    signal = np.sin(np.arange(64))
    turn = to_front(centre_a, centre_e)
    there = angles(turn @ vector(a, e))
    found = rotate(encode(signal, a, e), turn)
    np.testing.assert_allclose(found, encode(signal, *there), atol=1e-6)
    own = rotate(encode(signal, centre_a, centre_e), turn)
    np.testing.assert_allclose(own, encode(signal, 0, 0), atol=1e-6)
    turned = rotate(encode(signal, a, e), yaw(centre_a))
    np.testing.assert_allclose(turned, encode(signal, a + centre_a, e), atol=1e-6)
    assert np.array_equal(found[0], np.float32(signal))


def test_several_rotations_at_once_are_each_alone():
    sound = np.random.default_rng(0).normal(size=(4, 100)).astype(np.float32)
    turns = np.stack([to_front(0.3, 0.1), yaw(2.0), np.eye(3)])
    at_once = rotate(sound, turns)
    for one, turn in zip(at_once, turns, strict=True):
        np.testing.assert_allclose(one, rotate(sound, turn), atol=1e-6)
    np.testing.assert_array_equal(at_once[2], sound)


def test_the_published_order_of_rotations():
    """Its source at the centre of a view is not in front: the numbers are of the released code."""
    place = direction(0.2, 0.4)
    found = rotate(encode(np.ones(1), *place), to_front(*place, published=True))
    np.testing.assert_allclose(found[:, 0], [1, -0.104, 0.385, 0.917], atol=5e-4)


@settings(max_examples=40, deadline=None)
@given(**places, dx=st.floats(-0.08, 0.08), dy=st.floats(-0.1, 0.1))
def test_a_picture_and_its_sound_stay_together(x, y, dx, dy):
    """A disc and its sound: where the disc is in a view, the sound's direction says too."""
    source = direction((x + dx) % 1, min(max(y + dy, 0.02), 0.98))
    down, across = np.mgrid[:HEIGHT, :WIDTH]
    place_a, place_e = direction((across + 0.5) / WIDTH, (down + 0.5) / HEIGHT)
    near = np.cos(place_e) * np.cos(source[1]) * np.cos(place_a - source[0])
    near += np.sin(place_e) * np.sin(source[1])
    picture = np.repeat(np.uint8(255 * (near > math.cos(0.2)))[..., None], 3, axis=2)
    view = View(x, y, 0.3, 0.6)
    (found,) = take(picture[None], view_map(view, SIZE, WIDTH, HEIGHT))
    sound = rotate(encode(np.ones(1), *source), to_front(*direction(x, y)))[:, 0]
    ahead, left, up = sound[3], sound[1], sound[2]
    column = (1 - left / ahead / (math.pi * view.width)) / 2 * SIZE
    row = (1 - up / ahead / (math.pi / 2 * view.height)) / 2 * SIZE
    assert ahead > 0
    if 2 < column < SIZE - 2 and 2 < row < SIZE - 2:
        assert found[int(row), int(column), 0] > 128


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    shape = toy.Shape(clips=6, frames=8, size=32, channels=4, seconds=0.5)
    root = toy.make_store(tmp_path_factory.mktemp("scenes"), shape)
    return sample_list(open_store(root), "SELECT clip_id FROM clips")


def spec(**changes):
    common = {"frames": 4, "image_size": None, "channels": 4, "read": ("frames", "waveform"),
              "frame_choice": "clip", "sound_seconds": 0.4, "seconds": 0.5}  # fmt: skip
    return BatchSpec(6, **common | changes)


def test_views_in_a_batch(scenes):
    both = Chain((Misalign(0.5), SphericalViews(views=3, size=16, seconds=0.5)))
    (batch,) = Loader(scenes, spec(transform=both), seed=4)
    assert batch.video.shape == (6, 3, 4, 3, 16, 16)
    assert batch.waveform.shape == (6, 3, 4, 6400)
    assert batch["positions"].shape == (6, 3, 3)
    assert (batch["positions"][..., 2] > 0.3).all()
    assert ((batch["yaw"] == 0) == batch["aligned"]).all()
    assert 0 < batch["aligned"].sum() < 6
    plain = next(iter(Loader(scenes, spec(), seed=4)))
    for row in range(6):
        x, y, _ = batch["positions"][row, 1].tolist()
        turned = rotate(plain.waveform[row].numpy(), yaw(float(batch["yaw"][row])))
        expected = rotate(turned, to_front(*direction(x, y)))
        np.testing.assert_allclose(batch.waveform[row, 1], expected, atol=1e-5)
    here, there = (list(Loader(scenes, spec(transform=both), workers=n)) for n in (0, 2))
    np.testing.assert_array_equal(here[0].video, there[0].video)


def test_centres_keep_their_distance():
    generator = np.random.default_rng(0)
    for _ in range(50):
        drawn = SphericalViews(distance=0.2).draw(generator)
        for number, one in enumerate(drawn):
            for other in drawn[:number]:
                across = min(abs(one.x - other.x), 1 - abs(one.x - other.x))
                assert math.hypot(2 * across, one.y - other.y) > 0.2
    with pytest.raises(StoreError, match="make distance smaller"):
        SphericalViews(distance=2.0).draw(generator)


def test_what_cannot_be_turned_is_one_line(scenes, toy_list):
    views = SphericalViews(size=8)
    with pytest.raises(StoreError, match="SphericalViews needs 'frames'"):
        next(iter(Loader(scenes, BatchSpec(2, read=("waveform",), channels=4, transform=views))))
    mono = BatchSpec(2, read=("frames", "waveform"), transform=views, waveform_samples=8000)
    with pytest.raises(ValueError, match=r"\[8000\] is no first-order.*channels=4"):
        next(iter(Loader(toy_list, mono)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SphericalViews(views=0), "views=0"),
        (lambda: SphericalViews(views=1.5), "views=1.5"),
        (lambda: SphericalViews(seconds=0.0), "seconds=0.0"),
        (lambda: Chain(Misalign()), "no tuple of transforms"),
        (lambda: SphericalViews(width=(0.3, 0.2)), r"width=\(0.3, 0.2\)"),
        (lambda: SphericalViews(centre_y=(0.2, 1.2)), "centre_y"),
        (lambda: Misalign(1.5), "probability=1.5"),
    ],
)
def test_settings_that_cannot_be(make, words):
    with pytest.raises(ValueError, match=words):
        make()
