"""`avstore build --annotations-only`: a store of lists, in which every clip is pending."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from avstore.manifests.catalogue import open_read
from avstore.manifests.store import Store
from avstore.manifests.verify import verify
from avstore.pipelines.cli.app import app
from tests.av_datasets.fixtures import fixture_of
from tests.media import make_clip

RUN = CliRunner()


def call(*words: object) -> tuple[int, str]:
    done = RUN.invoke(app, [str(word) for word in words])
    return done.exit_code, done.output


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return fixture_of("vggsound").write(tmp_path)


@pytest.fixture
def store(tmp_path: Path, files: list[Path]) -> Path:
    lists = ",".join(map(str, files))
    code, said = call(
        "build", "vggsound", "--annotations-only", "--annotations", lists, "--store",
        tmp_path / "data",
    )  # fmt: skip
    assert code == 0, said
    assert "2 wanted = 2 pending" in said
    assert "--source /path/to/videos" in said
    return tmp_path / "data"


def rows(store: Path, sql: str) -> list[tuple]:
    with open_read(Store(store)) as con:
        return con.execute(sql).fetchall()


def test_every_clip_is_pending_and_the_questions_are_answered(store: Path) -> None:
    assert rows(store, "SELECT DISTINCT status, verdict FROM status") == [("pending", None)]
    assert rows(store, "SELECT count(*) FROM attempts") == [(0,)]
    assert rows(store, "SELECT sum(wanted), sum(stored) FROM coverage") == [(2, 0)]
    assert rows(store, "SELECT DISTINCT status FROM missing") == [("pending",)]
    code, said = call("tasks", "show", "vggsound-8", "--store", store)
    assert code == 0
    assert "4         animals  train      0       1 " in said
    with open_read(Store(store)) as con:
        assert [problem.what for problem in verify(con, Store(store))] == []


@pytest.mark.slow
def test_a_later_build_fills_it_and_what_its_folder_lacks_is_absent(
    store: Path, files: list[Path], tmp_path: Path
) -> None:
    make_clip(tmp_path / "videos" / "-a_b_000030.mp4")
    code, said = call(
        "build", "vggsound", "--source", tmp_path / "videos", "--annotations",
        ",".join(map(str, files)), "--workers", 1, "--store", store,
    )  # fmt: skip
    assert code == 0, said
    assert "2 wanted = 1 stored, 1 absent" in said
    assert "1 not_in_source    another source may have it" in said
    found = rows(store, "SELECT status, verdict FROM failures")
    assert found == [("absent", "not_in_source")]


def test_it_takes_no_source(tmp_path: Path, files: list[Path]) -> None:
    words = ("build", "vggsound", "--annotations-only", "--annotations", files[0])
    done = RUN.invoke(app, [*map(str, words), "--source", str(tmp_path), "--store", str(tmp_path)])
    assert done.exit_code != 0
    assert "--annotations-only looks for no clip" in str(done.exception or done.output)
