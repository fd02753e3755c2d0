"""Orders of a plan other than a full permutation: by stored blocks, as stored, by weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.train.data import PlanSpec, class_balanced, compile_plan
from avstore.train.data.arrangement import arrange
from avstore.train.data.shuffle import uniform_at

ALL = {"all": "SELECT clip_id FROM samples"}


def order(plan, epoch):
    """The samples of an epoch, in order."""
    first, last = (plan.first_step(0, number) for number in (epoch, epoch + 1))
    return np.concatenate([plan.rows(step).indices for step in range(first, last)])


@pytest.mark.parametrize("shuffle", ["block", "sequential"])
def test_an_epoch_holds_every_clip_once(toy_store, shuffle):
    spec = PlanSpec(batch_size=4, epochs=3, shuffle=shuffle, block=5)
    plan = compile_plan(toy_store, ALL, spec, seed=1)
    orders = [order(plan, epoch) for epoch in range(3)]
    for found in orders:
        assert sorted(found) == list(range(len(plan.samples)))
    assert (orders[0].tolist() == orders[1].tolist()) == (shuffle == "sequential")
    again = compile_plan(toy_store, ALL, spec, seed=1)
    assert order(again, 2).tolist() == orders[2].tolist()


def test_blocks_are_permuted_within_windows_of_whole_shards(toy_store):
    samples = compile_plan(toy_store, ALL, PlanSpec(batch_size=1), seed=0).samples
    own = samples.all_indices
    places, epochs = np.arange(len(own)), np.zeros(len(own), np.int64)
    shards = samples.numbers("shard")
    by_one = arrange(samples, own, "block", 1, seed=3)(places, epochs)
    # Windows of one clip: shards one after the other, each as stored.
    starts = np.flatnonzero(np.diff(shards[by_one], prepend=-1))
    assert len(starts) == len(np.unique(shards))
    for part in np.split(by_one, starts[1:]):
        assert (np.diff(samples.numbers("position")[part]) > 0).all()
    by_six = arrange(samples, own, "block", 6, seed=3)(places, epochs)
    for start in range(0, len(own), 6):
        window = slice(start, start + 6)
        assert sorted(by_six[window]) == sorted(by_one[window])
    assert by_six.tolist() != by_one.tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**63), st.integers(0, 50), st.integers(1, 30))
def test_a_place_does_not_depend_on_what_else_is_asked(toy_store, seed, epoch, block):
    samples = compile_plan(toy_store, ALL, PlanSpec(batch_size=1), seed=0).samples
    own = samples.all_indices
    for kind in ("full", "block", "sequential", "balanced"):
        chosen = arrange(samples, own, kind, block, seed)
        places, epochs = np.arange(len(own)), np.full(len(own), epoch)
        whole = chosen(places, epochs)
        alone = [int(chosen(places[[n]], epochs[[n]])[0]) for n in range(len(own))]
        assert whole.tolist() == alone


def test_clips_are_drawn_in_proportion_to_the_weights_of_their_classes(toy_store):
    spec = PlanSpec(batch_size=1, epochs=400, shuffle="balanced")
    plan = compile_plan(toy_store, ALL, spec, seed=2)
    drawn = np.concatenate([order(plan, epoch) for epoch in range(400)])
    weights = class_balanced(plan.samples).numbers("weight")
    expected = weights / weights.sum() * len(drawn)
    assert expected.max() > 1.5 * expected.min()
    found = np.bincount(drawn, minlength=len(weights))
    assert (np.abs(found - expected) < 5 * np.sqrt(expected)).all()


def test_draws_are_uniform():
    drawn = uniform_at(np.arange(100_000), 7, np.zeros(100_000, np.int64))
    assert abs(drawn.mean() - 0.5) < 0.005
    counts, _ = np.histogram(drawn, bins=20, range=(0, 1))
    assert counts.min() > 4_700


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="shuffle='listed' is not one of 'full', 'block'"):
        PlanSpec(batch_size=2, shuffle="listed")
