"""Reservoirs, offers and permutations: pure functions, each held to the plain loop."""

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.train.data.offers import Offers
from avstore.train.data.reservoir import Reservoir
from avstore.train.data.rng import Purpose, permutation, uniform, words
from avstore.train.data.shuffle import shuffled


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(0, 60), st.integers(0, 1000), st.data())
def test_the_reservoir_is_that_of_the_plain_loop(capacity, offered, seed, data):
    count = data.draw(st.integers(0, offered))
    begin = data.draw(st.integers(0, count))
    number = data.draw(st.integers(0, 3))
    drawn = uniform(words(offered, seed, Purpose.RESERVOIR, number))
    slots: dict[int, int] = {}
    for item in range(count):
        slot = item if item < capacity else int(drawn[item] * (item + 1))
        if slot < capacity:
            slots[slot] = item
    reservoir = Reservoir(capacity, offered, seed, number)
    assert reservoir.held(count).tolist() == [slots[slot] for slot in sorted(slots)]
    expected = [
        next((s for s, held in slots.items() if held == i), -1) for i in range(begin, count)
    ]
    assert reservoir.slots(begin, count).tolist() == expected
    drawn_slots = reservoir.draw(count, 3, step=7).tolist()
    assert len(set(drawn_slots)) == len(drawn_slots) == min(3, len(slots))
    assert set(drawn_slots) <= set(slots)
    assert pickle.loads(pickle.dumps(reservoir)) == reservoir


def test_the_reservoir_holds_every_item_alike():
    counts = Counter(int(n) for seed in range(600) for n in Reservoir(5, 50, seed).held(50))
    assert all(30 <= counts[n] <= 95 for n in range(50)), counts  # 60 expected


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_offers_are_numbered_as_a_loop_numbers_them(lengths, share, epochs, reservoirs):
    batch_size = share * reservoirs
    offers = Offers(lengths, batch_size, epochs, reservoirs)
    found: list[list[tuple[int, int, int]]] = [[] for _ in range(reservoirs)]
    for task, length in enumerate(lengths):
        for epoch in range(epochs):
            for step, start in enumerate(range(0, length, batch_size)):
                stop = min(start + batch_size, length)
                for reservoir in range(reservoirs):
                    assert offers.before(reservoir, task, epoch, step) == len(found[reservoir])
                for place in range(start, stop):
                    found[(place - start) % reservoirs].append((task, epoch, place))
    for reservoir, expected in enumerate(found):
        assert offers.total(reservoir) == len(expected)
        places = offers.places(reservoir, np.arange(len(expected)))
        assert list(zip(*map(np.ndarray.tolist, places), strict=True)) == expected


@pytest.mark.parametrize("length", [1, 2, 100, 4096, 4097, 5000, 8191, 65536, 100_003])
def test_a_permutation_has_every_element_once(length):
    places = np.arange(length)
    one = shuffled(places, length, 5, np.full(length, 3))
    assert np.array_equal(np.sort(one), places)
    some = np.random.default_rng(0).integers(0, length, 50)
    assert np.array_equal(shuffled(some, length, 5, np.full(50, 3)), one[some])
    if length <= 4096:
        assert np.array_equal(one, permutation(length, 5, 3))
    else:
        other = shuffled(places, length, 5, np.full(length, 4))
        assert (one == other).mean() < 0.01
        assert abs(np.corrcoef(places, one)[0, 1]) < 0.05
        assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.05


def test_elements_of_several_epochs_are_found_together():
    length, epochs = 10_000, np.array([7, 2, 7, 9])
    places = np.array([0, 5, 9_999, 123])
    found = shuffled(places, length, 1, epochs)
    for row, epoch in enumerate(epochs):
        whole = shuffled(np.arange(length), length, 1, np.full(length, epoch))
        assert found[row] == whole[places[row]]


def test_every_element_comes_to_every_place_alike():
    length, epochs = 5000, 4000
    first = shuffled(np.zeros(epochs, np.int64), length, 0, np.arange(epochs))
    counts = np.bincount(first * 50 // length, minlength=50)  # 80 expected in each of 50 bins
    assert ((counts - 80) ** 2 / 80).sum() < 90  # chi-square with 49 degrees: 0.999 is 85.4
