"""The command: one address of this machine, stopped by Ctrl-C; training runs and running builds."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avstore.manifests.store import StoreError
from avstore.pipelines.cli.browse_runs import FolderOfRuns, run_library
from avstore.train.clip_scores import CLIPS, EVENTS, ClipScores, Event, write_clip_scores
from avstore.train.results import SCHEMA
from tests.pipelines.browse.conftest import client
from tests.train.data.store_factory import clip_id

COMMAND = [sys.executable, "-m", "avstore", "browse", "--no-open"]


@contextmanager
def started(store: Path, *words: str) -> Iterator[tuple[subprocess.Popen, str]]:
    command = [*COMMAND, "--store", str(store), *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def get(address: str, cookie: str = "") -> str:
    with urlopen(Request(address, headers={"Cookie": cookie}), timeout=20) as answer:
        return answer.read().decode()


def test_it_serves_the_printed_address_until_ctrl_c(toy_folder: Path) -> None:
    with started(toy_folder) as (process, address):
        root, token = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/\?token=(\S+)", address).groups()
        assert "Open the store" in get(address)
        port = root.rsplit(":", 1)[1]
        assert "<h1>Overview</h1>" in get(root, f"avstore-{port}={token}")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--store", "/nonexistent"], "/nonexistent does not exist"),
        (["--runs", "/nonexistent"], "there is no folder /nonexistent"),
    ],
)
def test_a_wrong_call_is_one_line(toy_folder: Path, words: list[str], message: str) -> None:
    command = [*COMMAND, "--store", str(toy_folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_is_named(toy_folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        command = [*COMMAND, "--store", str(toy_folder), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert f"port {port} cannot be used" in done.stderr


def write_run(folder: Path, *, finished: bool) -> None:
    """Write what train/run.py leaves of a run of two tasks."""
    folder.mkdir(parents=True)
    facts = {"config": {"name": "<b>mine</b>", "method": "er", "seed": 3}, "tasks": ["a", "b<i>"]}
    (folder / "run.json").write_text(json.dumps(facts))
    if not finished:
        return
    summary = {"average": 40.0, "forgetting_code": 1.0, "forgetting_standard": 2.0}
    metrics = dict.fromkeys(("a2v_avg", "v2a_avg"), summary)
    results = facts | {"summary": metrics, "finished": "2026-01-02T03:04:05"}
    (folder / "results.json").write_text(json.dumps(results))
    rows = [
        {"run": "x", "trained": t, "task": u, "step": 9, "metric": m, "value": 10.0 * i}
        for m in metrics
        for i, (t, u) in enumerate((t, u) for t in facts["tasks"] for u in facts["tasks"])
    ]
    rows += [{"run": "x", "step": n, "metric": "loss", "value": 5.0 - n} for n in range(4)]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / "metrics.parquet")


def test_training_runs_have_pages(toy_folder: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "one" / "er", finished=True)
    write_run(tmp_path / "runs" / "begun", finished=False)
    with client(toy_folder, FolderOfRuns(tmp_path / "runs")) as found:
        listed = found.get("/runs").text
        assert 'href="/runs/one/er"' in listed
        assert "&lt;b&gt;mine&lt;/b&gt;" in listed
        page = found.get("/runs/one/er").text
        assert "Task matrix" in page
        assert '<td class="n shade10">30.0</td>' in page.replace("30</td>", "30.0</td>")
        assert "<polyline points=" in page
        assert "Not finished" in found.get("/runs/begun").text
        assert found.get("/runs/nothing").status_code == 400


def test_a_run_shows_its_best_and_worst_clips_and_what_it_found(
    toy_folder: Path, tmp_path: Path
) -> None:
    write_run(tmp_path / "one", finished=True)
    known = [clip_id(n) for n in range(14)]
    values = dict(zip(["other/clip<b>", *known], range(100, 85, -1), strict=True))
    events = [Event(known[3], "audio", 1, 2.0, 5.0)]
    write_clip_scores(tmp_path / "one", ClipScores("<i>score", values, events))
    with client(toy_folder, FolderOfRuns(tmp_path)) as found:
        page = found.get("/runs/one").text
        best, worst = page.split("Worst clips")
        assert "Best clips" in best
        assert "&lt;i&gt;score" in best
        assert "other/clip&lt;b&gt;" in best
        assert f'href="/clip/{known[0]}?' in best
        assert f'href="/clip/{known[-1]}?' in worst
        assert known[0] not in worst
        clip = found.get(f"/clip/{known[3]}").text
        assert 'Found by <a href="/runs/one">one</a>' in clip
        assert 'aria-label="2 to 5 s"' in clip
        assert "Found by" not in found.get(f"/clip/{known[4]}").text


def test_a_folder_without_runs_has_an_empty_page(toy_folder: Path, tmp_path: Path) -> None:
    with client(toy_folder, FolderOfRuns(tmp_path)) as found:
        assert "There is no run yet." in found.get("/runs").text
    assert run_library(None, tmp_path / "runs") is None
    with pytest.raises(StoreError, match="there is no folder"):
        run_library(tmp_path / "runs", tmp_path)


def test_a_running_build_is_shown(own_folder: Path) -> None:
    from avstore.manifests.lock import writing
    from avstore.manifests.store import Store
    from avstore.pipelines.build.meter import no_progress
    from avstore.pipelines.build.progress import PublishedProgress

    store = Store(own_folder)
    with client(own_folder) as found:
        assert found.get("/live").text.strip() == ""
        with writing(store):
            progress = PublishedProgress(store, "toy", no_progress)
            with progress("extract", 10) as meter:
                meter(4)
                progress._write(None)
                text = found.get("/live").text
        progress.end("interrupted")
        assert "A build is running" in text
        assert "4 of 10 clips" in text
        assert str(os.getpid()) in text
        assert "was interrupted" in found.get("/").text


def _of_other_columns(path: Path) -> None:
    pq.write_table(pa.table({"clip_id": [clip_id(3)], "x": [1]}), path)


@pytest.mark.parametrize("name", ["results.json", "metrics.parquet", CLIPS, EVENTS])
@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(b"junk"), _of_other_columns], ids=["junk", "columns"]
)
def test_a_damaged_run_hides_no_clip_and_no_other_run(
    toy_folder: Path, tmp_path: Path, name: str, damage: Callable[[Path], object]
) -> None:
    for run in ("good", "bad"):
        write_run(tmp_path / run, finished=True)
    damage(tmp_path / "bad" / name)
    with client(toy_folder, FolderOfRuns(tmp_path)) as found:
        listed = found.get("/runs")
        assert listed.status_code == 200
        assert ("is not the record of a run" in listed.text) == (name == "results.json")
        assert found.get("/runs/good").status_code == 200
        assert found.get(f"/clip/{clip_id(3)}").status_code == 200
        bad = found.get("/runs/bad")
        assert bad.status_code in (200, 400)
        assert "Internal" not in bad.text


def test_a_run_of_an_odd_name_has_a_page(toy_folder: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "50%25 #?", finished=True)
    with client(toy_folder, FolderOfRuns(tmp_path)) as found:
        assert 'href="/runs/50%2525%20%23%3F"' in found.get("/runs").text
        # This client decodes an address once more than a server does.
        assert found.get("/runs/50%252525%20%23%3F").status_code == 200


def test_ctrl_c_ends_a_long_query(toy_folder: Path) -> None:
    query = "SELECT count(*) AS n FROM range(1000000000000) t(i) WHERE hash(i) = 1"
    with started(toy_folder) as (process, address):
        token, port = address.split("token=")[1], urlsplit(address).port
        target = address.split("?")[0] + f"clips?sql={quote(query)}"
        asked = Thread(target=_ask, args=(target, f"avstore-{port}={token}"), daemon=True)
        asked.start()
        asked.join(1)
        assert asked.is_alive()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
        assert process.stderr.read() == ""


def _ask(target: str, cookie: str) -> None:
    with suppress(OSError):
        get(target, cookie)
