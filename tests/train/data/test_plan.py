"""Plans, mixtures and weights: explicit, reproducible, rebuilt from the seed."""

import itertools
import math
import pickle
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from avstore.manifests.store import StoreError
from avstore.train.data import (
    Augment,
    BatchSpec,
    EpochOrder,
    Loader,
    Mixture,
    PlanSpec,
    WeightPhase,
    class_balanced,
    compile_plan,
    sources,
)
from tests.train.data import store_factory as toy

TASKS = {
    "low": "SELECT clip_id FROM samples WHERE right(clip_id, 6)::INT < 8",
    "middle": "SELECT clip_id FROM samples WHERE right(clip_id, 6)::INT BETWEEN 8 AND 12",
    "high": "SELECT clip_id FROM samples WHERE right(clip_id, 6)::INT > 12",
}


SETTINGS = (
    {"epochs": 2, "replay": 2, "memory": 5},
    {"epochs": 3, "replay": 3, "memory": 6, "reservoirs": 3},
    {"epochs": 2, "replay": 4, "memory": 4, "batch_size": 4, "reservoirs": 2, "drop_last": True},
)


def plan_of(store, **options):
    seed = options.pop("seed", 1)
    return compile_plan(store, TASKS, PlanSpec(**{"batch_size": 3, **options}), seed)


def test_boundaries_are_exact_and_every_task_is_gone_through_each_epoch(toy_store):
    plan = plan_of(toy_store, epochs=2)
    assert plan.boundaries.tolist() == [0, 6, 10, 18]
    assert len(plan) == 18
    for number, task in enumerate(plan.tasks):
        first, last = plan.boundaries[number : number + 2]
        rows = [plan.rows(step) for step in range(first, last)]
        assert {plan.position(step).task for step in range(first, last)} == {number}
        for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            taken = np.concatenate([r.indices for r in half])
            assert sorted(taken) == task.indices.tolist()
        assert len({(r.epoch, p) for r in rows for p in r.places}) == 2 * len(task)
    with pytest.raises(IndexError, match=r"step 18 is not in \[0, 18\), the steps of the plan"):
        plan.rows(18)


def test_the_hash_holds_all_that_the_plan_depends_on(toy_store):
    plan = plan_of(toy_store, replay=2, memory=4)
    assert plan_of(toy_store, replay=2, memory=4).fingerprint == plan.fingerprint
    others = [
        plan_of(toy_store, replay=2, memory=5),
        plan_of(toy_store, replay=2, memory=4, seed=2),
        plan_of(toy_store, replay=2, memory=4, epochs=2),
        compile_plan(toy_store, dict(reversed(TASKS.items())), plan.spec, 1),
    ]
    assert len({plan.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert pickle.loads(pickle.dumps(plan)).fingerprint == plan.fingerprint


@pytest.mark.parametrize("settings", SETTINGS)
def test_replay_draws_what_was_offered_with_the_keys_of_then(toy_store, settings):
    plan = plan_of(toy_store, **settings)
    spec, size = plan.spec, plan.spec.memory // plan.spec.reservoirs
    seen: dict[tuple[int, int], int] = {}
    kept: list[list[tuple[int, int]]] = [[] for _ in range(spec.reservoirs)]
    by_slot: dict[int, tuple[int, int]] = {}
    for step in range(len(plan)):
        rows = plan.rows(step)
        keys = list(zip(rows.epochs.tolist(), rows.places.tolist(), strict=True))
        own = int((rows.origin == 0).sum())
        least = min(size, *map(len, kept))
        assert len(rows) - own == min(spec.replay, least * spec.reservoirs)
        assert sorted(plan.memory(step)) == sorted(seen[key] for key in by_slot.values())
        for row in range(own, len(rows)):
            assert rows.indices[row] == seen[keys[row]]
            assert keys[row] in kept[row % spec.reservoirs]
            assert by_slot[rows.slots[row]] == keys[row]
        assert len(set(keys)) == len(keys)
        for row in range(own):
            assert keys[row] not in seen
            seen[keys[row]] = rows.indices[row]
            kept[row % spec.reservoirs].append(keys[row])
            if rows.slots[row] >= 0:
                by_slot[rows.slots[row]] = keys[row]
        taken = [slot for slot in rows.slots[:own] if slot >= 0]
        assert len(set(taken)) == len(taken)
        assert own % spec.reservoirs == 0
        assert rows.padded[:own].tolist() == [
            key[1] >= len(plan.tasks[plan.position(step).task]) for key in keys[:own]
        ]
        assert len(by_slot) == sum(min(size, len(offered)) for offered in kept)
    again = plan_of(toy_store, **settings)
    step = random.Random(0).randrange(len(plan))
    assert np.array_equal(again.rows(step).indices, plan.rows(step).indices)
    assert np.array_equal(again.memory(step), plan.memory(step))


def test_a_replayed_row_is_the_input_that_was_seen(toy_store, toy_spec):
    plan = plan_of(toy_store, epochs=2, batch_size=4, replay=4, memory=8, reservoirs=2)
    spec = replace(toy_spec, augment=Augment(crop=True, noise=True, mixup=0.5), labels="multi_hot")
    seen, replayed = {}, 0
    for batch in Loader(plan, spec):
        rows = plan.rows(batch.step)
        for row, key in enumerate(zip(rows.epochs.tolist(), rows.places.tolist(), strict=True)):
            now = (batch.video[row], batch.audio[row], batch.labels[row])
            if rows.origin[row] == 0:
                seen[key] = now
            else:
                replayed += 1
                for one, other in zip(now, seen[key], strict=True):
                    assert torch.equal(one, other)
            assert batch.slots[row] == rows.slots[row]
    assert replayed > 20


def test_a_process_replays_what_it_was_offered(toy_store):
    plan = plan_of(toy_store, epochs=2, batch_size=4, replay=4, memory=8, reservoirs=4)
    for world_size in (1, 2, 4):
        for rank in range(world_size):
            own = set()
            for step in range(len(plan)):
                rows = plan.rows(step).part(rank, world_size)
                keys = list(zip(rows.epochs.tolist(), rows.places.tolist(), strict=True))
                assert {k for k, o in zip(keys, rows.origin, strict=True) if o} <= own
                own |= {k for k, o in zip(keys, rows.origin, strict=True) if not o}


def test_a_plan_is_loaded_as_any_order_is(toy_store, toy_spec):
    plan = plan_of(toy_store, replay=2, memory=5)
    whole = list(Loader(plan, toy_spec))
    assert [b.clip_ids for b in Loader(plan, toy_spec, workers=2)] == [b.clip_ids for b in whole]
    halves = [list(Loader(plan, toy_spec, rank=r, world_size=2)) for r in (0, 1)]
    for step, batch in enumerate(whole):
        assert halves[0][step].clip_ids == batch.clip_ids[::2]
        assert halves[1][step].clip_ids == batch.clip_ids[1::2]
        assert batch.origin.tolist() == plan.rows(step).origin.tolist()
    loader = Loader(plan, toy_spec)
    state = loader.state_dict() | {"step": 5}
    loader.load_state_dict(state)
    assert next(iter(loader)).clip_ids == whole[5].clip_ids


def test_a_plan_is_gone_through_once(toy_store, toy_spec):
    loader = Loader(plan_of(toy_store), toy_spec)
    given = [batch.step for batch in itertools.islice(loader, 4)]
    given += [batch.step for batch in loader]
    assert given == list(range(len(loader)))
    assert list(loader) == []
    again = Loader(plan_of(toy_store), toy_spec)
    again.load_state_dict(loader.state_dict())
    assert list(again) == []


def test_a_plan_does_not_go_on_with_other_samples(toy_store, toy_spec):
    fewer = {name: f"{sql} AND right(clip_id, 6)::INT <> 3" for name, sql in TASKS.items()}
    state = Loader(plan_of(toy_store), toy_spec).state_dict()
    loader = Loader(compile_plan(toy_store, fewer, PlanSpec(batch_size=3), 1), toy_spec)
    with pytest.raises(StoreError, match=r"1 removed .*start a new run"):
        loader.load_state_dict(state, allow_changed_data=True)


@pytest.mark.parametrize("unused", ["drop_last", "pad_last", "weighted"])
def test_settings_of_lists_are_refused_for_plans(toy_store, toy_spec, unused):
    with pytest.raises(ValueError, match=f"{unused} of BatchSpec applies to lists"):
        Loader(plan_of(toy_store), replace(toy_spec, **{unused: True}))


def test_mixup_in_a_plan_mixes_with_nothing_that_is_yet_to_come(toy_store, toy_spec):
    plan = plan_of(toy_store, replay=2, memory=5)
    spec = replace(toy_spec, read=("audio",), labels="multi_hot", augment=Augment(mixup=1.0))
    clips = plan.samples.clip_ids
    tasks = [{clips[index] for index in task.indices} for task in plan.tasks]
    mixed_with = set()
    for batch in Loader(plan, spec):
        task = plan.position(batch.step).task
        own = [w for w, o in zip(batch.mixed_with, batch.origin.tolist(), strict=True) if o == 0]
        assert set(own) <= tasks[task]
        assert set(batch.mixed_with) <= set().union(*tasks[: task + 1])
        mixed_with |= set(own)
    assert len(mixed_with) > 10


def test_wrong_plans_are_named(toy_store):
    for wrong in ({"batch_size": 2.5}, {"batch_size": 0}, {"batch_size": 2, "epochs": 0}):
        with pytest.raises(ValueError, match="is not an integer of at least 1"):
            PlanSpec(**wrong)
    with pytest.raises(ValueError, match="replay=2 and memory=0: replay needs rows in a batch"):
        PlanSpec(batch_size=2, replay=2)
    with pytest.raises(ValueError, match="memory=5 cannot be dealt out evenly to 2 reservoirs"):
        PlanSpec(batch_size=2, replay=2, memory=5, reservoirs=2)
    with pytest.raises(StoreError, match="no stream 'nosuch'"):
        compile_plan(toy_store, "nosuch", PlanSpec(batch_size=2), 0)
    tasks = TASKS | {"none": "SELECT clip_id FROM clips WHERE false"}
    with pytest.raises(StoreError, match="no clip of the query 'none' is stored"):
        compile_plan(toy_store, tasks, PlanSpec(batch_size=2), 0)
    with pytest.raises(StoreError, match="middle: fewer clips than a batch of 6"):
        plan_of(toy_store, batch_size=6, drop_last=True)


def mixture(store, *phases, steps=40, batch_size=6, seed=0):
    samples, found = sources(store, TASKS)
    return Mixture(samples, found, phases, steps, batch_size, seed)


def test_a_mixture_keeps_its_weights_and_changes_them_by_step(toy_store):
    mixed = mixture(toy_store, WeightPhase(0, (1, 0, 0)), WeightPhase(10, (0, 1, 3)))
    early = np.concatenate([mixed.rows(s).origin for s in range(10)])
    late = np.concatenate([mixed.rows(s).origin for s in range(10, 40)])
    assert set(early.tolist()) == {0}
    assert set(late.tolist()) == {1, 2}
    assert 0.65 < np.mean(late == 2) < 0.85


def test_a_mixtures_source_repeats_nothing_before_it_is_through(toy_store):
    mixed = mixture(toy_store, WeightPhase(0, (1, 1, 1)))
    for number, source in enumerate(mixed.sources):
        taken = np.concatenate(
            [r.indices[r.origin == number] for r in map(mixed.rows, range(len(mixed)))]
        )
        for start in range(0, len(taken) - len(source) + 1, len(source)):
            assert sorted(taken[start : start + len(source)]) == source.indices.tolist()


def test_a_mixture_is_random_access_and_loads(toy_store, toy_spec):
    one, other = (mixture(toy_store, WeightPhase(0, (1, 2, 1)), steps=9) for _ in range(2))
    assert np.array_equal(one.rows(7).indices, other.rows(7).indices)
    whole = [b.clip_ids for b in Loader(one, toy_spec)]
    assert whole == [b.clip_ids for b in Loader(other, toy_spec, workers=2)]
    wrong = [WeightPhase(1, (1, 1, 1)), WeightPhase(0, (1, 1)), WeightPhase(0, (0, 0, 0))]
    wrong += [WeightPhase(0, (math.nan, 1, 1)), WeightPhase(0, (math.inf, 1, 1))]
    for phase in wrong:
        with pytest.raises(ValueError):
            mixture(toy_store, phase)
    for number in (-1, 2.5):
        with pytest.raises(ValueError, match=r"batch_size=.* is not an integer"):
            mixture(toy_store, WeightPhase(0, (1, 1, 1)), batch_size=number)
        with pytest.raises(ValueError, match=r"steps=.* is not an integer"):
            mixture(toy_store, WeightPhase(0, (1, 1, 1)), steps=number)


def test_a_mixture_may_have_hundreds_of_sources(toy_store):
    queries = {f"{n}": f"SELECT clip_id FROM samples OFFSET {n % 20}" for n in range(300)}
    samples, found = sources(toy_store, queries)
    mixed = Mixture(samples, found, (WeightPhase(0, (0,) * 298 + (1, 1)),), 5, 4, seed=0)
    for step in range(5):
        rows = mixed.rows(step)
        for index, origin in zip(rows.indices, rows.origin, strict=True):
            assert origin in (298, 299)
            assert index in found[origin].indices


def test_a_state_of_another_mixture_is_refused(toy_store, toy_spec):
    state = Loader(mixture(toy_store, WeightPhase(0, (1, 3, 1))), toy_spec).state_dict()
    Loader(mixture(toy_store, WeightPhase(0, (1, 3, 1))), toy_spec).load_state_dict(state)
    for other in (
        mixture(toy_store, WeightPhase(0, (9, 1, 1))),
        mixture(toy_store, WeightPhase(0, (1, 3, 1)), batch_size=4),
    ):
        with pytest.raises(StoreError, match="the state is of batches made by"):
            Loader(other, toy_spec).load_state_dict(state)


def test_class_balanced_weights_are_those_of_the_formula(toy_list):
    balanced = class_balanced(toy_list)
    counts = Counter(k for n in range(23) for k in toy.labels_of(n))
    expected = [
        sum(1000 / (counts[k] + 0.01) for k in toy.labels_of(int(clip[-6:])))
        for clip in toy_list.clip_ids
    ]
    np.testing.assert_allclose(balanced.numbers("weight"), expected)
    assert balanced.fingerprint != toy_list.fingerprint


def test_balanced_draws_are_with_replacement_in_proportion(toy_list):
    balanced = class_balanced(toy_list)
    spec = BatchSpec(batch_size=23, weighted=True)
    drawn = Counter(
        int(i) for epoch in range(300) for i in EpochOrder(balanced, spec, 0, epoch).rows(0).indices
    )
    weights = balanced.numbers("weight")
    found = np.array([drawn[i] for i in range(23)]) / (23 * 300)
    np.testing.assert_allclose(found, weights / weights.sum(), atol=0.012)
    with pytest.raises(StoreError, match="weighted draws need weights"):
        EpochOrder(toy_list, spec, 0, 0).rows(0)
