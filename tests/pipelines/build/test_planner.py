"""Shards get numbers that no other shard of the store has."""

from pathlib import Path

import pytest

from avstore.manifests.catalogue import open_write
from avstore.manifests.lock import writing
from avstore.manifests.rebuild import rebuild
from avstore.manifests.store import Store
from avstore.pipelines.build import planner
from tests.manifests import synthetic


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store of two train shards and one test shard, and clips that no shard has yet."""
    made = Store(tmp_path)
    clips = [row["clip_id"] for row in synthetic.clip_rows(16)]
    with writing(made), open_write(made) as writer:
        synthetic.annotate(writer, made, synthetic.clip_rows(16))
        synthetic.fetch(writer, made, "first", dict.fromkeys(clips[:10]))
        synthetic.build(writer, made, "first")
        synthetic.fetch(writer, made, "second", dict.fromkeys(clips[10:]))
        writer.publish()
    return made


def numbers_planned(store: Store) -> list[tuple[str, int]]:
    """Return the split and number of the next shards, after a rebuild of the manifest."""
    with writing(store), open_write(store, fresh=True) as writer:
        rebuild(writer, store)
        plan = planner.plan_new(writer.con, "toy", synthetic.STAGE, 4)
    return list(zip(plan["split"].to_pylist(), plan["number"].to_pylist(), strict=True))


def test_numbers_continue_after_the_planned_shards(store: Store) -> None:
    assert numbers_planned(store) == [("test", 1), ("train", 2)]


def test_lost_plan_files_free_no_number(store: Store) -> None:
    for path in store.ledger.glob("plans-*.parquet"):
        path.unlink()
    assert numbers_planned(store) == [("test", 1), ("train", 2)]


def test_one_shard_of_given_clips_gets_a_free_number_too(store: Store) -> None:
    for path in store.ledger.glob("plans-*.parquet"):
        path.unlink()
    with writing(store), open_write(store, fresh=True) as writer:
        rebuild(writer, store)
        plan = planner.plan_shard(
            writer.con, store, "toy", synthetic.STAGE, "train", {"toy/k00012": 12}
        )
    assert plan["shard"].to_pylist() == [store.shard("toy", synthetic.STAGE, "train", 2)]
