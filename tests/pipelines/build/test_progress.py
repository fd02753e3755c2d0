"""A run's progress: rates, time left, failures, and the file that `status` reads."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avstore.manifests.lock import current_holder, writing
from avstore.manifests.store import Store, remove_temporaries
from avstore.pipelines.build.meter import Meter, no_progress
from avstore.pipelines.build.progress import PublishedProgress, read_progress
from avstore.pipelines.cli.progress import rate_text, stage_text


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_rates_of_the_last_minute_and_of_the_stage() -> None:
    clock = Clock()
    meter = Meter("extract", 1000, clock=clock)
    assert meter.rate() is None
    assert meter.seconds_left is None
    for _ in range(100):  # one a second, then four
        clock.now += 1
        meter(1)
    for _ in range(60):
        clock.now += 1
        meter(4)
    assert meter.rate() == pytest.approx(340 / 160)
    assert meter.rate(60) == pytest.approx(4, rel=0.05)
    assert meter.seconds_left == pytest.approx(660 / (340 / 160))
    clock.now += 90
    assert meter.rate(60) == 0


def test_kept_clips_count_for_no_rate() -> None:
    clock = Clock()
    meter = Meter("extract", 100, clock=clock)
    meter(80, kept=True)
    clock.now += 10
    meter(10)
    assert meter.rate() == 1
    assert meter.seconds_left == 10
    text = "extract: 90 of 100 clips, 80 of them kept from an earlier run, 1 clips/s, 10 s left"
    assert stage_text(meter.facts()) == f"{text}, 10 s"


def test_the_line_has_rates_time_left_and_failures() -> None:
    clock = Clock()
    meter = Meter("fetch", 400, clock=clock)
    for _ in range(100):
        clock.now += 1
        meter(2)
    meter.fail("private", 2)
    meter.fail("timeout")
    meter.fail("timeout", -1)
    assert stage_text(meter.facts()) == (
        "fetch: 200 of 400 clips, 2 clips/s, 2 clips/s in the last minute, 100 s left, 100 s; "
        "failed: private 2"
    )


def test_rates_have_a_fitting_unit() -> None:
    assert [rate_text(x, "clips") for x in (1234.5, 2.345, 0.5, 0.01)] == [
        "1,234 clips/s",
        "2.35 clips/s",
        "30 clips/min",
        "36 clips/h",
    ]


def test_a_run_is_running_until_it_ends_or_its_lock_is_free(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert read_progress(store) is None
    with writing(store):
        progress = PublishedProgress(store, "toy", no_progress)
        for total in (3, 4):  # a stage that is open twice goes on
            with progress("extract", total) as meter:
                meter(1)
                meter.fail("too_short")
                (stage,) = json.loads(store.progress.read_text())["stages"]
                assert (stage["total"], stage["running"]) == (3 if total == 3 else 7, True)
        how, facts = read_progress(store) or ("", {})
        assert how == "running"
        assert facts["writer"] == current_holder(store)
        (stage,) = facts["stages"]
        assert (stage["done"], stage["failures"], stage["running"]) == (2, {"too_short": 2}, False)
    assert (read_progress(store) or ("",))[0] == "interrupted"
    with writing(store):
        store.lock.with_suffix(".holder").write_text('{"pid": 1}')  # another command's
        assert (read_progress(store) or ("",))[0] == "interrupted"
        progress.end("done")
    assert (read_progress(store) or ("",))[0] == "done"
    store.progress.write_text('{"outcome": ')
    assert read_progress(store) is None
    assert remove_temporaries(store) == 0


def test_the_file_is_written_once_a_second_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, written = Store(tmp_path), []
    with writing(store):
        progress = PublishedProgress(store, "toy", no_progress)
        with progress("extract", 1000) as meter:
            monkeypatch.setattr(progress, "_write", written.append)
            for _ in range(1000):
                meter(1)
    assert len(written) <= 2  # one of them at the end of the stage


def test_a_store_that_cannot_be_written_to_ends_no_run(tmp_path: Path) -> None:
    store = Store(tmp_path / "gone")
    PublishedProgress(store, None, no_progress).end("done")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    from avstore.manifests.catalogue import open_write

    store = Store(tmp_path)
    with writing(store), open_write(store) as writer:
        writer.publish()
    return store


def status(store: Store, *words: str) -> str:
    from avstore.pipelines.cli.app import app

    result = CliRunner().invoke(app, ["status", "--store", str(store.root), *words])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_status_shows_who_writes_and_how_far(store: Store) -> None:
    with writing(store):
        with PublishedProgress(store, "toy", no_progress)("extract", 10) as meter:
            meter(4)
            meter.whole.changed = lambda: None
        said = status(store)
        facts = json.loads(status(store, "--json"))
    assert "is being written by process" in said
    assert "extract: 4 of 10 clips" in said
    assert (facts["build"]["state"], facts["writer"]["user"]) == ("running", current_user())
    said = status(store)
    assert "was interrupted at" in said
    assert "run the same command again to continue" in said
    facts = json.loads(status(store, "--json"))
    assert (facts["build"]["state"], facts["writer"]) == ("interrupted", None)
    assert sorted(facts) == ["accounts", "build", "features", "kept", "store", "writer"]


def current_user() -> str:
    import getpass

    return getpass.getuser()


def test_watch_ends_with_the_build_and_with_ctrl_c(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "No build is running." in status(store, "--watch")
    with writing(store):
        progress = PublishedProgress(store, "toy", no_progress)

        def interrupt(_s: float) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("avstore.pipelines.cli.status.time.sleep", interrupt)
            assert "is being written by" in status(store, "--watch")
    held = writing(store)
    held.__enter__()
    progress = PublishedProgress(store, "toy", no_progress)

    def end(_s: float) -> None:
        progress.end("done")
        held.__exit__(None, None, None)

    monkeypatch.setattr("avstore.pipelines.cli.status.time.sleep", end)
    said = status(store, "--watch")
    assert "is being written by" in said
    assert said.endswith("The build is done.\n")
