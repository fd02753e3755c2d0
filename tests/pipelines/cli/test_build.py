"""`avstore build` as a person runs it: a folder of videos and a CSV in, shards and manifest out."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from tests.conftest import REPO
from tests.media import make_clip
from tests.terminals import in_terminal

LABELS = ("playing banjo", "dog barking")


def avstore(
    *words: str | Path, check: bool = True, timeout_s: float = 240
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "avstore", *map(str, words)],
        cwd=REPO,
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    if check and done.returncode:
        raise AssertionError(f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight good clips, one silent of video, one no media, one absent; a CSV with bad rows."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for index in range(8):
        name = f"-id_{index:07d}"[:11]
        make_clip(folder / "videos" / f"{name}_000030.mp4", tone_hz=200 + 90 * index, seed=index)
        rows.append(f"{name},30,{LABELS[index % 2]},{'test' if index > 5 else 'train'}")
    make_clip(folder / "videos" / "noaudio1234_000001.mp4", audio=False)
    (folder / "videos" / "notavideo12_000002.mp4").write_text("<html>gone</html>")
    (folder / "videos" / "holiday.mp4").write_text("")
    rows += [
        "noaudio1234,1,dog barking,train",
        "notavideo12,2,dog barking,train",
        "absent12345,3,dog barking,train",
        "absent12345,3,dog barking,train",
        "../../etc/x,3,dog barking,train",
        "unknown1234,3,dog barkin,train",
        "short",
    ]
    (folder / "vggsound.csv").write_text("\n".join(rows) + "\n")
    return folder


def build(corpus: Path, store: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return avstore("build", "vggsound", *arguments(corpus, store), *more)


def arguments(corpus: Path, store: Path) -> list[str]:
    return [
        *("--source", str(corpus / "videos"), "--annotations", str(corpus / "vggsound.csv")),
        *("--store", str(store), "--shard-clips", "3"),
    ]


@pytest.fixture(scope="module")
def built(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    store = tmp_path_factory.mktemp("store") / "data"
    return store, build(corpus, store).stdout


def shard_hashes(store: Path) -> dict[str, str]:
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.glob("shards/*/*/*.tar"))
    }


def ask(store: Path, query: str) -> list[tuple]:
    with duckdb.connect(str(store / "manifest.duckdb"), read_only=True) as con:
        return con.execute(query).fetchall()


def test_account_names_what_is_stored_and_what_is_not(built: tuple[Path, str]) -> None:
    store, said = built
    assert "11 wanted = 8 stored, 2 rejected, 1 absent" in said
    assert re.search(r"1 media file in the source matches no clip's name: /.*/holiday\.mp4", said)
    reasons = ask(store, "SELECT clip_id, verdict FROM failures")
    assert dict(reasons) == {
        "vggsound/noaudio1234_000001": "no_audio",
        "vggsound/notavideo12_000002": "undecodable",
        "vggsound/absent12345_000003": "not_in_source",
    }


def test_bad_annotation_rows_are_named_with_their_numbers(built: tuple[Path, str]) -> None:
    store, said = built
    errors = dict(ask(store, "SELECT row, reason FROM annotation_errors"))
    assert sorted(errors) == [12, 13, 14, 15]
    assert "dog barking" in errors[14]
    assert "4 annotation rows could not be used" in said


def test_verify_status_sql_and_report_answer(built: tuple[Path, str]) -> None:
    store, _ = built
    assert "all match the manifest" in avstore("verify", "--store", store).stdout
    assert "8 stored" in avstore("status", "--store", store).stdout
    rows = json.loads(
        avstore(
            *("sql", "--store", store, "--format", "json"),
            "SELECT count(*) AS n FROM trainable WHERE len(offsets) = 83",
        ).stdout
    )
    assert rows == [{"n": 8}]
    assert (store / "reports" / "vggsound.html").is_file()


def test_second_run_does_nothing_and_says_the_same(corpus: Path, built: tuple[Path, str]) -> None:
    store, _ = built
    before = {path: path.stat().st_mtime_ns for path in store.glob("shards/*/*/*")}
    began = time.monotonic()
    said = build(corpus, store).stdout
    assert time.monotonic() - began < 20
    assert "8 stored" in said
    assert {path: path.stat().st_mtime_ns for path in store.glob("shards/*/*/*")} == before


def test_index_rebuilds_the_manifest_from_the_store(built: tuple[Path, str]) -> None:
    store, _ = built
    tables = ("clips", "media", "quality", "status", "attempts", "shards", "samples", "tasks")
    before = {t: ask(store, f"SELECT * FROM {t} ORDER BY ALL") for t in tables}
    (store / "manifest.duckdb").unlink()
    avstore("index", "--store", store)
    assert {t: ask(store, f"SELECT * FROM {t} ORDER BY ALL") for t in tables} == before
    avstore("verify", "--store", store)


def test_other_worker_count_gives_the_same_bytes(
    corpus: Path, built: tuple[Path, str], tmp_path: Path
) -> None:
    build(corpus, tmp_path / "one", "--workers", "1")
    assert shard_hashes(tmp_path / "one") == shard_hashes(built[0])


# What a running build leaves on disk, in this order: moments to stop it at.
MOMENTS = {
    "started": "",
    "annotated": "ledger/annotations/*/facts.json",
    "fetched": "ledger/attempts-*",
    "planned": "ledger/plans-*.parquet",
    "extracting": "shards/*/*/.*.rows.partial",
    "first shard": "shards/*/*/*.parquet",
}


def start_build(corpus: Path, store: Path, moment: str, delay_s: float) -> subprocess.Popen[str]:
    """Start a build in a process group of its own; return it `delay_s` after the moment."""
    process = subprocess.Popen(
        [sys.executable, "-m", "avstore", "build", "vggsound", *arguments(corpus, store)],
        cwd=REPO,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while MOMENTS[moment] and not any(store.glob(MOMENTS[moment])):
        assert process.poll() is None, "the build ended before the moment"
        time.sleep(0.005)
    time.sleep(delay_s)
    assert process.poll() is None, "the build ended before it was stopped"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["annotated", "fetched", "planned", "extracting", "first shard"])
def test_kill_at_any_moment_then_rerun_gives_the_same_bytes(
    corpus: Path, built: tuple[Path, str], tmp_path: Path, moment: str
) -> None:
    store = tmp_path / "data"
    process = start_build(corpus, store, moment, delay_s=0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=60)  # its workers, which hold its stderr, may live on for a while
    if (store / "manifest.duckdb").exists():
        avstore("verify", "--store", store, check=False)
    build(corpus, store)
    assert shard_hashes(store) == shard_hashes(built[0])
    avstore("verify", "--store", store)
    assert [*store.rglob("*.tmp"), *store.rglob("*.partial")] == []


@pytest.mark.slow
def test_a_killed_build_is_completed_by_the_line_that_index_prints(
    corpus: Path, built: tuple[Path, str], tmp_path: Path
) -> None:
    """A killed build has a run in the ledger, which says how it was called."""
    store = tmp_path / "my data"
    process = start_build(corpus, store, "planned", delay_s=0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    (store / "manifest.duckdb").unlink(missing_ok=True)
    said = avstore("index", "--store", store, check=False).stdout
    (line,) = [x.strip() for x in said.splitlines() if " build vggsound " in x]
    assert "--source" in line
    subprocess.run(line, shell=True, cwd=REPO, check=True, capture_output=True)
    assert shard_hashes(store) == shard_hashes(built[0])
    avstore("verify", "--store", store)
    query = "SELECT coalesce(outcome, $$killed$$) FROM runs ORDER BY seq"
    said = avstore("sql", query, "--store", store, "--format", "csv").stdout
    assert said.splitlines()[1:] == ["killed", "done", "done"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source", "/no/such/folder", "--annotations", "CSV"], "/no/such/folder"),
        (["--source", "EMPTY", "--annotations", "CSV"], "EMPTY"),
        (["--source", "VIDEOS", "--annotations", "/no/such.csv"], "/no/such.csv"),
        (["--source", "VIDEOS"], "ANNOTATIONS"),
        (["--annotations", "CSV"], "SOURCE"),
        (["--source", "VIDEOS", "--annotations", "CSV", "--recipe", "nosuch"], "nosuch"),
        (["--source", "VIDEOS", "--annotations", "CSV", "--store", "/proc/x"], "/proc/x"),
    ],
)
def test_wrong_calls_give_one_line_and_an_exit_code(
    corpus: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    empty = tmp_path / "EMPTY"
    empty.mkdir()
    names = {"CSV": corpus / "vggsound.csv", "VIDEOS": corpus / "videos", "EMPTY": empty}
    words = [str(names.get(word, word)) for word in words]
    if "--store" not in words:
        words += ["--store", str(tmp_path / "data")]
    done = avstore("build", "vggsound", *words, check=False)
    assert done.returncode in {2, 4}
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_unknown_dataset_names_the_known_ones(tmp_path: Path) -> None:
    done = avstore("build", "vgsound", "--store", tmp_path, check=False)
    assert done.returncode == 2
    assert "vggsound" in done.stderr


def test_damaged_shards_are_named_set_aside_and_built_again(
    corpus: Path, built: tuple[Path, str], tmp_path: Path
) -> None:
    store = shutil.copytree(built[0], tmp_path / "data")
    lost, changed, unreadable = sorted(store.glob("shards/*/*/*.tar"))[:3]
    lost.unlink()
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    unreadable.with_suffix(".parquet").write_bytes(b"")

    said = avstore("build", "vggsound", *arguments(corpus, store), check=False)
    assert said.returncode == 2
    assert f"{lost.name} is missing" in said.stderr
    assert "verify --repair" in said.stderr
    indexed = avstore("index", "--store", shutil.copytree(store, tmp_path / "copy"), check=False)
    assert indexed.returncode == 1
    for path in (lost, unreadable):
        assert path.name in indexed.stdout

    found = avstore("verify", "--store", store, check=False)
    assert found.returncode == 1
    assert "verify --repair" in found.stdout
    assert avstore("verify", "--store", store, "--repair", check=False).returncode == 1
    assert (store / "damaged" / changed.relative_to(store)).read_bytes() == content
    build(corpus, store)
    assert shard_hashes(store) == shard_hashes(built[0])
    avstore("verify", "--store", store)


def test_sample_and_dataset_do_not_take_each_others_place(built: tuple[Path, str]) -> None:
    done = avstore("build", "vggsound", "--store", built[0], check=False)
    assert done.returncode == 2
    assert "holds vggsound itself" in done.stderr
    assert not (built[0] / "sample").exists()


@pytest.mark.parametrize(
    ("moment", "delay_s", "how"),
    [
        ("started", 0.8, signal.SIGINT),
        ("first shard", 0.0, signal.SIGINT),
        ("extracting", 0.1, signal.SIGTERM),
    ],
)
def test_being_stopped_is_one_line_and_the_rerun_completes(
    corpus: Path,
    built: tuple[Path, str],
    tmp_path: Path,
    moment: str,
    delay_s: float,
    how: signal.Signals,
) -> None:
    """As a terminal or a batch system does it: every process of the group gets the signal."""
    process = start_build(corpus, tmp_path / "data", moment, delay_s)
    os.killpg(process.pid, how)
    _, said = process.communicate(timeout=60)
    what = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[how]
    assert process.returncode == 128 + how
    assert said.strip() == f"avstore: {what}; run the same command again to continue"
    if moment == "extracting":
        facts = json.loads(avstore("status", "--json", "--store", tmp_path / "data").stdout)
        assert (facts["writer"], facts["build"]["state"]) == (None, "interrupted")
    if moment == "first shard":  # what is finished is counted at once, not by the next build
        counted = avstore("sql", "FROM shards SELECT count(*)", "--store", tmp_path / "data").stdout
        on_disk = list((tmp_path / "data").glob("shards/*/*/*.parquet"))
        late = len(on_disk) - int(counted.split()[-1])  # a worker may end its shard after that
        assert on_disk
        assert 0 <= late <= 1
    build(corpus, tmp_path / "data")
    assert shard_hashes(tmp_path / "data") == shard_hashes(built[0])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nope"], "nope"),
        (["status", "--nope"], "--nope"),
        (["stats"], "Missing argument"),
        (["sql", "SELECT 1", "--format", "xml"], "xml"),
        (["build", "vggsound", "--workers", "0"], "--workers"),
    ],
)
def test_a_mistyped_command_is_no_traceback(words: list[str], told: str) -> None:
    done = avstore(*words, check=False)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("group", ["", "datasets", "features", "exchange", "tasks", "batch"])
def test_a_bare_group_shows_its_help(group: str) -> None:
    done = avstore(*filter(None, [group]), check=False)
    assert done.returncode == 2
    assert "Usage" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["sql", ""], 2, "empty"),
        (["status", "nope"], 2, "holds no dataset 'nope'"),
        (["report", "nope"], 2, "holds no dataset 'nope'"),
        (["verify", "--store", "s3://bucket/x"], 2, "is not a folder"),
        (["sql", "FROM clips", "--store", "memory://none"], 2, "no store at memory://none"),
        (["build", "vggsound", "--source", "VIDEOS", "--annotations", "VIDEOS"], 2, "a folder"),
    ],
)
def test_what_cannot_be_answered_is_said(
    corpus: Path, built: tuple[Path, str], words: list[str], code: int, told: str
) -> None:
    words = [str(corpus / "videos") if word == "VIDEOS" else word for word in words]
    store = [] if "--store" in words else ["--store", str(built[0])]
    done = avstore(*words, *store, check=False)
    assert done.returncode == code
    assert told in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_rows_that_are_too_wide_are_printed_a_line_a_value(built: tuple[Path, str]) -> None:
    """In a terminal; what is piped keeps one row a line."""
    words = ["sql", "--store", str(built[0]), "FROM trainable LIMIT 2"]
    assert len(avstore(*words).stdout.splitlines()) == 3
    said = in_terminal(sys.executable, "-m", "avstore", *words, columns=100)
    assert said.startswith("row 1\n  clip_id")
    assert [x for x in said.splitlines() if not x.startswith("  ")] == ["row 1", "row 2"]
