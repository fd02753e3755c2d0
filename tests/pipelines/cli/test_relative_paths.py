"""Test that every path may be relative, whatever folder a process of a build works in."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.conftest import REPO
from tests.media import make_clip
from tests.pipelines.build.test_cluster import dask_cluster
from tests.pipelines.fetch.clips import tiny_video
from tests.servers.media_server import MediaServer

pytestmark = pytest.mark.slow
CLIPS = 4


def avstore_in(folder: Path, *words: str) -> str:
    """Run a command with `folder` as its current one, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "avstore", *words],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_clips_of_the_web_reach_a_store_with_a_relative_path(tmp_path: Path) -> None:
    served, here = tmp_path / "served", tmp_path / "here"
    for folder in (served, here):
        folder.mkdir()
    (served / "a.mp4").write_bytes(tiny_video())
    (here / "cookies.txt").write_text("# Netscape HTTP Cookie File\n")
    with MediaServer(served) as server:
        rows = [(f"{server.url}/ok/a.mp4?{n}", f"ok{n}") for n in range(CLIPS)]
        rows += [(f"{server.url}/404/a.mp4?{n}", f"no{n}") for n in range(CLIPS)]
        with (here / "net.csv").open("w") as file:
            csv.writer(file).writerows([("url", "key"), *rows])
        options = ["allow_private=true", "workers=2", "abort_share=1.1", "cookies_file=cookies.txt"]
        words = [word for option in options for word in ("--fetch-option", option)]
        avstore_in(here, "build", "net.csv", "--workers", "1", *words)
    with duckdb.connect(str(here / "data" / "manifest.duckdb"), read_only=True) as con:
        found = con.execute(
            "SELECT outcome, error_class, count(*), min(error_message) FROM attempts "
            "WHERE stage = 'fetch' GROUP BY ALL ORDER BY outcome DESC"
        ).fetchall()
    kinds = [row[:3] for row in found]
    assert kinds == [("stored", None, CLIPS), ("gone", "not_found", CLIPS)], found


def test_a_build_with_relative_paths_on_a_worker_in_another_folder(tmp_path: Path) -> None:
    here, inside = tmp_path / "here", tmp_path / "here" / "deep" / "folder"
    inside.mkdir(parents=True)
    make_clip(here / "videos" / "abcdefghijk_000030.mp4")
    (here / "list.csv").write_text("file,labels\nvideos/abcdefghijk_000030.mp4,dog\n")
    (here / "vggsound.csv").write_text("abcdefghijk,30,dog barking,train\n")
    shutil.copy(REPO / "pipelines" / "extract" / "recipes" / "clips.toml", here / "mine.toml")
    published = ["vggsound", "--source", "videos", "--annotations", "vggsound.csv"]
    up = os.path.relpath(here, inside)
    again = ["vggsound", "--source", f"{up}/videos", "--annotations", f"{up}/vggsound.csv"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with dask_cluster(elsewhere) as (address, _):
        for words in (published, ["list.csv"], ["videos", "--name", "mine"]):
            made = avstore_in(
                here, "build", *words, "--recipe", "mine.toml", "--scheduler", address
            )
            assert "1 wanted = 1 stored" in made
        to = ("--recipe", f"{up}/mine.toml", "--store", f"{up}/data", "--scheduler", address)
        assert "1 wanted = 1 stored" in avstore_in(inside, "build", *again, *to)
    assert "match the manifest" in avstore_in(inside, "verify", "--store", f"{up}/data")
