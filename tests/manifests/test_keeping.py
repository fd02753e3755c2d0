"""Snapshots, gc and drop: the commands and the library."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from avstore.manifests import open_store, snapshots
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.drop import drop_stage
from avstore.manifests.gc import find_garbage
from avstore.manifests.lock import writing
from avstore.manifests.store import Store, StoreError
from avstore.manifests.verify import verify
from tests.manifests import synthetic

FP = "feedbeef" + "00" * 28


def run(app, *arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return " ".join(result.output.split())


@pytest.fixture
def commands():
    """Return the avstore command."""
    from avstore.pipelines.cli.app import app

    return app


def shelve(store: Store) -> None:
    """Drop the stage and build its clips again in shards of another size."""
    with writing(store), open_write(store) as writer:
        drop_stage(writer, store, "toy", synthetic.STAGE)
        synthetic.annotate(writer, store, synthetic.clip_rows(20))
        synthetic.build(writer, store, "r9", size=5)
        writer.publish()


def test_a_snapshot_opens_after_later_builds_and_gc(store: Store, commands) -> None:
    assert "20 clips, 16 samples" in run(
        commands, "snapshot", "create", "paper", "--store", store.root, "--note", "Table 2"
    )
    with open_store(store.root) as opened:
        ids = opened.query("SELECT clip_id FROM samples ORDER BY ALL").df().clip_id.tolist()
        before = opened.read("audio", ids)
    shelve(store)
    run(commands, "gc", "--store", store.root, "--delete")
    with open_store(store.root, snapshot="paper") as opened:
        assert opened.read("audio", ids) == before
    assert "paper" in run(commands, "snapshot", "list", "--store", store.root)
    difference = run(commands, "snapshot", "diff", "paper", "--store", store.root)
    assert "shards 4 5 0" in difference
    assert "16" in run(
        commands, "snapshot", "open", "paper", "SELECT count(*) FROM samples", "--store", store.root
    )


def test_snapshots_are_immutable_and_named_with_care(store: Store) -> None:
    snapshots.create_snapshot(store, "paper")
    with pytest.raises(StoreError, match="there is a snapshot 'paper' already"):
        snapshots.create_snapshot(store, "paper")
    with pytest.raises(StoreError, match="cannot name a snapshot"):
        snapshots.create_snapshot(store, "../x")
    with pytest.raises(StoreError, match=r"no snapshot 'nix' in .*; there is: paper"):
        snapshots.snapshot_path(store, "nix")
    path = store.snapshots / "paper.duckdb"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match="was changed or damaged"):
        snapshots.snapshot_path(store, "paper")


def test_gc_shows_and_only_removes_when_told(store: Store, commands) -> None:
    tars = set(store.shards.glob("*/*/*"))
    assert "0 files" in run(commands, "gc", "--store", store.root)
    shelve(store)
    new = set(store.shards.glob("*/*/*")) - tars
    shown = run(commands, "gc", "--store", store.root)
    assert "nothing was removed" in shown
    assert f"{len(tars)} files" in shown
    assert tars < set(store.shards.glob("*/*/*"))
    run(commands, "gc", "--store", store.root, "--delete")
    assert set(store.shards.glob("*/*/*")) == new
    with open_read(store) as con:
        assert list(verify(con, store)) == []
        assert find_garbage(con, store) == []


def test_gc_is_refused_while_a_run_is_going_on(store: Store, commands) -> None:
    with writing(store), pytest.raises(StoreError, match="is being written by process"):
        run(commands, "gc", "--store", store.root, "--delete")


def test_gc_keeps_what_is_not_told_yet_and_removes_strays(store: Store) -> None:
    shard = next(store.shards.glob("*/*/train-000000.tar"))
    untold = [shard.with_name("train-000077.tar"), shard.with_name("train-000077.parquet")]
    stray = shard.with_name("train-000088.tar")
    for path in (*untold, stray):
        path.write_bytes(b"x")
    with open_read(store) as con:
        assert [store.root / item.path for item in find_garbage(con, store)] == [stray]


def test_a_dropped_feature_is_gone_until_it_is_computed_again(store: Store) -> None:
    from avstore.manifests.drop import drop_feature

    count = "SELECT count(*) FROM feature_samples"
    with writing(store), open_write(store) as writer:
        synthetic.add_feature(writer, store, "clip", FP)
        assert writer.con.execute(count).fetchall() == [(16,)]
        assert drop_feature(writer.con, store, "clip", FP) == 5
        writer.publish()
        assert writer.con.execute(count).fetchall() == [(0,)]
        assert len(find_garbage(writer.con, store)) == 10
        synthetic.add_feature(writer, store, "clip", FP)
        assert find_garbage(writer.con, store) == []
        writer.publish()


def test_drop_names_the_stages_there_are(store: Store, commands) -> None:
    with pytest.raises(StoreError, match="has no stage 'x'; the store has: toy toy-12345678"):
        run(commands, "drop", "toy", "x", "--store", store.root)


def test_drop_forgets_a_recipe(store: Store, commands, tmp_path: Path) -> None:
    output = run(commands, "drop", "toy", synthetic.STAGE, "--store", store.root)
    assert "5 shards" in output
    with open_read(store) as con:
        assert con.execute("SELECT count(*) FROM samples").fetchall() == [(0,)]
        assert con.execute("SELECT DISTINCT stage FROM status").fetchall() == [("fetch",)]
