"""The log of attempts: durable at once, Parquet in the end."""

import os
import signal
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch import attempt_log as ledger
from avstore.pipelines.fetch.clock import utc_now
from avstore.pipelines.fetch.source import FetchResult


def attempt(number: int = 0, message: str = "") -> FetchResult:
    at = utc_now()
    return FetchResult(
        f"vggsound/{number}", "retryable", Verdict.TIMEOUT, message, None, 0.0, at, 1.5, "t 1",
        not_before=at + timedelta(seconds=60),
    )  # fmt: skip


def rows(store: Path) -> list[dict]:
    files = sorted((store / "ledger").glob("attempts-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_rows_end_as_parquet_with_the_manifests_columns(tmp_path: Path) -> None:
    log = ledger.AttemptLog(tmp_path, "run1")
    first = attempt(1, "line\nbreak, ünï’code")
    log.append(first)
    log.close()
    (row,) = rows(tmp_path)
    assert row["clip_id"] == "vggsound/1"
    assert (row["outcome"], row["error_class"]) == ("retryable", "timeout")
    assert row["error_message"] == "line\nbreak, ünï’code"
    assert (row["started_at"], row["not_before"]) == (first.started_at, first.not_before)
    assert (row["charged"], row["run_id"], row["stage"]) == (True, "run1", "fetch")
    assert [p.name for p in (tmp_path / "ledger").iterdir()] == ["attempts-run1-0000.parquet"]


def test_a_run_without_attempts_leaves_no_file(tmp_path: Path) -> None:
    ledger.AttemptLog(tmp_path, "run1").close()
    assert ledger.recover(tmp_path) == 0
    assert not list(tmp_path.rglob("*"))


def test_many_rows_are_folded_in_parts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ledger, "FOLD_ROWS", 10)
    log = ledger.AttemptLog(tmp_path, "run1")
    for number in range(25):
        log.append(attempt(number))
    assert len(rows(tmp_path)) == 20
    log.close()
    assert [row["clip_id"] for row in rows(tmp_path)] == [f"vggsound/{n}" for n in range(25)]


def test_a_killed_writer_loses_nothing_it_appended(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from tests.pipelines.fetch.test_attempt_log import attempt
        from avstore.pipelines.fetch.attempt_log import AttemptLog
        log = AttemptLog(Path(sys.argv[1]), "killed")
        for number in range(10**9):
            log.append(attempt(number))
            print(number, flush=True)
        """
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    said = -1
    for line in writer.stdout:
        said = int(line)
        if said >= 40:
            break
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.communicate()[0].split()
    said = max([said, *map(int, rest)])
    assert ledger.recover(tmp_path) == 1
    found = [row["clip_id"] for row in rows(tmp_path)]
    assert found[: said + 1] == [f"vggsound/{n}" for n in range(said + 1)]
    assert len(found) <= said + 2
    assert ledger.recover(tmp_path) == 0


@given(cut=st.integers(min_value=0, max_value=2000))
def test_a_log_cut_anywhere_keeps_every_whole_row(tmp_path_factory, cut: int) -> None:
    store = tmp_path_factory.mktemp("store")
    log = ledger.AttemptLog(store, "torn")
    for number in range(6):
        log.append(attempt(number))
    part = next((store / "ledger").iterdir())
    data = part.read_bytes()[:cut]
    part.write_bytes(data)
    ledger.recover(store)
    whole = data.count(b"\n")
    assert len(rows(store)) in (whole, whole + 1)
    assert not list((store / "ledger").glob("*.part*"))


def test_recovering_twice_after_a_kill_between_fold_and_removal_is_harmless(tmp_path: Path) -> None:
    log = ledger.AttemptLog(tmp_path, "run1")
    log.append(attempt())
    part = next((tmp_path / "ledger").iterdir())
    kept = part.read_bytes()
    ledger.recover(tmp_path)
    part.write_bytes(kept)
    ledger.recover(tmp_path)
    assert len(rows(tmp_path)) == 1


def test_a_damaged_line_costs_itself_and_the_log_is_kept(tmp_path: Path) -> None:
    log = ledger.AttemptLog(tmp_path, "run1")
    for number in range(3):
        log.append(attempt(number))
    part = next((tmp_path / "ledger").iterdir())
    lines = part.read_bytes().splitlines(keepends=True)
    lines[1] = b"\x00\x00\x00\n"
    part.write_bytes(b"".join(lines))
    ledger.recover(tmp_path)
    assert len(rows(tmp_path)) == 2
    assert len(list((tmp_path / "ledger").glob("*.damaged"))) == 1
