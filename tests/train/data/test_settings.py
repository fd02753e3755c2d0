"""Settings that cannot be meant are refused in words, before anything is read."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from avstore.manifests.store import StoreError
from avstore.train.data import (
    Augment,
    BatchSpec,
    ErrorPolicy,
    Loader,
    Mixture,
    PlanSpec,
    QuerySource,
    WeightPhase,
    compile_plan,
    sample_list,
    with_weights,
)

ALL = "SELECT clip_id FROM clips"


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0},
        {"batch_size": "4"},
        {"frames": 0},
        {"image_size": 0},
        {"image_size": -3},
        {"fbank_frames": 0},
        {"waveform_samples": 0},
        {"feature_rows": 0},
        {"classes": 0},
        {"frame_choice": "nope"},
        {"shuffle": "nope"},
        {"labels": "nope"},
        {"pixels": "nope"},
        {"decode": "nope"},
        {"fbank": "nope"},
        {"read": "video"},
        {"read": ()},
        {"std": 0.0},
        {"std": float("nan")},
        {"mean": float("inf")},
        {"seconds": 0.0},
        {"smoothing": 1.5},
        {"drop_last": True, "pad_last": True},
        {"frame_choice": "times"},
        {"frame_times": 5.0},
        {"seconds": float("inf")},
        {"fbank_mels": 1},
    ],
)
def test_a_batch_that_cannot_be_is_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        BatchSpec(**{"batch_size": 4} | settings)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Augment(mixup=2.0), "mixup"),
        (lambda: Augment(mixup_beta=0.0), "mixup_beta"),
        (lambda: Augment(mixup_beta=float("inf")), "mixup_beta"),
        (lambda: Augment(mixup_domain="nope"), "mixup_domain"),
        (lambda: Augment(roll=-1), "roll"),
        (lambda: Augment(freq_mask=-1), "freq_mask"),
        (lambda: ErrorPolicy(on_bad="nope"), "on_bad"),
        (lambda: ErrorPolicy(checksum="nope"), "checksum"),
        (lambda: ErrorPolicy(sampled_one_in=0), "sampled_one_in"),
    ],
)
def test_other_settings_likewise(make, named):
    with pytest.raises(ValueError, match=named):
        make()


def test_numpy_numbers_are_numbers():
    assert BatchSpec(batch_size=np.int64(4), image_size=np.int32(24)).batch_size == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed=-1"),
        ({"seed": "a"}, "seed='a'"),
        ({"rank": 2, "world_size": 2}, "rank 2"),
        ({"workers": -1}, "workers"),
        ({"threads": -1}, "threads"),
    ],
)
def test_wrong_loaders_are_refused(toy_list, options, message):
    with pytest.raises(ValueError, match=message):
        next(iter(Loader(toy_list, BatchSpec(4), **options)))


def test_an_epoch_of_no_batches_is_refused(toy_list):
    assert len(list(Loader(toy_list, BatchSpec(23, drop_last=True, frames=1, image_size=8)))) == 1
    with pytest.raises(ValueError, match="batch_size=24 with drop_last leaves no batch of 23"):
        list(Loader(toy_list, BatchSpec(24, drop_last=True)))


def test_a_loader_is_iterated_over_not_indexed(toy_list):
    loader = Loader(toy_list, BatchSpec(4))
    with pytest.raises(TypeError, match="a Loader has no items: iterate over it"):
        next(iter(DataLoader(loader)))
    with pytest.raises(TypeError, match=r"use Dataset\(samples, spec\)"):
        loader[0]


def test_a_second_loop_ends_the_first_one_in_words(toy_list, toy_spec):
    loader = Loader(toy_list, toy_spec)
    first = iter(loader)
    assert next(first).epoch == 0
    second = iter(loader)
    assert next(second).epoch == 1
    with pytest.raises(RuntimeError, match="another loop over this Loader began"):
        next(first)
    assert [(b.epoch, b.step) for b in second] == [(1, step) for step in range(1, 6)]
    assert (loader.epoch, loader.step) == (2, 0)


def test_a_state_of_something_else_is_no_state(toy_list):
    loader = Loader(toy_list, BatchSpec(4))
    with pytest.raises(StoreError, match="no clips, epoch, fingerprint"):
        loader.load_state_dict({"version": 1, "order": "x", "step": 3})


def test_weights_are_numbers_of_any_kind(toy_list):
    ones = with_weights(toy_list, [1] * 23)
    assert with_weights(toy_list, torch.ones(23)).fingerprint == ones.fingerprint


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1] * 22, "23 numbers, one for each sample, and are 22"),
        (["1.5"] * 23, r"\['1.5'\] are not numbers"),
        ([None] * 23, r"\[None\] are not numbers"),
        (None, r"\[None\] are not numbers"),
        ([1.0] * 22 + [float("nan")], r"weight 22 \(of toy/k\d+_\d+\) is nan"),
        ([1, -2] + [1] * 21, r"weight 1 \(of toy/k\d+_\d+\) is -2"),
    ],
)
def test_wrong_weights_are_named(toy_list, weights, message):
    with pytest.raises(StoreError, match=message):
        with_weights(toy_list, weights)


def test_weights_that_are_text_are_refused(toy_store, toy_list):
    with pytest.raises(StoreError, match="weight is VARCHAR, no number: return weight::DOUBLE"):
        sample_list(toy_store, "SELECT clip_id, '1.5' AS weight FROM clips")
    parts = (QuerySource("all", toy_list.all_indices),)
    with pytest.raises(ValueError, match=r"weights \('1',\); they must be finite numbers"):
        Mixture(toy_list, parts, (WeightPhase(0, ("1",)),), steps=2, batch_size=4, seed=0)


@pytest.mark.parametrize("weight", ["'nan'::DOUBLE", "'inf'::DOUBLE", "-1", "NULL"])
def test_weights_of_a_query_are_numbers_from_0(toy_store, weight):
    with pytest.raises(StoreError, match="weights are at least 0"):
        sample_list(toy_store, f"SELECT clip_id, {weight} AS weight FROM clips")


def test_what_is_asked_of_the_wrong_thing_is_said(toy_store):
    with pytest.raises(TypeError, match="takes a store"):
        sample_list("data", ALL)
    with pytest.raises(ValueError, match="features is a list of names"):
        sample_list(toy_store, ALL, features="vggish")
    heard_only = f"{ALL} WHERE right(clip_id, 6)::INT % 2 = 0"
    with pytest.raises(StoreError, match="no clip of the list has visual segments"):
        sample_list(toy_store, heard_only, segments="visual")


def test_odd_queries(toy_store, toy_list):
    twice = sample_list(toy_store, f"{ALL} UNION ALL {ALL} UNION ALL SELECT NULL")
    assert twice.fingerprint == toy_list.fingerprint
    with pytest.raises(StoreError, match="none of the 1 clips that the query selects is stored"):
        sample_list(toy_store, "SELECT 3 AS clip_id")
    zero = sample_list(toy_store, "SELECT clip_id, 0 AS weight FROM clips")
    with pytest.raises(StoreError, match="weight 0"):
        next(iter(Loader(zero, BatchSpec(4, weighted=True))))
    with pytest.raises(StoreError, match="no query"):
        compile_plan(toy_store, {}, PlanSpec(4), 0)
    assert len(compile_plan(toy_store, {"a": f"{ALL};"}, PlanSpec(4), 0)) == 6
    with pytest.raises(ValueError, match="segments"):
        sample_list(toy_store, ALL, segments="nope")
