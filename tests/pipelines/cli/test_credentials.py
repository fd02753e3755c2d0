"""Test that a build records and prints no credential of the addresses that it uses."""

import zipfile
from pathlib import Path

import duckdb
import pytest

from tests.media import make_clip
from tests.pipelines.cli.test_build import avstore
from tests.servers.media_server import MediaServer

SECRET = "pa55w0rd"
#: Files with the list's own addresses, which are fetched again.
KEEPS_ADDRESSES = ("clips.jsonl", "clips.parquet", "manifest.duckdb")
QUERY = f"X-Amz-Credential=AK/2026/us-east-1/s3&X-Amz-Signature={SECRET}&X-Amz-Expires=60"


def everything_recorded(store: Path) -> str:
    """Return all rows of the manifest's and the ledger's runs and attempts as text."""
    tables = ["runs", "attempts", "status", "datasets", "plans"]
    with duckdb.connect(str(store / "manifest.duckdb"), read_only=True) as con:
        rows = [con.execute(f"FROM {table}").fetchall() for table in tables]
    rows += [duckdb.read_parquet(str(path)).fetchall() for path in store.glob("ledger/*.parquet")]
    files = [path for path in store.rglob("*") if path.suffix in (".json", ".html", ".jsonl")]
    return repr(rows) + "".join(path.read_text() for path in files)


def test_a_presigned_archive_with_a_password_is_built_and_not_recorded(tmp_path: Path) -> None:
    make_clip(tmp_path / "abcdefghijk_000030.mp4")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "abcdefghijk_000030.mp4", "abcdefghijk_000030.mp4")
    table, store = tmp_path / "vggsound.csv", tmp_path / "store"
    table.write_text("abcdefghijk,30,dog barking,train\nabsent12345,3,dog barking,train\n")
    words = ["build", "vggsound", "--annotations", table, "--source"]
    with MediaServer(tmp_path) as server:
        address = server.url.replace("//", f"//me:{SECRET}@")
        done = avstore(*words, f"{address}/ok/all.zip?{QUERY}", "--store", store)
        assert "2 wanted = 1 stored" in done.stdout
        other = ("--store", tmp_path / "other")
        failed = avstore(*words, f"{address}/404/all.zip?{QUERY}", *other, check=False)
    assert failed.returncode
    recorded = everything_recorded(store) + everything_recorded(tmp_path / "other")
    assert "/ok/all.zip?X-Amz-Credential=***&X-Amz-Signature=***" in recorded
    for text in (recorded, done.stdout, done.stderr, failed.stdout, failed.stderr):
        assert SECRET not in text
    assert "all.zip" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_addresses_of_a_list_are_kept_for_fetching_and_nowhere_else(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4")
    table, store = tmp_path / "net.csv", tmp_path / "store"
    words = ["--fetch-option", "allow_private=true", "--fetch-option", "abort_share=1.1"]
    with MediaServer(tmp_path) as server:
        good, bad = (f"{server.url}/{way}/a.mp4?{QUERY}&token={SECRET}" for way in ("ok", "404"))
        wrong = f"ftp://host/a.mp4?token={SECRET}"
        table.write_text("\n".join(["url,key", f"{good},g", f"{bad},b", f"{wrong},w", f"{good},g"]))
        done = avstore("build", table, "--store", store, "--workers", "1", *words)
        again = avstore("build", table, "--store", store, "--workers", "1", *words)
    assert "2 wanted = 1 stored" in again.stdout
    out = tmp_path / "out"
    clips = "SELECT clip_id, source_id FROM trainable"
    avstore("export", "--sql", clips, "--out", out, "--store", store)
    for text in (done.stdout, done.stderr, again.stdout, again.stderr):
        assert SECRET not in text
    files = [path for root in (store, out) for path in root.rglob("*") if path.is_file()]
    leaks = {path for path in files if SECRET.encode() in path.read_bytes()}
    assert store / "annotations" / "net" / "clips.jsonl" in leaks
    assert {str(path) for path in leaks if path.name not in KEEPS_ADDRESSES} == set()
    with duckdb.connect(str(store / "manifest.duckdb"), read_only=True) as con:
        ids = con.execute("SELECT source_id FROM clips ORDER BY key DESC").fetchall()
        assert SECRET not in repr(con.execute("FROM annotation_errors").fetchall())
    assert ids[0][0].endswith("/ok/a.mp4?X-Amz-Credential=***&X-Amz-Signature=***&"
                              "X-Amz-Expires=60&token=***")  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ("build", "vggsound", "--source", ".", "--annotations", "{}"),
        ("match", "vggsound", "--source", ".", "--annotations", "{}"),
        ("annotations", "check", "vggsound", "{}"),
        ("exchange", "from", ".", "--dataset", "vggsound", "--annotations", "{}"),
        ("build", "{}"),
    ],
)
def test_an_address_where_a_file_is_expected_is_named_as_it_was_given(words) -> None:
    address = "https://host/a.csv?token=secret"
    done = avstore(*(word.format(address) for word in words), check=False)
    assert done.returncode == 2
    assert "https://host/a.csv?token=***" in done.stderr
    if words != ("build", "{}"):
        assert "is an address; download it first" in done.stderr
