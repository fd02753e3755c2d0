"""Verify compares every file with its hash, and the manifest with a rebuild."""

from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from avstore.manifests import ledger, manifest_hash
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.lock import StoreBusyError, current_writer, killed_writer, writing
from avstore.manifests.sealed import read_bytes, write_parquet
from avstore.manifests.store import Store, StoreError, find_store
from avstore.manifests.verify import verify_store
from avstore.pipelines.build import driver
from avstore.pipelines.build.recovery import recover
from avstore.pipelines.build.repair import repair_store
from tests.faults.flips import flip
from tests.manifests.test_guards import forget_hash
from tests.manifests.test_manifest import contents


def found(store: Store) -> list[str]:
    return [f"{problem.where}: {problem.what}" for problem in verify_store(store)]


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("UPDATE clips SET labels = ['other'] WHERE position = 3", "clips"),
        ("DELETE FROM media WHERE clip_id = 'toy/k00003'", "media"),
        ("INSERT INTO runs (run_id) VALUES ('forged')", "runs"),
    ],
)
def test_a_changed_row_of_the_manifest_is_found(store: Store, change: str, table: str) -> None:
    with duckdb.connect(str(store.manifest)) as con:
        con.execute(change)
    assert "manifest.duckdb.sha256 says" in found(store)[0]
    forget_hash(store)
    (problem,) = found(store)
    assert problem.startswith(f"manifest.duckdb: table {table} has ")


@pytest.mark.parametrize("name", ["attempts-r1.parquet", "stages.parquet"])
def test_a_lost_ledger_file_is_found(store: Store, name: str) -> None:
    (store.ledger / name).unlink()
    (problem,) = found(store)
    assert problem == f"ledger/{name}: is in the manifest but not on disk"


def test_a_replaced_ledger_file_is_found(store: Store) -> None:
    """By another of its own place; one of another place differs from its seal's."""
    attempts = store.ledger / "attempts-r1.parquet"
    write_parquet(attempts, pq.read_table(attempts).slice(1))
    (problem,) = found(store)
    assert problem == (
        "ledger/attempts-r1.parquet: is not the file that the manifest was made from"
    )


def test_index_seals_files_of_older_versions_and_keeps_their_contents(store: Store) -> None:
    before = contents(store)
    for path in store.sidecars():
        pq.write_table(pq.read_table(path), path)
    forget_hash(store)
    notes: list[str] = []
    assert verify_store(store, note=notes.append) == []
    assert "have no seal, as older versions wrote them; to add it, run: " in notes[0]
    with writing(store):
        assert repair_store(store).sealed == len(store.sidecars())
    assert all(read_bytes(path)[1] for path in store.sidecars())
    assert contents(store) == before
    notes.clear()
    assert verify_store(store, note=notes.append) == []
    assert notes == []


def test_a_damaged_small_table_is_restored_from_the_manifest(store: Store) -> None:
    before = contents(store)
    flip(store.ledger / "stages.parquet", 900)
    with writing(store):
        done = repair_store(store)
    assert list(done.moved) == ["ledger/stages.parquet"]
    assert (store.root / "damaged/ledger/stages.parquet").is_file()
    assert contents(store) == before
    assert found(store) == []


def test_a_damaged_new_ledger_file_is_left_out_in_one_line(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    before = contents(store)
    path = store.ledger / "attempts-r9.parquet"
    path.write_bytes((store.ledger / "attempts-r1.parquet").read_bytes())
    flip(path, 4000)
    with writing(store), open_write(store) as writer:
        recover(writer, store)
        writer.publish()
    assert caplog.messages == [f"{path} is damaged: it differs from its seal; left out"]
    assert contents(store) == before


def test_a_writer_refuses_a_damaged_manifest_and_index_makes_it_again(store: Store) -> None:
    before = contents(store)
    flip(store.manifest, 8 * store.manifest.stat().st_size - 9)
    with (
        writing(store),
        pytest.raises(StoreError, match=r"changed by another program; run: \S*avstore index"),
        open_write(store),
    ):
        pass
    with writing(store):
        repair_store(store)
    assert contents(store) == before
    assert found(store) == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_while_publishing_leaves_a_manifest_that_agrees_with_its_hash(
    store: Store, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = manifest_hash.record_hash

    def killed(*arguments: str) -> None:
        if moment == "after":
            record(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patch, writing(store), open_write(store) as writer:
            patch.setattr("avstore.manifests.catalogue.record_hash", killed)
            ledger.finish_run(writer.con, store, ledger.new_run("test", {}), "done")
            with pytest.raises(KeyboardInterrupt):
                writer.publish()
        assert found(store) == []


def test_the_comparison_is_left_out_while_files_are_ahead(store: Store) -> None:
    notes: list[str] = []
    with writing(store):
        assert verify_store(store, note=notes.append) == []
        holder = store.lock.with_suffix(".holder")
        note = holder.read_text()
    assert "is being written by process" in notes.pop()
    holder.write_text(note)
    assert killed_writer(store)
    assert verify_store(store, note=notes.append) == []
    assert "was killed; the next build completes the manifest; run: " in notes.pop()
    holder.unlink()
    with writing(store), open_write(store) as writer:
        ledger.finish_run(writer.con, store, ledger.new_run("lost", {}), "done")
    assert verify_store(store, note=notes.append) == []
    assert "is not in the manifest yet; the next build adds it; run: " in notes.pop()


def test_readers_of_a_store_without_manifest_learn_who_is_writing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with writing(store):
        assert current_writer(store)
        with pytest.raises(StoreError, match=r"no manifest yet: .* written by process \d+"):
            find_store(store.root)
        with pytest.raises(StoreBusyError, match=r"being written by process \d+ .* since 20"):
            open_read(store)
    assert current_writer(store) is None


def test_a_new_store_has_a_manifest_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        store = Store(tmp_path)
        assert verify_store(store) == []
        with open_read(store) as con:
            assert con.execute("SELECT count(*) FROM clips").fetchall() == [(0,)]
        raise KeyboardInterrupt

    from avstore.datasets import registry
    from avstore.pipelines.extract.recipe import load_recipe

    monkeypatch.setattr(driver, "recover", stop)
    options = driver.BuildOptions(tmp_path, "videos", (Path("x.csv"),))
    with pytest.raises(KeyboardInterrupt):
        driver.build(registry.get("vggsound"), load_recipe("stella"), options)
