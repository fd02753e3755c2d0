"""Test that a build records and prints no credential of the addresses that it uses."""

import zipfile
from pathlib import Path

import duckdb

from tests.media import make_clip
from tests.pipelines.cli.test_build import avstore
from tests.servers.media_server import MediaServer

SECRET = "pa55w0rd"
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
