"""Views count every clip once per recipe, compare times as UTC, and say what each column holds."""

import os
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from avstore.manifests import schema
from avstore.manifests.catalogue import Writer, open_read, open_write
from avstore.manifests.ingest import refresh_status
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from avstore.manifests.tasks import empty_manifest
from avstore.manifests.verify import verify
from tests.manifests import synthetic
from tests.manifests.test_versions import VERSIONS, restore

COUNTED = ("failures", "missing", "changes", "coverage")


@contextmanager
def editing(store: Store) -> Iterator[Writer]:
    with writing(store), open_write(store) as writer:
        yield writer
        writer.publish()


def one(store: Store, sql: str) -> tuple:
    with open_read(store) as con:
        (row,) = con.execute(sql).fetchall()
    return row


def counts(store: Store, where: str = "") -> dict[str, int]:
    """Return rows by view; of coverage, published clips."""
    columns = dict.fromkeys(COUNTED, "count(*)") | {"coverage": "sum(wanted)"}
    return {name: one(store, f"SELECT {columns[name]} FROM {name} {where}")[0] for name in COUNTED}


def test_every_clip_counts_once_with_one_recipe(store: Store) -> None:
    # 3 of the 20 clips are gone and 1 is rejected.
    assert counts(store) == {"failures": 4, "missing": 4, "changes": 20, "coverage": 20}
    by_stage = "SELECT (SELECT count(*) FROM failures_by_stage), (SELECT count(*) FROM "
    by_stage += "missing_by_stage), (SELECT count(*) FROM changes_by_stage), "
    by_stage += "(SELECT sum(wanted)::INTEGER FROM coverage_by_stage)"
    assert one(store, by_stage) == (7, 7, 40, 40)


def test_every_clip_counts_once_per_recipe(store: Store) -> None:
    with editing(store) as writer:
        writer.con.execute(
            "INSERT INTO stages VALUES ('other-87654321', 'toy', 'other', repeat('87654321', 8))"
        )
        refresh_status(writer.con)
    assert counts(store, "WHERE recipe = 'toy'") == {
        "failures": 4, "missing": 4, "changes": 20, "coverage": 20,
    }  # fmt: skip
    # By the other recipe nothing is extracted yet: only the clips that are gone have a time.
    assert counts(store, "WHERE recipe = 'other'") == {
        "failures": 3, "missing": 20, "changes": 3, "coverage": 20,
    }  # fmt: skip


def test_a_dataset_without_a_recipe_counts_where_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.root.mkdir()
    with editing(store) as writer:
        rows = synthetic.clip_rows(3)
        synthetic.annotate(writer, store, rows)
        writer.con.execute("DELETE FROM stages")
        synthetic.fetch(writer, store, "r1", {rows[0]["clip_id"]: "private"})
        refresh_status(writer.con)
    assert counts(store) == {"failures": 1, "missing": 3, "changes": 1, "coverage": 3}
    assert one(store, "SELECT recipe, stage FROM failures") == (None, "fetch")


def test_failures_say_where_and_why(store: Store) -> None:
    with editing(store) as writer:
        writer.con.execute("UPDATE attempts SET error_message = 'it is ' || error_class")
        writer.con.execute("UPDATE quality SET detail = 'silent: 1.0' WHERE verdict = 'silent'")
    with open_read(store) as con:
        found = con.execute(
            "SELECT failed_at, verdict, detail, attempts, count(*) FROM failures GROUP BY ALL"
        ).fetchall()
    assert sorted(found) == [
        ("extract", "silent", "silent: 1.0", 1, 1),
        ("fetch", "private", "it is private", 1, 3),
    ]


def test_clips_without_a_label_have_a_row_of_coverage(store: Store) -> None:
    with editing(store) as writer:
        writer.con.execute("UPDATE clips SET labels = [] WHERE key < 'k00005'")
        writer.con.execute("UPDATE clips SET labels = NULL WHERE key = 'k00019'")
    assert one(store, "SELECT sum(wanted)::INTEGER FROM coverage WHERE label IS NULL") == (6,)


@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles", "Asia/Tokyo"])
def test_what_changed_since_yesterday_is_one_query_in_every_time_zone(
    store: Store, zone: str
) -> None:
    with editing(store) as writer:
        writer.con.execute(
            "UPDATE status SET updated_at = updated_at - INTERVAL 26 HOUR "
            "WHERE clip_id < 'toy/k00005'"
        )
    last_day = "changed_at > now() - INTERVAL 1 DAY"
    queries = [
        f"SELECT count(*) FROM changes WHERE {last_day}",
        "SELECT count(*) FROM status WHERE stage <> 'fetch' "
        "AND updated_at > now() - INTERVAL 1 DAY",
        "SELECT count(*) FROM changes WHERE changed_at >= current_date - 1",
    ]
    command = [sys.executable, "-m", "avstore", "sql", "--format", "csv", "--store"]
    environment = {**os.environ, "TZ": zone}
    for query in queries[:2]:
        done = subprocess.run(
            [*command, str(store.root), query],
            env=environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout.splitlines()[1] == "15", query
    with duckdb.connect(str(store.manifest), read_only=True) as con:  # any DuckDB client
        con.execute(f"SET TimeZone = '{zone}'")
        assert con.execute(queries[0]).fetchall() == [(15,)]
        (row,) = con.execute("SELECT changed_at FROM changes LIMIT 1").fetchall()
        assert row[0].tzinfo is not None


def test_a_change_names_the_run_that_made_it(store: Store) -> None:
    with editing(store) as writer:
        writer.con.execute("DELETE FROM runs")
        writer.con.execute(
            "INSERT INTO runs BY NAME SELECT unnest(['old', 'new', 'later']) AS run_id, "
            "unnest([now()::TIMESTAMP - INTERVAL 2 DAY, now()::TIMESTAMP - INTERVAL 1 DAY, "
            "now()::TIMESTAMP + INTERVAL 1 DAY]) AS started_at, "
            "unnest([-2, 0, 1::BIGINT << 40]) AS seq"
        )
    assert one(store, "SELECT DISTINCT run_id FROM changes") == ("new",)
    assert one(store, "SELECT count(*) FROM changes WHERE run_id = 'new'") == (20,)


def test_members_and_frames_are_where_the_views_say(store: Store) -> None:
    with editing(store) as writer:
        synthetic.add_feature(writer, store, "pixels", "f" * 64)
    with open_read(store) as con:
        members = con.execute(
            "SELECT shard, name, byte_offset, bytes, feature FROM members"
        ).fetchall()
        frames = con.execute(
            "SELECT shard, name, byte_offset, bytes, frame, time_s, clip_id FROM frames"
        ).fetchall()
    assert {row[4] for row in members} == {"json", "fbank", "waveform", "frames", "pixels"}
    assert len(members) == 16 * 6
    for shard, name, offset, size, *_ in members + frames:
        with tarfile.open(store.root / shard) as tar:
            found = tar.getmember(name)
        assert (found.offset_data, found.size) == (offset, size)
    assert len(frames) == 16 * 2
    first = [(name.rsplit(".")[1], *rest[:2]) for _, name, _, _, *rest in frames[:2]]
    assert first == [("f000", 0, 0.0), ("f001", 1, 0.5)]


LACKING = """
SELECT name || coalesce('.' || column_name, '') FROM schema_help WHERE coalesce(comment, '') = ''
UNION ALL SELECT function_name FROM duckdb_functions()
WHERE NOT internal AND function_type = 'table_macro' AND coalesce(comment, '') = ''
"""


@pytest.mark.parametrize("version", [None, *sorted(path.name for path in VERSIONS.iterdir())])
def test_every_table_view_and_column_has_a_comment(
    store: Store, version: str | None, tmp_path: Path
) -> None:
    store = restore(version, tmp_path / "old") if version else store
    with open_read(store) as con:
        assert con.execute(LACKING).fetchall() == []
        (listed,) = con.execute(
            "SELECT count(*) FROM schema_help WHERE column_name IS NULL"
        ).fetchall()
        existing = con.execute("FROM duckdb_tables() SELECT table_name").fetchall()
        existing += con.execute(
            "SELECT view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
        assert listed == (len(existing),)
        assert [p for p in verify(con, store, False) if p.where == "manifest.duckdb"] == []


def test_registering_a_stream_keeps_the_comments(store: Store) -> None:
    with editing(store) as writer:
        writer.con.execute("INSERT INTO tasks VALUES ('s', 0, 't', 'train', 'FROM stored_clips')")
        schema.create_task_views(
            writer.con,
            "SELECT 's' AS stream, 0 AS position, 't' AS task, 'train' AS role, clip_id FROM clips",
        )
    with duckdb.connect(str(store.manifest), read_only=True) as con:
        assert con.execute(LACKING).fetchall() == []


def test_a_comment_is_no_way_around_the_check_of_views(store: Store) -> None:
    with editing(store) as writer:
        writer.con.execute("CREATE OR REPLACE VIEW missing AS SELECT 1 AS clip_id")
        writer.con.execute("COMMENT ON VIEW missing IS 'Published clips that are not stored.'")
    with open_read(store) as con:
        found = [p.what for p in verify(con, store, False) if p.where == "manifest.duckdb"]
    assert found == ["view missing differs from this version's"]


def test_an_empty_manifest_has_every_view() -> None:
    with empty_manifest() as con:
        for (name,) in con.execute(
            "SELECT view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall():
            con.execute(f'FROM "{name}"').fetchall()


def test_the_time_types_that_views_return_have_what_python_needs() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert any(x.startswith("pytz") for x in project["dependencies"])


def test_the_reference_page_has_every_view_and_column() -> None:
    from docs.tools.manifest_reference import page

    text = page()
    assert "### failures\n" in text
    assert "| `changed_at` | TIMESTAMP WITH TIME ZONE | when the status was reached" in text
    assert "None" not in text
