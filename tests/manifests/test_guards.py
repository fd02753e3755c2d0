"""A query, and a view of someone else's manifest, reaches nothing outside the manifest."""

import pickle
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avstore.manifests import open_store, schema, snapshots
from avstore.manifests.catalogue import guard, open_read, open_write
from avstore.manifests.lock import writing
from avstore.manifests.store import Store, StoreError
from avstore.manifests.streams import StreamError, parse_stream
from avstore.manifests.tasks import create_task_view, register_stream
from avstore.manifests.verify import verify
from avstore.train.data import sample_list
from tests.pipelines.cli.test_build import avstore as run_avstore

EVIL_QUERIES = [
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT 1 AS clip_id; COPY (SELECT 1) TO '{written}'",
    "COPY (SELECT 1) TO '{written}'",
    "EXPORT DATABASE '{written}'",
    "ATTACH '{written}' AS other",
    "INSTALL httpfs",
    "LOAD '{written}'",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "SET profiling_output = '{written}'",
    "SET temp_directory = '{written}'",
]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.csv"
    path.write_text("clip_id\nconfidential\n")
    return path


@pytest.fixture
def foreign(store: Store, secret: Path) -> Store:
    """Change a view of the manifest, and add another one, as someone who shares a store may."""
    with duckdb.connect(str(store.manifest)) as con:
        con.execute(f"CREATE VIEW extra AS SELECT * FROM read_csv('{secret}')")
        con.execute(f"CREATE OR REPLACE VIEW missing AS SELECT content FROM read_text('{secret}')")
        con.execute("CREATE MACRO double(x) AS 2 * x")
    forget_hash(store)
    return store


def forget_hash(store: Store) -> None:
    """Remove the record of the manifest's sha256, which who shares a store could rewrite."""
    (store.root / "manifest.duckdb.sha256").unlink(missing_ok=True)


@pytest.mark.parametrize("sql", EVIL_QUERIES)
@pytest.mark.parametrize("way", ["query", "with", "pickled", "snapshot", "samples"])
def test_a_query_reaches_the_manifest_only(
    store: Store, secret: Path, tmp_path: Path, sql: str, way: str
) -> None:
    written = tmp_path / "written"
    sql = sql.format(secret=secret, folder=tmp_path, written=written)
    if way == "snapshot":
        snapshots.create_snapshot(store, "paper")
    opened = open_store(store.root, snapshot="paper" if way == "snapshot" else None)
    if way == "pickled":
        opened = pickle.loads(pickle.dumps(opened))
    ask = partial(sample_list, opened) if way == "samples" else opened.query
    refused = pytest.raises(StoreError, match=r"(?s)the query failed: .*(disabled|locked)")
    with opened if way == "with" else nullcontext(), refused:
        ask(sql)
    assert not written.exists()


def test_the_error_of_a_guarded_query_says_what_to_do(store: Store, secret: Path) -> None:
    with pytest.raises(StoreError, match=r"--output FILE.*--unsafe"):
        open_store(store.root).query(f"FROM '{secret}'")


def test_the_guard_holds_for_every_connection_of_the_process(store: Store, secret: Path) -> None:
    with open_store(store.root) as opened:
        for con in (opened.connect(), duckdb.connect(str(store.manifest), read_only=True)):
            with con, pytest.raises(duckdb.PermissionException):
                con.execute(f"FROM '{secret}'")


def test_a_guarded_connection_still_serves_tables_results_and_large_sorts(store: Store) -> None:
    with open_read(store) as con:
        con.register("given", pa.table({"clip_id": ["toy/k00001", "toy/k00004"]}))
        joined = "SELECT count(*) FROM given JOIN trainable USING (clip_id)"
        assert con.execute(joined).fetchall() == [(2,)]
        con.execute("CREATE TEMP TABLE kept AS FROM given")
        assert con.sql("FROM kept").to_arrow_table().num_rows == 2
        assert len(con.sql("FROM kept").df()) == 2
    with open_read(store, unsafe=True) as con:
        con.execute("SET memory_limit = '60MB'")
        con.execute("SET threads = 1")
        guard(con)
        con.execute("CREATE TEMP TABLE big AS SELECT hash(range) AS h FROM range(6_000_000)")
        rows = "SELECT count(*) FROM (SELECT h, row_number() OVER (ORDER BY h) FROM big)"
        assert con.execute(rows).fetchall() == [(6_000_000,)]


def test_a_weighted_list_with_parameters_is_selected(store: Store) -> None:
    samples = sample_list(
        open_store(store.root),
        "SELECT clip_id, 2.0 AS weight FROM trainable WHERE clip_id = ? -- one\n;",
        ["toy/k00001"],
    )
    assert len(samples) == 1


def test_a_foreign_view_reads_no_file_and_is_found(foreign: Store, secret: Path) -> None:
    for view in ("extra", "missing"):
        with pytest.raises(StoreError, match="disabled by configuration"):
            open_store(foreign.root).query(f"FROM {view}")
    with open_read(foreign) as con:
        found = {p.what for p in verify(con, foreign, False) if p.where == "manifest.duckdb"}
    assert found == {
        "macro double is not one of avstore's",
        "view extra is not one of avstore's",
        "view missing differs from this version's",
    }


def test_a_writer_drops_what_others_defined(foreign: Store, secret: Path) -> None:
    with duckdb.connect(str(foreign.manifest)) as con:
        con.execute("DROP TABLE labels")
        con.execute(f"CREATE VIEW labels AS SELECT * FROM read_csv('{secret}')")
    forget_hash(foreign)
    with writing(foreign), open_write(foreign) as writer:
        assert writer.con.execute("SELECT count(*) FROM labels").fetchall() == [(0,)]
        writer.publish()
    with open_read(foreign) as con:
        assert [p for p in verify(con, foreign, False) if p.where == "manifest.duckdb"] == []


def test_the_views_of_a_new_manifest_are_the_codes(store: Store) -> None:
    with writing(store), open_write(store) as writer:
        writer.con.execute(
            "INSERT INTO tasks VALUES ('s', 0, 'it''s', 'train', 'FROM stored_clips')"
        )
        create_task_view(writer.con)
        writer.publish()
    with open_read(store) as con:
        assert "view task_clips" in schema.definitions(con)
        assert [p for p in verify(con, store, False) if p.where == "manifest.duckdb"] == []


@pytest.fixture
def evil_query(secret: Path, tmp_path: Path) -> Iterator[str]:
    yield (
        f"SELECT 1 AS clip_id\n); COPY (SELECT 1) TO '{tmp_path / 'written'}'; "
        "SELECT * FROM (SELECT 1 AS clip_id"
    )
    assert not (tmp_path / "written").exists()


def test_a_task_query_is_one_select_over_the_manifest(
    store: Store, secret: Path, evil_query: str, caplog: pytest.LogCaptureFixture
) -> None:
    queries = [evil_query, f"SELECT clip_id FROM read_csv('{secret}')"]
    with writing(store), open_write(store) as writer:
        for query in queries:
            text = f'name = "s"\n[queries]\ntrain = """{query}"""\n[[tasks]]\ntask = "a"\n'
            with pytest.raises(StreamError, match=r"one SELECT|disabled by configuration"):
                register_stream(writer.con, parse_stream(text))
            writer.con.execute("INSERT INTO tasks VALUES ('s', 0, 'a', 'train', ?)", [query])
        writer.con.execute("INSERT INTO tasks VALUES ('s', 1, 'b', 'train', 'FROM clips')")
        create_task_view(writer.con)
        rows = writer.con.execute("SELECT DISTINCT position FROM task_clips").fetchall()
        assert rows == [(1,)]
    assert caplog.text.count("is left out") == 2


def test_sql_writes_files_only_by_its_own_option(
    store: Store, secret: Path, tmp_path: Path
) -> None:
    sql = "SELECT clip_id, labels, 'x' AS \"o'x\" FROM clips ORDER BY ALL"
    for suffix in ("csv", "json", "parquet"):
        target = tmp_path / f"rows.{suffix}"
        said = run_avstore("sql", sql, "--store", store.root, "--output", target).stdout
        assert said == f"{target}: 20 rows\n"
        with duckdb.connect() as con:
            count = con.execute("SELECT count(*) FROM query_table(?)", [str(target)]).fetchall()
            assert count == [(20,)]
    assert pq.read_table(tmp_path / "rows.parquet")["labels"].type == pa.list_(pa.string())
    shown = run_avstore("sql", sql, "--store", store.root, "--format", "csv").stdout
    assert shown == (tmp_path / "rows.csv").read_text()

    copy = f"COPY (FROM clips) TO '{tmp_path / 'copy.csv'}'"
    refused = run_avstore("sql", copy, "--store", store.root, check=False)
    assert refused.returncode == 2
    assert "--unsafe" in refused.stderr
    assert not (tmp_path / "copy.csv").exists()
    named = run_avstore("sql", sql, "--store", store.root, "--output", "rows.txt", check=False)
    assert named.returncode == 2
    assert "rows.txt does not end in .csv, .json or .parquet" in named.stderr
    run_avstore("sql", copy, "--store", store.root, "--unsafe")
    assert (tmp_path / "copy.csv").exists()
    assert (
        "confidential"
        in run_avstore(
            "sql", f"FROM read_csv('{secret}')", "--store", store.root, "--unsafe"
        ).stdout
    )


def test_names_with_quotes_are_names(store: Store) -> None:
    done = run_avstore("stats", "o'x", "--store", store.root, check=False)
    assert done.returncode == 2
    assert 'the store holds no dataset "o\'x"' in done.stderr
    assert len(done.stderr.splitlines()) == 1
    opened = open_store(store.root)
    with pytest.raises(StoreError, match='have no x" y'):
        sample_list(opened, "FROM trainable", features=['x" y'])


def test_labels_and_reasons_with_markup_are_printed_as_they_are(store: Store) -> None:
    with duckdb.connect(str(store.manifest)) as con:
        con.execute("UPDATE clips SET labels = ['[/red]', '[generic] x'] WHERE position = 0")
        con.execute("UPDATE status SET verdict = '[/red]' WHERE clip_id = 'toy/k00002'")
        con.execute("UPDATE shards SET path = 'shards/[/red].tar' WHERE path LIKE '%000000.tar'")
    forget_hash(store)
    sql = "SELECT labels FROM clips WHERE position = 0"
    labels = run_avstore("sql", sql, "--store", store.root).stdout
    assert "['[/red]', '[generic] x']" in labels
    assert "[/red]" in run_avstore("status", "--store", store.root).stdout
    found = run_avstore("verify", "--store", store.root, check=False)
    assert found.returncode == 1
    assert "shards/[/red].tar is in the manifest but is not the name of a shard" in found.stdout
