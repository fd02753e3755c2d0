"""Position is one integer: any cut, any number of resumes, on any ranks and workers."""

import itertools
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.manifests.store import StoreError
from avstore.train.data import BatchSpec, EpochOrder, Loader, Steps
from avstore.train.data.query import sample_list
from avstore.train.data.resume_check import ChangedDataError
from avstore.train.data.samples import SampleList

WORLDS = st.integers(1, 4)


@lru_cache
def part(toy_store, clips: int) -> SampleList:
    """The first so many samples of the store."""
    return sample_list(
        toy_store, f"SELECT clip_id FROM samples ORDER BY clip_id LIMIT {clips}", ranges=False
    )


def consumed(order, spec, start, stop, world, workers):
    """What ranks × workers take of steps [start, stop): (step, place, index), as they come."""
    out = []
    for rank in range(world):
        steps = Steps(order, spec, rank=rank, world_size=world)
        for worker in range(max(workers, 1)):
            for step in range(start + worker, stop, max(workers, 1)):
                rows = steps.rows(step)
                out += zip([step] * len(rows), rows.places, rows.indices, strict=True)
    return out


@settings(max_examples=120, deadline=None)
@given(
    clips=st.integers(4, 23),
    batch=st.integers(4, 9),
    end=st.sampled_from(["short", "drop_last", "pad_last"]),
    shuffle=st.sampled_from(["full", "block", "sequential", "listed"]),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 5),
    runs=st.lists(st.tuples(st.floats(0, 1), WORLDS, st.integers(0, 3)), min_size=1, max_size=4),
)
def test_prefix_and_rest_are_the_whole_however_a_run_is_cut(
    toy_store, clips, batch, end, shuffle, seed, epoch, runs
):
    samples = part(toy_store, clips)
    ends = {"drop_last": end == "drop_last", "pad_last": end == "pad_last"}
    spec = BatchSpec(batch_size=batch, shuffle=shuffle, block=5, **ends)
    if spec.drop_last and batch > clips:
        return  # refused, as test_settings.py shows
    order = EpochOrder(samples, spec, seed, epoch)
    if len(order.rows(len(order) - 1)) < max(world for _, world, _ in runs):
        return  # filled up, as test_batches.py shows
    cuts = [0, *(int(share * len(order)) for share, _, _ in runs[:-1]), len(order)]
    cuts = sorted(cuts)
    found = [
        row
        for (start, stop), (_, world, workers) in zip(itertools.pairwise(cuts), runs, strict=True)
        for row in consumed(order, spec, start, stop, world, workers)
    ]
    whole = consumed(order, spec, 0, len(order), 1, 0)
    assert sorted(found) == sorted(whole)
    assert len({(step, place) for step, place, _ in found}) == len(found)
    indices = [index for _, place, index in sorted(whole) if place < clips]
    if end == "drop_last":
        assert len(indices) == len(set(indices)) == clips // batch * batch
    else:
        assert sorted(indices) == list(range(clips))


@settings(max_examples=60, deadline=None)
@given(batch=st.integers(4, 12), world=WORLDS, step=st.integers(0, 3), seed=st.integers(0, 99))
def test_global_batches_are_the_same_for_every_world_size(toy_store, batch, world, step, seed):
    spec = BatchSpec(batch_size=batch, pad_last=True)
    order = EpochOrder(part(toy_store, 23), spec, seed, 0)
    step = min(step, len(order) - 1)
    ranks = [Steps(order, spec, rank=r, world_size=world) for r in range(world)]
    assert {len(steps) for steps in ranks} == {len(order)}
    whole = order.rows(step)
    for rank, steps in enumerate(ranks):
        assert np.array_equal(steps.rows(step).indices, whole.indices[rank::world])


def same(a, b):
    return (
        a.clip_ids == b.clip_ids and torch.equal(a.video, b.video) and torch.equal(a.audio, b.audio)
    )


def test_a_state_goes_from_any_workers_to_any_others(toy_list, toy_spec):
    whole = list(Loader(toy_list, toy_spec, seed=5)) + list(_epoch(toy_list, toy_spec, 1))
    taken = []
    state = None
    for workers, count in ((0, 2), (2, 3), (1, 4), (0, 3)):
        loader = Loader(toy_list, toy_spec, seed=5, workers=workers)
        if state:
            loader.load_state_dict(state)
        left = count
        while left:
            for batch in loader:
                taken.append(batch)
                left -= 1
                if not left:
                    break
        state = loader.state_dict()
    assert len(taken) == len(whole) == 12
    assert all(same(a, b) for a, b in zip(taken, whole, strict=True))


def _epoch(samples, spec, epoch):
    loader = Loader(samples, spec, seed=5)
    loader.epoch = epoch
    return loader


def test_a_state_after_the_last_batch_begins_the_next_epoch(toy_list, toy_spec):
    loader = Loader(toy_list, toy_spec)
    last = None
    for _ in loader:
        last = loader.state_dict()
    assert (last["epoch"], last["step"]) == (1, 0)
    assert (loader.epoch, loader.step) == (1, 0)
    for state in (last, last | {"epoch": 0, "step": len(loader)}):
        again = Loader(toy_list, toy_spec)
        again.load_state_dict(state)
        assert [(b.epoch, b.step) for b in again] == [(1, step) for step in range(len(loader))]


@pytest.mark.parametrize("workers", [0, 2])
def test_whoever_counts_batches_gets_every_epoch_whole(toy_list, toy_spec, workers):
    """Lightning does: it takes as many as len() says, and does not come for one more."""
    loader = Loader(toy_list, toy_spec, workers=workers)
    for epoch in range(3):
        taken = list(itertools.islice(loader, len(loader)))
        assert [(b.epoch, b.step) for b in taken] == [(epoch, n) for n in range(len(loader))]


def test_a_pass_that_is_left_is_over_unless_a_state_goes_on(toy_list, toy_spec):
    loader = Loader(toy_list, toy_spec)
    assert [(b.epoch, b.step) for b in itertools.islice(loader, 2)] == [(0, 0), (0, 1)]
    state = loader.state_dict()
    assert [(b.epoch, b.step) for b in itertools.islice(loader, 2)] == [(1, 0), (1, 1)]
    loader.load_state_dict(state)
    assert (loader.epoch, next(iter(loader)).step) == (0, 2)
    loader.epoch = 7
    assert [(b.epoch, b.step) for b in itertools.islice(loader, 1)] == [(7, 0)]


def test_wrong_calls_of_a_loader_are_named(toy_list, toy_spec):
    for wrong in ({"workers": -1}, {"threads": 1.5}):
        with pytest.raises(ValueError, match="is not an integer of at least 0"):
            Loader(toy_list, toy_spec, **wrong)
    with pytest.raises(TypeError, match="is not an ErrorPolicy"):
        Loader(toy_list, toy_spec, policy="skip")
    with pytest.raises(TypeError, match="loads a"):
        Loader("SELECT clip_id FROM clips", toy_spec)
    loader = Loader(toy_list, toy_spec)
    with pytest.raises(ValueError, match="epoch=-1 is not an integer of at least 0"):
        loader.epoch = -1
    for state in (None, [], "x", {"version": 1}, {"version": 9}):
        with pytest.raises(StoreError, match="state"):
            loader.load_state_dict(state)


def test_a_changed_list_is_refused_by_name_or_begun_anew(toy_store, toy_list, toy_spec):
    state = Loader(toy_list, toy_spec).state_dict() | {"epoch": 3, "step": 2}
    fewer = sample_list(toy_store, "SELECT clip_id FROM clips WHERE split = 'train'")
    loader = Loader(fewer, toy_spec)
    with pytest.raises(ChangedDataError, match=r"of other samples: 5 removed \(toy/.*, …\)"):
        loader.load_state_dict(state)
    loader.load_state_dict(state, allow_changed_data=True)
    assert (loader.epoch, loader.step) == (4, 0)
    with pytest.raises(StoreError, match="batches made by"):
        Loader(fewer, toy_spec, seed=1).load_state_dict(state, allow_changed_data=True)
    with pytest.raises(ChangedDataError, match="5 added"):
        Loader(toy_list, toy_spec).load_state_dict(Loader(fewer, toy_spec).state_dict())


def test_a_state_of_other_batches_is_refused(toy_list, toy_spec):
    state = Loader(toy_list, toy_spec, seed=1).state_dict()
    with pytest.raises(StoreError, match=r"seed 1, batches of 4 and this loader makes .* seed 2"):
        Loader(toy_list, toy_spec, seed=2).load_state_dict(state)
    Loader(toy_list, toy_spec, seed=1, workers=2, rank=1, world_size=3).load_state_dict(state)
    with pytest.raises(StoreError, match="version None"):
        Loader(toy_list, toy_spec).load_state_dict({})
