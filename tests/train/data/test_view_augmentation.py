"""Random changes of views: mirrored with their sound, louder or softer, and in other colours."""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.train.data import BatchSpec, Loader, open_store, sample_list
from avstore.train.data.spatial import (
    AugmentViews,
    Chain,
    Misalign,
    SphericalViews,
    jitter_colours,
    spectra,
)
from avstore.train.data.transforms.colour import draw_jitter
from avstore.train.data.transforms.frames import IMAGE_MEAN, IMAGE_STD, normalise
from tests.train.data import store_factory as toy

MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
OPERATIONS = (
    torchvision.adjust_brightness,
    torchvision.adjust_contrast,
    torchvision.adjust_saturation,
    torchvision.adjust_hue,
)


def sample(views: int = 4) -> dict:
    random = np.random.default_rng(1)
    return {
        "frames": random.integers(0, 256, (views, 2, 6, 8, 3)).astype(np.uint8),
        "waveform": random.uniform(-0.99, 0.99, (views, 4, 50)).astype(np.float32),
    }


def test_a_mirrored_view_has_its_sound_mirrored():
    before, after = sample(), AugmentViews(flip=1.0, volume=0.0)(sample(), np.random.default_rng(0))
    np.testing.assert_array_equal(after["frames"], before["frames"][:, :, :, ::-1])
    signs = np.float32([1, -1, 1, 1])[:, None]
    np.testing.assert_allclose(after["waveform"], before["waveform"] * signs)


def test_the_published_mirror_leaves_the_sound():
    mirror = AugmentViews(flip=1.0, volume=0.0, published=True)
    after = mirror(sample(), np.random.default_rng(0))
    np.testing.assert_allclose(after["waveform"], sample()["waveform"])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_each_view_has_its_own_draws_for_all_channels(seed):
    before, after = sample(8), AugmentViews()(sample(8), np.random.default_rng(seed))
    for view in range(8):
        frames = before["frames"][view]
        mirrored = not np.array_equal(after["frames"][view], frames)
        if mirrored:
            np.testing.assert_array_equal(after["frames"][view], frames[:, :, ::-1])
        small = np.abs(before["waveform"][view]) < 0.9
        ratios = after["waveform"][view] / before["waveform"][view]
        assert (np.sign(ratios[1]) == (-1 if mirrored else 1)).all()
        gains = np.abs(ratios[small])
        assert np.ptp(gains) < 1e-5
        assert 0.9 <= gains.mean() <= 1.1
    assert np.abs(after["waveform"]).max() <= 1
    assert (np.sort(after["jitter_order"], axis=1) == np.arange(4)).all()
    low, high = np.float32([0.6, 0.6, 0.6, -0.2]), np.float32([1.4, 1.4, 1.4, 0.2])
    assert ((low <= after["jitter"]) & (after["jitter"] <= high)).all()
    assert len(np.unique(after["jitter"])) == 32


def test_frames_without_views_and_sound_of_one_channel():
    one = {"frames": sample()["frames"][0], "waveform": sample()["waveform"][0, 0]}
    after = AugmentViews(flip=1.0)(dict(one), np.random.default_rng(0))
    np.testing.assert_array_equal(after["frames"], one["frames"][:, :, ::-1])
    assert after["waveform"].shape == (50,)
    assert after["jitter"].shape == after["jitter_order"].shape == (4,)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_colours_are_torchvisions(seed):
    random = np.random.default_rng(seed)
    pixels = torch.from_numpy(random.integers(0, 256, (3, 2, 3, 8, 8)).astype(np.uint8))
    drawn = [draw_jitter((0.4, 0.4, 0.4, 0.2), random) for _ in range(3)]
    factors, order = (torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))
    found = jitter_colours(normalise(pixels), factors, order) * STD + MEAN
    for view, chosen, places in zip(pixels / 255, factors, order, strict=True):
        expected = view
        for number in places.tolist():
            expected = OPERATIONS[number](expected, float(chosen[number]))
        row = int((factors == chosen).all(1).nonzero()[0])
        torch.testing.assert_close(found[row], expected, atol=1e-3, rtol=0)


def test_factors_of_nothing_change_nothing():
    video = normalise(torch.randint(0, 256, (2, 3, 4, 3, 6, 6)).to(torch.uint8))
    none = torch.tensor([1.0, 1.0, 1.0, 0.0]).expand(2, 3, 4)
    order = torch.tensor([3, 0, 2, 1]).expand(2, 3, 4)
    torch.testing.assert_close(jitter_colours(video, none, order), video, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    shape = toy.Shape(clips=6, frames=8, size=32, channels=4, seconds=0.5)
    root = toy.make_store(tmp_path_factory.mktemp("augmented"), shape)
    return sample_list(open_store(root), "SELECT clip_id FROM clips")


def training(batch_size: int) -> BatchSpec:
    views = SphericalViews(views=3, size=16, seconds=0.5)
    return BatchSpec(
        batch_size,
        read=("frames", "waveform"),
        channels=4,
        image_size=None,
        frames=4,
        frame_choice="clip",
        seconds=0.5,
        sound_seconds=0.4,
        sample_rate=24_000,
        pixels="uint8",
        transform=Chain((Misalign(), views, AugmentViews())),
    )


def test_a_batch_of_training(scenes):
    (batch,) = Loader(scenes, training(6), seed=4)
    assert batch.video.shape == (6, 3, 4, 3, 16, 16)
    assert batch.video.dtype == torch.uint8
    batch = batch.to("cpu")
    assert spectra(batch.waveform, batch.sample_rate).shape == (6, 3, 4, 40, 128)
    jittered = jitter_colours(batch.video, batch["jitter"], batch["jitter_order"])
    assert jittered.shape == batch.video.shape
    assert not jittered.equal(batch.video)


def test_draws_do_not_depend_on_ranks_workers_or_resuming(scenes):
    """Rows as of one process: in other batches, of two workers, of two ranks, after a resume."""

    def rows(*batches):
        return {
            clip: [batch[key][row] for key in ("video", "waveform", "jitter", "jitter_order")]
            for batch in batches
            for row, clip in enumerate(batch.clip_ids)
        }

    plain = rows(*Loader(scenes, training(6), seed=4))
    smaller, resumed = Loader(scenes, training(2), seed=4), Loader(scenes, training(2), seed=4)
    first = next(passing := iter(smaller))
    resumed.load_state_dict(smaller.state_dict())
    others = [
        rows(*Loader(scenes, training(6), seed=4, workers=2)),
        rows(
            *(
                b
                for rank in (0, 1)
                for b in Loader(scenes, training(6), seed=4, rank=rank, world_size=2)
            )
        ),
        rows(first, *resumed),
        rows(first, *passing),
    ]
    for other in others:
        assert other.keys() == plain.keys()
        for clip, values in plain.items():
            assert all(a.equal(b) for a, b in zip(values, other[clip], strict=True))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AugmentViews(flip=1.5), r"flip=1.5 is not in \[0, 1\]"),
        (lambda: AugmentViews(volume=-0.1), "volume=-0.1"),
        (lambda: AugmentViews(hue=0.6), r"hue=0.6 is not in \[0, 0.5\]"),
        (lambda: AugmentViews(contrast=float("inf")), "contrast=inf"),
        (lambda: jitter_colours(torch.zeros(1, 1, 3, 4, 4, dtype=torch.uint8), *NONE), "uint8"),
        (lambda: jitter_colours(torch.zeros(2, 1, 3, 4, 4), *NONE), r"\[1, 4\].*do not fit"),
    ],
)
def test_what_cannot_be_is_one_line(make, words):
    with pytest.raises(ValueError, match=words):
        make()


NONE = (torch.ones(1, 4), torch.arange(4)[None])
