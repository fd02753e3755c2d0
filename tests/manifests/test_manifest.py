"""The manifest of a store: summaries add up, a rebuild is equal, verify finds defects."""

import shutil
from pathlib import Path

import duckdb
import pytest

from avstore.manifests.account import accounts, check_accounts
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.lock import StoreBusyError, writing
from avstore.manifests.rebuild import rebuild
from avstore.manifests.store import Store, StoreError, find_store
from avstore.manifests.verify import verify
from tests.manifests import synthetic

TABLES = (
    *("datasets", "clips", "labels", "segments", "annotation_errors", "media", "quality"),
    *("status", "attempts", "stages", "plans", "shards", "samples", "tasks"),
    *("features", "feature_samples", "dropped"),
)


def contents(store: Store) -> dict[str, list]:
    with open_read(store) as con:
        return {name: con.sql(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for name in TABLES}


def problems(store: Store) -> list[str]:
    with open_read(store) as con:
        return [f"{p.where}: {p.what}" for p in verify(con, store)]


def test_account_closes_and_names_every_clip_once(store: Store) -> None:
    with open_read(store) as con:
        check_accounts(con, "toy")
        fetch, extract = accounts(con, "toy")
    assert (fetch.stage, fetch.wanted, fetch.stored, fetch.gone) == ("fetch", 20, 17, 3)
    assert (extract.stored, extract.rejected, extract.gone, extract.pending) == (16, 1, 3, 0)


def test_verify_passes_on_a_sound_store(store: Store) -> None:
    assert problems(store) == []


def test_rebuild_gives_the_same_contents(store: Store) -> None:
    before = contents(store)
    store.manifest.unlink()
    with writing(store), open_write(store, fresh=True) as writer:
        rebuild(writer, store)
        writer.publish()
    assert contents(store) == before


def test_a_late_clip_goes_into_a_new_shard(store: Store) -> None:
    before = contents(store)["shards"]
    with writing(store), open_write(store) as writer:
        synthetic.fetch(writer, store, "r2", {"toy/k00002": None})
        synthetic.build(writer, store, "r2")
        writer.publish()
    after = contents(store)["shards"]
    assert set(before) < set(after)
    with open_read(store) as con:
        late = con.sql("SELECT shard FROM samples WHERE clip_id = 'toy/k00002'").fetchall()
    assert late == [(f"shards/toy/{synthetic.STAGE}/train-000004.tar",)]
    assert problems(store) == []


def test_plan_is_the_same_before_and_after_an_interruption(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    other.root.mkdir()
    rows = synthetic.clip_rows(20)
    with writing(other), open_write(other) as writer:
        synthetic.annotate(writer, other, rows)
        synthetic.fetch(writer, other, "r1", {r["clip_id"]: None for r in rows})
        first = synthetic.plan_shards(writer, other, "r1", 4)
        synthetic.commit_shards(writer.con, [synthetic.write_shard(other, first[2], frozenset())])
        again = synthetic.plan_shards(writer, other, "r2", 4)
    assert again == [*first[:2], *first[3:]]


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "sidecar", "stray"])
def test_verify_names_what_was_damaged(store: Store, damage: str) -> None:
    tar = sorted(store.shards.glob("*/*/*.tar"))[0]
    if damage == "flip":
        content = bytearray(tar.read_bytes())
        content[700] ^= 1
        tar.write_bytes(content)
    elif damage == "truncate":
        tar.write_bytes(tar.read_bytes()[:-512])
    elif damage == "delete":
        tar.unlink()
    elif damage == "sidecar":
        tar.with_suffix(".parquet").unlink()
    else:
        shutil.copy(tar, tar.with_name("train-000099.tar"))
        tar = tar.with_name("train-000099.tar")
    found = problems(store)
    assert len(found) == 1
    assert tar.stem in found[0]


def test_readers_are_not_disturbed_by_a_writer(store: Store) -> None:
    with writing(store), open_write(store) as writer:
        synthetic.annotate(writer, store, synthetic.clip_rows(30))
        with duckdb.connect(str(store.manifest), read_only=True) as reader:
            assert reader.execute("SELECT count(*) FROM clips").fetchone() == (20,)
        writer.publish()
        with duckdb.connect(str(store.manifest), read_only=True) as reader:
            assert reader.execute("SELECT count(*) FROM clips").fetchone() == (30,)


def test_second_writer_is_told_who_holds_the_store(store: Store) -> None:
    with (
        writing(store),
        pytest.raises(StoreBusyError, match=r"process \d+ on .* since 20"),
        writing(store),
    ):
        pass


def test_a_lock_file_left_by_a_dead_process_does_not_hold(store: Store) -> None:
    store.lock.touch()
    with writing(store):
        pass


def test_find_store_says_what_to_do(tmp_path: Path, store: Store) -> None:
    assert find_store(store.shards).root == store.root.resolve()
    with pytest.raises(StoreError, match=r"no manifest\.duckdb .*run: .*avstore build vggsound"):
        find_store(tmp_path)
