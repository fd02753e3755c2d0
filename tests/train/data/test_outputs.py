"""What comes out: frames, spectrograms, labels, features, statistics, against hand-worked cases."""

import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avstore.manifests.catalogue import open_write
from avstore.manifests.ledger import now
from avstore.manifests.lock import writing
from avstore.manifests.rebuild import rebuild
from avstore.manifests.statistics import Statistics, save_statistics
from avstore.manifests.store import StoreError
from avstore.train.data import (
    Augment,
    BatchSpec,
    Loader,
    fbank_statistics,
    known_statistics,
    open_store,
    sample_list,
)
from avstore.train.data.transforms import fbank as fbanks
from avstore.train.data.transforms import frames, labels, masks, waveform
from tests.train.data import store_factory as toy


def drawn(seed=0):
    return np.random.default_rng(seed)


def first(samples, **options):
    settings = {"batch_size": 23, "frames": 2, "image_size": 24, "fbank_frames": 48}
    random = {"augment": Augment(crop=True, noise=True)}
    return next(iter(Loader(samples, BatchSpec(**settings | random | options))))


def test_stellas_window_and_its_middle():
    assert frames.window_frames(80, 4, 10.0, None) == [24, 32, 40, 48]
    for seed in range(20):
        chosen = frames.window_frames(80, 4, 10.0, drawn(seed))
        assert [b - a for a, b in itertools.pairwise(chosen)] == [8, 8, 8]
        assert 0 <= chosen[0] < 48


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 90), st.integers(1, 12), st.integers(0, 99))
def test_any_choice_is_in_range_and_in_order(stored, wanted, seed):
    for choice in ("window", "middle", "random", "segment", "even", "all"):
        found = frames.choose_frames(choice, stored, wanted, 10.0, drawn(seed))
        assert found == sorted(found)
        assert all(0 <= index < stored for index in found)
        assert len(found) == (stored if choice == "all" else wanted)


def test_frames_at_given_times_are_the_nearest():
    times = np.array([0.0, 1.0, 2.0, 3.0], np.float32)
    assert frames.nearest_frames(times, 4, 4.0, (0.4, 1.5, 2.6, 9.0)) == [0, 1, 3, 3]


def test_spec_augment_blanks_one_band_and_one_span():
    for seed in range(30):
        choices = fbanks.mask_choices((200, 128), 48, 100, drawn(seed))
        ones = np.ones((200, 128), np.float32)
        out = fbanks.mask_and_normalise(ones, choices, mean=0.0, std=1.0)
        blank_bins = np.flatnonzero((out == 0).all(0))
        blank_rows = np.flatnonzero((out == 0).all(1))
        assert len(blank_bins) < 48
        assert len(blank_rows) < 100
        for blank in (blank_bins, blank_rows):
            assert len(blank) == 0 or blank[-1] - blank[0] + 1 == len(blank)


def test_noise_is_at_most_a_tenth_and_the_roll_is_circular():
    ramp = np.repeat(np.arange(50, dtype=np.float32)[:, None] * 10, 4, 1)
    choices = fbanks.noise_choices(fbanks.FbankChoices(), 50, drawn(3), roll=10)
    out = fbanks.noise_and_roll(ramp, choices)
    shift = int(np.argmin(out[:, 0]))
    assert shift <= 10 or shift >= 40
    back = np.roll(out, -shift, axis=0) - ramp
    assert 0 <= back.min() <= back.max() < 0.1


@pytest.mark.parametrize("fbank", ["worker", "device"])
def test_the_mask_of_an_fbank_is_rolled_with_it(toy_list, fbank):
    """Toy fbanks are shorter than the batch's rows: padding is what is the same in every bin."""
    batch = first(toy_list, fbank_frames=200, fbank=fbank).to("cpu")
    ends = batch.audio[:, 0].aminmax(dim=2)
    quiet = ends.max - ends.min < 0.11
    assert (batch.audio_roll != 0).any()
    assert (~batch.audio_mask).any()
    assert torch.equal(quiet, ~batch.audio_mask)


def test_mixup_of_some_rows_goes_with_frames(toy_list):
    mixing = Augment(mixup=0.5)
    spec = BatchSpec(8, frames=2, image_size=24, labels="multi_hot", augment=mixing)
    seen = list(Loader(toy_list, spec))
    mixed = [partner is not None for batch in seen for partner in batch.mixed_with]
    assert 0 < sum(mixed) < len(mixed) == len(toy_list)
    assert all(batch.video.dtype == torch.float32 for batch in seen)


def test_waveform_mixup_is_mean_free_and_as_long_as_the_first():
    a, b = np.array([1, 3, 5, 7], np.float32), np.array([2, 4], np.float32)
    mixed = waveform.mix(a, b, 0.75)
    expected = 0.75 * (a - 4) + 0.25 * np.array([-1, 1, 0, 0])
    np.testing.assert_allclose(mixed, expected - expected.mean())


def test_targets_of_the_spec():
    np.testing.assert_allclose(labels.multi_hot([1], 4, 0.1), [0.025, 0.9, 0.025, 0.025])
    mixed = labels.multi_hot([1], 4, 0.1, [1, 2], 0.75)
    np.testing.assert_allclose(mixed, [0.025, 0.925, 0.25, 0.025], atol=1e-6)
    by_second = labels.by_segment([(0, 1.0, 3.0), (1, 2.5, 4.0)], 5, 3, background=2)
    assert by_second.tolist() == [[0, 0, 1], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_labels_as_multi_hot_and_by_segment(toy_store, toy_list):
    batch = first(toy_list, labels="multi_hot", random=False)
    for row, clip in enumerate(batch.clip_ids):
        assert batch.labels[row].nonzero()[:, 0].tolist() == toy.labels_of(int(clip[-6:]))
    with pytest.raises(StoreError, match="labels; labels='index'"):
        first(toy_list, labels="index")
    seen = sample_list(toy_store, "SELECT clip_id FROM clips", segments="visual")
    batch = first(seen, labels="segments", random=False, segments=8)
    for row, clip in enumerate(batch.clip_ids):
        number = int(clip[-6:])
        for label in toy.labels_of(number):
            on = batch.labels[row][:, label].nonzero()[:, 0].tolist()
            assert on == (list(range(label, label + 2)) if number % 2 else [])


def test_segments_of_both_modalities_are_kept_apart(toy_store):
    every = "SELECT clip_id FROM clips"
    common = {"random": False, "segments": 8}
    both = sample_list(toy_store, every, segments="apart")
    batch = first(both, labels="segments_by_modality", **common)
    for number, modality in enumerate(("audio", "visual")):
        own = sample_list(toy_store, every, segments=modality)
        expected = first(own, labels="segments", **common).labels
        assert torch.equal(batch.labels[:, :, number], expected)
    assert not torch.equal(batch.labels[:, :, 0], batch.labels[:, :, 1])
    with pytest.raises(StoreError, match="segments='apart'"):
        first(own, labels="segments_by_modality", **common)


def test_derived_features_come_fitted(toy_store):
    samples = sample_list(toy_store, "SELECT clip_id FROM clips", features=["toy-feature"])
    batch = first(samples, read=("toy-feature",), feature_rows=5, random=False)
    assert batch.features["toy-feature"].shape == (23, 5, 4)
    for row, clip in enumerate(batch.clip_ids):
        value = batch.features["toy-feature"][row]
        assert torch.equal(value[:3], torch.full((3, 4), float(int(clip[-6:]))))
        assert not value[3:].any()
    with pytest.raises(StoreError, match="no nosuch"):
        sample_list(toy_store, "SELECT clip_id FROM clips", features=["nosuch"])


def test_mixup_mixes_everything_by_one_share(toy_list):
    augment = Augment(mixup=1.0)
    spec = {"labels": "multi_hot", "augment": augment, "fbank_frames": 40, "frame_choice": "even"}
    mixed = first(toy_list, **spec)
    bare = first(toy_list, **spec | {"augment": Augment()})
    plain = dict(zip(bare.clip_ids, zip(bare.audio, bare.labels, strict=True), strict=True))
    for row, clip in enumerate(mixed.clip_ids):
        share, other = mixed.share[row], mixed.mixed_with[row]
        for mine, own, partner in zip(
            (mixed.audio[row], mixed.labels[row]), plain[clip], plain[other], strict=True
        ):
            torch.testing.assert_close(mine, share * own + (1 - share) * partner)


def test_one_sample_is_the_same_in_any_batch_and_order(toy_list):
    """Random choices belong to the row's place: batch size and workers change nothing."""
    whole = first(toy_list)
    augment = Augment(crop=True, noise=True)
    spec = BatchSpec(5, frames=2, image_size=24, fbank_frames=48, augment=augment)
    parts = list(Loader(toy_list, spec))
    assert torch.equal(torch.cat([b.video for b in parts]), whole.video)
    assert torch.equal(torch.cat([b.audio for b in parts]), whole.audio)


def test_nothing_is_augmented_that_was_not_asked_for(toy_list):
    plain = first(toy_list, random=False, frame_choice="even", augment=Augment())
    drawn = first(toy_list, shuffle="listed", frame_choice="even", augment=Augment())
    assert torch.equal(plain.video, drawn.video)
    assert torch.equal(plain.audio, drawn.audio)


def test_decoding_on_the_device_is_decoding_in_the_worker(toy_list):
    here = first(toy_list, random=False)
    there = first(toy_list, random=False, decode="device").to("cpu")
    assert (here.video - there.video).abs().max() < 0.1  # some levels of 255, by resizing


def test_statistics_are_those_of_all_values(toy_list):
    shape = toy.Shape()
    values = np.concatenate(
        [toy.fbank(n, shape).astype(np.float64).ravel() for n in range(shape.clips)]
    )
    found = fbank_statistics(toy_list)
    np.testing.assert_allclose([found.mean, found.std], [values.mean(), values.std()], rtol=1e-9)
    assert found.frames == len(values) // shape.mels


def test_statistics_are_kept_and_survive_a_rebuild(tmp_path):
    root = toy.make_store(tmp_path / "store")
    store = open_store(root)
    kept = Statistics("toy-train", "toy", "toy-abcdef01", "SELECT 1", 23, 9, -4.5, 3.5, "00", now())
    save_statistics(store.paths, kept)
    assert known_statistics(store, "toy-train") == (-4.5, 3.5)
    assert known_statistics(store, "vggsound") == (-5.081, 4.4849)
    with writing(store.paths), open_write(store.paths, fresh=True) as writer:
        rebuild(writer, store.paths)
        writer.publish()
    assert known_statistics(store, "toy-train") == (-4.5, 3.5)
    with pytest.raises(StoreError, match="known are audioset, toy-train, vggsound"):
        known_statistics(store, "nosuch")


def test_avss_colours_are_classes_and_unknown_ones_are_counted():
    palette = masks.avss_palette()
    spots = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 70: (32, 128, 128)}
    assert {number: tuple(palette[number]) for number in spots} == spots
    assert len({tuple(colour) for colour in palette}) == 71
    classes = np.arange(72).reshape(8, 9) % 71
    colours = palette[classes]
    found, unknown = masks.classes_of(colours)
    assert (found == classes).all()
    assert unknown == 0
    colours[3, 4:6] = (1, 2, 3)
    found, unknown = masks.classes_of(colours)
    assert unknown == 2
    assert (found[3, 4:6] == 0).all()


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "RGBA"])
def test_masks_of_any_kind_are_cropped_as_the_frames(mode):
    classes = np.zeros((20, 40), np.uint8)
    classes[:10, 20:] = 9
    if mode in ("P", "L"):
        image = Image.fromarray(classes, mode="L")
        if mode == "P":
            image = image.convert("P")
            image.putpalette(list(masks.avss_palette().ravel()))
            image.putdata(classes.ravel().tolist())
    else:
        image = Image.fromarray(masks.avss_palette()[classes]).convert(mode)
    file = io.BytesIO()
    image.save(file, "PNG")
    # Frames of twice the mask's size, cropped to the right half.
    cut, unknown = masks.decode(memoryview(file.getvalue()), (80, 40), (40, 0, 80, 40), 16)
    assert unknown == 0
    assert (cut[:8] == 9).all()
    assert not cut[8:].any()


def test_the_former_names_of_frames_and_fbank_still_work(toy_list, toy_spec) -> None:
    former = replace(toy_spec, read=("video", "audio"), random=False)
    assert former == replace(toy_spec, read=("frames", "fbank"), random=False)
    batch = next(iter(Loader(toy_list, former)))
    assert batch.frames is batch.video
    assert batch.fbank is batch.audio
    with pytest.raises(StoreError, match="'sound'; read frames, waveform, fbank, masks, or"):
        next(iter(Loader(toy_list, replace(toy_spec, read=("sound",)))))
