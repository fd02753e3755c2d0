"""Test that the attempt log loses no row and ends as Parquet."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.manifests.ledger import now
from avstore.manifests.path_text import text_path
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch import attempt_log
from avstore.pipelines.fetch.attempt_log import AttemptLog, recover_attempts, to_row
from avstore.pipelines.fetch.source import FetchResult


def make_result(number: int = 0, message: str = "") -> FetchResult:
    started_at = now()
    return FetchResult(
        f"vggsound/{number}", "retryable", Verdict.TIMEOUT, message, None, 0.0, started_at, 1.5,
        "t 1", not_before=started_at + timedelta(seconds=60),
    )  # fmt: skip


def make_row(number: int = 0) -> dict:
    return to_row(make_result(number), "run1", number)


def rows(store: Path) -> list[dict]:
    files = sorted((store / "ledger").glob("attempts-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_rows_end_as_parquet_with_the_manifests_columns(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path, "run1")
    first = make_result(1, "line\nbreak, ünï’code")
    log.append(to_row(first, "run1", 1))
    log.close()
    (row,) = rows(tmp_path)
    assert row["clip_id"] == "vggsound/1"
    assert (row["outcome"], row["error_class"]) == ("retryable", "timeout")
    assert row["error_message"] == "line\nbreak, ünï’code"
    assert (row["started_at"], row["not_before"]) == (first.started_at, first.not_before)
    assert (row["charged"], row["run_id"], row["stage"]) == (True, "run1", "fetch")
    assert [p.name for p in (tmp_path / "ledger").iterdir()] == ["attempts-run1-0000.parquet"]


def test_a_run_without_attempts_leaves_no_file(tmp_path: Path) -> None:
    AttemptLog(tmp_path, "run1").close()
    assert recover_attempts(tmp_path) == 0
    assert not list(tmp_path.rglob("*"))


def test_many_rows_are_converted_in_parts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(attempt_log, "PART_ROWS", 10)
    log = AttemptLog(tmp_path, "run1")
    for number in range(25):
        log.append(make_row(number))
    assert len(rows(tmp_path)) == 20
    log.close()
    assert [row["clip_id"] for row in rows(tmp_path)] == [f"vggsound/{n}" for n in range(25)]


def test_a_killed_writer_loses_no_appended_row(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from tests.pipelines.fetch.test_attempt_log import make_row
        from avstore.pipelines.fetch.attempt_log import AttemptLog
        log = AttemptLog(Path(sys.argv[1]), "killed")
        for number in range(10**9):
            log.append(make_row(number))
            print(number, flush=True)
        """
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    written = -1
    for line in writer.stdout:
        written = int(line)
        if written >= 40:
            break
    os.kill(writer.pid, signal.SIGKILL)
    unread = writer.communicate()[0].split()
    written = max([written, *map(int, unread)])
    assert recover_attempts(tmp_path) == 1
    found = [row["clip_id"] for row in rows(tmp_path)]
    assert found[: written + 1] == [f"vggsound/{n}" for n in range(written + 1)]
    assert len(found) <= written + 2
    assert recover_attempts(tmp_path) == 0


@settings(deadline=None)
@given(cut=st.integers(min_value=0, max_value=2000))
def test_a_truncated_log_keeps_every_whole_row(tmp_path_factory, cut: int) -> None:
    store = tmp_path_factory.mktemp("store")
    log = AttemptLog(store, "torn")
    for number in range(6):
        log.append(make_row(number))
    part = next((store / "ledger").iterdir())
    data = part.read_bytes()[:cut]
    part.write_bytes(data)
    recover_attempts(store)
    # A last line that lacks only its newline is a whole row.
    whole = sum(line.endswith(b"}") for line in data.split(b"\n"))
    assert len(rows(store)) == whole
    assert not list((store / "ledger").glob("*.part*"))


def test_a_kill_between_conversion_and_removal_duplicates_no_row(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path, "run1")
    log.append(make_row())
    part = next((tmp_path / "ledger").iterdir())
    content = part.read_bytes()
    recover_attempts(tmp_path)
    part.write_bytes(content)
    recover_attempts(tmp_path)
    assert len(rows(tmp_path)) == 1


def test_a_damaged_line_is_skipped_and_the_log_is_kept(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path, "run1")
    for number in range(3):
        log.append(make_row(number))
    part = next((tmp_path / "ledger").iterdir())
    lines = part.read_bytes().splitlines(keepends=True)
    lines[1] = b"\x00\x00\x00\n"
    part.write_bytes(b"".join(lines))
    recover_attempts(tmp_path)
    assert len(rows(tmp_path)) == 2
    (bad,) = (tmp_path / "ledger").glob("*.bad")
    assert bad.read_bytes() == lines[1]


_JUNK = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"[]",
            b"null",
            b'"\\ud800"',
            b"{}",
            b'{"a":' * 2000,
            b"\x00" * 30,
            b'{"clip_id": 1, "started_at": "2026-01-01T00:00:00", "outcome": "stored"}',
            b'{"clip_id": "a/b", "started_at": "9999-01-01T00:00:00", "outcome": "stored"}',
            b'{"clip_id": "a/b", "started_at": "2026-01-01T00:00:00+01:00", "outcome": "stored"}',
            b'{"clip_id": "a/b", "started_at": 3, "outcome": "stored"}',
            b'{"clip_id": "a/b", "started_at": "2026-01-01T00:00:00", "outcome": "lost"}',
            b'{"clip_id": "a/b", "started_at": "2026-01-01T00:00:00", "outcome": "stored", '
            b'"bytes": 99999999999999999999}',
        ]
    ),
).map(lambda line: line.replace(b"\n", b""))


@settings(max_examples=60)
@given(junk=st.lists(st.tuples(st.integers(0, 3), _JUNK), max_size=5))
def test_a_log_of_any_bytes_is_folded_and_no_line_is_lost(tmp_path_factory, junk) -> None:
    store = tmp_path_factory.mktemp("store")
    log = AttemptLog(store, "run1")
    for number in range(3):
        log.append(make_row(number))
    part = next((store / "ledger").iterdir())
    lines = part.read_bytes().splitlines()
    for place, line in junk:
        lines.insert(place, line)
    part.write_bytes(b"".join(line + b"\n" for line in lines))
    recover_attempts(store)
    assert [row["clip_id"] for row in rows(store)] == [f"vggsound/{n}" for n in range(3)]
    bad = [x for path in (store / "ledger").glob("*.bad") for x in path.read_bytes().split(b"\n")]
    assert sorted(filter(None, bad)) == sorted(line for _, line in junk if line)
    assert recover_attempts(store) == 0


def test_surrogates_and_nul_are_recorded_escaped(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path, "run1")
    result = replace(make_result(1, "a\x00b \ud800"), path="/videos/caf\udce9/a\\xe9.mp4")
    log.append(to_row(result, "run1", 1))
    log.close()
    (row,) = rows(tmp_path)
    assert row["error_message"] == r"a\x00b \ud800"
    assert row["path"] == r"/videos/caf\xe9/a\x5cxe9.mp4"
    assert text_path(row["path"]) == result.path
