"""Groups in turn, and a random clip of each."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.manifests.store import StoreError
from avstore.train.data import BatchSpec, GroupOrder, Loader, sample_list

GROUPED = "SELECT clip_id, 'source ' || (right(key, 6)::INT % 5) // 2 AS source FROM clips"


@pytest.fixture(scope="module")
def grouped(toy_store):
    """Three videos: of 10, 10 and 3 or 4 clips."""
    return sample_list(toy_store, GROUPED, columns=["source"])


def videos(order, rows):
    return [order.samples.extra("source", index) for index in rows.indices.tolist()]


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 11),
    repeats=st.integers(1, 9),
    epochs=st.integers(1, 3),
    seed=st.integers(0, 2**64 - 1),
    drop=st.booleans(),
)
def test_every_group_comes_as_often_whatever_its_size(grouped, size, repeats, epochs, seed, drop):
    if drop and size > 3 * repeats:
        with pytest.raises(ValueError, match="leaves no batch"):
            GroupOrder(grouped, "source", size, seed, epochs, repeats, drop)
        return
    order = GroupOrder(grouped, "source", size, seed, epochs, repeats, drop)
    assert order.groups == 3
    for epoch in range(epochs):
        steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
        batches = [order.rows(step) for step in steps]
        assert {rows.epoch for rows in batches} == {epoch}
        drawn = [video for rows in batches for video in videos(order, rows)]
        if not drop:
            assert Counter(drawn) == dict.fromkeys(("source 0", "source 1", "source 2"), repeats)
        for lap in range(len(drawn) // 3):
            assert len(set(drawn[3 * lap : 3 * lap + 3])) == 3
    with pytest.raises(IndexError, match="the steps of the order"):
        order.rows(len(order))


def test_every_clip_of_a_group_is_as_likely(grouped):
    order = GroupOrder(grouped, "source", 3, seed=0, repeats=4000)
    drawn = Counter(i for step in range(len(order)) for i in order.rows(step).indices.tolist())
    assert len(drawn) == len(grouped)
    sizes = Counter(grouped.extra("source", index) for index in range(len(grouped)))
    for index, count in drawn.items():
        expected = 4000 / sizes[grouped.extra("source", index)]
        assert abs(count - expected) < 5 * np.sqrt(expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_and_resumes_give_the_same_batches(grouped, workers):
    order = GroupOrder(grouped, "source", 4, seed=5, epochs=2, repeats=4)
    spec = BatchSpec(4, frames=1, image_size=16, fbank_frames=8)
    whole = list(Loader(order, spec))
    loader = Loader(order, spec, rank=1, world_size=2, workers=workers)
    next(iter(loader))
    state = loader.state_dict()
    resumed = Loader(order, spec, rank=1, world_size=2)
    resumed.load_state_dict(state)
    rest = list(resumed)
    assert [batch.step for batch in rest] == list(range(1, len(order)))
    for batch in rest:
        assert batch.clip_ids == whole[batch.step].clip_ids[1::2]
        assert torch.equal(batch.video, whole[batch.step].video[1::2])
    other = GroupOrder(grouped, "source", 4, seed=5, epochs=2, repeats=2)
    with pytest.raises(StoreError, match="use the same settings"):
        Loader(other, spec).load_state_dict(state)


def test_groups_that_cannot_be(toy_store, grouped):
    with pytest.raises(StoreError, match=r"'sourc' \(did you mean 'source'\?\).*columns="):
        GroupOrder(grouped, "sourc", 4, 0)
    nameless = sample_list(
        toy_store, "SELECT clip_id, nullif(split, 'test') AS s FROM clips", columns=["s"]
    )
    with pytest.raises(StoreError, match="5 of 23 clips have no s, such as toy/k"):
        GroupOrder(nameless, "s", 4, 0)
    listed = sample_list(toy_store, "SELECT clip_id, [1, 2] AS g FROM clips", columns=["g"])
    with pytest.raises(StoreError, match="name groups by text or whole numbers"):
        GroupOrder(listed, "g", 4, 0)
    with pytest.raises(ValueError, match="repeats=0"):
        GroupOrder(grouped, "source", 4, 0, repeats=0)
