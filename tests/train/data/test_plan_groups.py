"""A plan over groups: random clips of all groups in turn, in every task."""

from collections import Counter

import numpy as np
import pytest

from avstore.manifests.store import StoreError
from avstore.train.data import PlanSpec, compile_plan

TASKS = {
    "first": "SELECT clip_id, 'v' || right(key, 6)::INT % 4 AS source FROM clips "
    "WHERE split = 'train'",
    "second": "SELECT clip_id, 'v' || right(key, 6)::INT % 2 AS source FROM clips "
    "WHERE split = 'test'",
}


def plan_of(store, **options):
    spec = PlanSpec(3, epochs=2, shuffle="groups", by="source", **options)
    return compile_plan(store, TASKS, spec, seed=5, columns=["source"])


@pytest.mark.parametrize("passes", [1, 2])
def test_every_group_of_a_task_comes_as_often(toy_store, passes):
    plan = plan_of(toy_store, passes=passes)
    for task, part in enumerate(plan.tasks):
        names = [plan.samples.extra("source", index) for index in part.indices.tolist()]
        groups = len(set(names))
        repeats = passes * (len(part) // groups)
        for epoch in range(2):
            first, last = (plan.first_step(task, n) for n in (epoch, epoch + 1))
            rows = [plan.rows(step) for step in range(first, last)]
            found = np.concatenate([own.indices[~own.padded] for own in rows])
            counts = Counter(plan.samples.extra("source", index) for index in found.tolist())
            assert set(counts.values()) == {repeats}
            assert set(found.tolist()) <= set(part.indices.tolist())


def test_replayed_rows_are_those_that_were_offered(toy_store):
    plan = plan_of(toy_store, replay=3, memory=6)
    offered = set()
    for step in range(len(plan)):
        rows = plan.rows(step)
        assert set(rows.indices[rows.origin == 1].tolist()) <= offered
        offered |= set(rows.indices[rows.origin == 0].tolist())


def test_a_list_without_the_column_is_refused(toy_store):
    spec = PlanSpec(3, shuffle="groups", by="source")
    with pytest.raises(StoreError, match=r"the list keeps no column 'source'"):
        len(compile_plan(toy_store, TASKS, spec, seed=0))


def test_settings_of_groups_do_not_change_other_plans(toy_store):
    ids = {"all": "SELECT clip_id FROM clips"}
    plans = [
        compile_plan(toy_store, ids, PlanSpec(3, **own), seed=0)
        for own in ({}, {"passes": 4, "by": "other"})
    ]
    assert plans[0].fingerprint == plans[1].fingerprint
