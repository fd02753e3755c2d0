"""Streams without classes: by clusters of a derived feature, and by any table of groups."""

import csv
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from avstore.datasets.registry import get
from avstore.manifests.library import open_store
from avstore.manifests.store import Store, StoreError
from avstore.manifests.streams import StreamError
from avstore.pipelines.build.task_streams import load_stream
from avstore.pipelines.cli.app import app
from avstore.pipelines.features.clusters import cluster_videos
from avstore.pipelines.interchange.feature_importer import FeatureImportOptions, import_feature

FEATURE = "clip-vitl14"
VIDEOS = [f"video-{number:05d}" for number in range(9)]
STREAM = """
name = "channels"

[generate]
kind = "video-groups"
dataset = "yt360"
table = "groups.csv"
"""


def kind_of(video: str) -> int:
    """Six videos are of one kind, three of another."""
    return int(VIDEOS.index(video) % 3 == 0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of each of nine videos, whose features are of two kinds."""
    folder = tmp_path_factory.mktemp("clusters")
    lists = {"segments": [f"{x} 0,10" for x in VIDEOS], "train": VIDEOS[:6], "test": VIDEOS[6:]}
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    arrays, random = folder / "npy", np.random.default_rng(0)
    arrays.mkdir()
    kinds = random.normal(size=(2, 768))
    for video in VIDEOS:
        for start in (0, 10):
            noise = 0.3 * random.normal(size=(10, 768))
            value = (kinds[kind_of(video)] + noise) * random.uniform(0.5, 5)
            np.save(arrays / f"{video}-{start}.npy", value.astype(np.float32))
    annotations = tuple(folder / f"{name}.txt" for name in lists)
    options = FeatureImportOptions(FEATURE, [str(arrays)], annotations=annotations)
    import_feature(Store(folder / "store"), get("yt360"), options)
    return folder / "store"


def run(*words: str) -> str:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return result.output


def test_clusters_are_the_kinds_of_videos_the_largest_first(store: Path, tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    where = ("--store", str(store), "--output", str(table))
    run("features", "cluster", FEATURE, "--dataset", "yt360", "--clusters", "2", *where)
    with table.open(newline="") as file:
        groups = {row["source_id"]: row["group"] for row in csv.DictReader(file)}
    assert groups == {video: f"cluster{kind_of(video)}" for video in VIDEOS}


def test_a_table_of_groups_is_a_stream(store: Path, tmp_path: Path) -> None:
    rows = [f"{video},channel {kind_of(video)}" for video in VIDEOS]
    (tmp_path / "groups.csv").write_text("\n".join(["source_id,group", *rows]))
    (tmp_path / "channels.toml").write_text(STREAM)
    run("tasks", "add", str(tmp_path / "channels.toml"), "--store", str(store))
    found = open_store(store).query(
        "SELECT task, role, query FROM tasks WHERE stream = 'channels' ORDER BY position, role"
    )
    assert [(row["task"], row["role"]) for row in found.rows()] == [
        (f"channel {number}", role)
        for number in range(2)
        for role in ("eval", "retrieval", "train")
    ]
    for row in found.rows():
        sql = row["query"].replace("stored_clips", "(SELECT *, NULL AS verdict FROM clips)")
        clips = open_store(store).query(sql).rows()
        videos = {clip["clip_id"].split("/")[1][:11] for clip in clips}
        split = VIDEOS[:6] if row["role"] == "train" else VIDEOS[6:]
        assert videos == {x for x in split if f"channel {kind_of(x)}" == row["task"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source_id\na\n", "the first line 'source_id' does not name group; write source_id,group"),
        ("a,x\nb,y\n", "the first line 'a,x' does not name source_id and group"),
        ("source_id;group\na;x\n", "'source_id;group' does not name source_id and group"),
        ("", "the first line '' does not name source_id and group"),
        ("source_id,group\na,x\nb,\n", "line 3: a row needs source_id and group"),
        ("source_id,group\na,x\na,y\n", "line 3: 'a' is in line 2 too"),
        ("source_id,group\n", "there is no group of videos"),
        (None, "cannot be read as CSV"),
    ],
)
def test_a_wrong_table_is_named(
    store: Path, tmp_path: Path, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / "groups.csv").write_text(text)
    (tmp_path / "channels.toml").write_text(STREAM)
    words = ["tasks", "add", str(tmp_path / "channels.toml"), "--store", str(store)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code != 0
    assert message in str(result.exception)


def test_a_table_saved_by_a_spreadsheet_is_read(store: Path, tmp_path: Path) -> None:
    rows = [f"{video},all" for video in VIDEOS]
    (tmp_path / "groups.csv").write_text("\ufeff" + "\r\n".join(["source_id,group", *rows]))
    (tmp_path / "channels.toml").write_text(STREAM)
    assert [task.task for task in load_stream(tmp_path / "channels.toml").tasks] == ["all"]


@pytest.mark.parametrize("key", ["dataset", "table"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    lines = [line for line in STREAM.splitlines() if not line.startswith(key)]
    (tmp_path / "channels.toml").write_text("\n".join(lines))
    with pytest.raises(StreamError, match=rf"\[generate\] lacks {key}"):
        load_stream(tmp_path / "channels.toml")


def featured(folder: Path, values: list[np.ndarray]) -> Path:
    """Write a store whose videos have these values of a feature `own`."""
    (folder / "npy").mkdir()
    lines = {"segments": [f"{x} 0,10" for x in VIDEOS], "train": VIDEOS[:8], "test": VIDEOS[8:]}
    for name, rows in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(rows) + "\n")
    for video, value in zip(VIDEOS, values, strict=False):
        np.save(folder / "npy" / f"{video}-0.npy", value)
    annotations = tuple(folder / f"{name}.txt" for name in lines)
    options = FeatureImportOptions(
        "own", [str(folder / "npy")], value="float32 n x n", annotations=annotations
    )
    import_feature(Store(folder / "store"), get("yt360"), options)
    return folder / "store"


def test_values_of_several_widths_are_refused(tmp_path: Path) -> None:
    root = featured(tmp_path, [np.ones((1, width), np.float32) for width in (3, 4, 5)])
    with open_store(root) as opened, pytest.raises(StoreError, match="have 3 widths, from 3 to 5"):
        cluster_videos(opened, "yt360", "own", 2)


def test_more_clusters_than_different_videos_are_refused(tmp_path: Path) -> None:
    root = featured(tmp_path, [np.eye(2, dtype=np.float32)[:1]] * 3)
    with open_store(root) as opened, pytest.raises(StoreError, match="2 clusters of 1 different"):
        cluster_videos(opened, "yt360", "own", 2)


def test_more_clusters_than_videos_and_unknown_features_are_refused(store: Path) -> None:
    opened = open_store(store)
    with pytest.raises(StoreError, match="10 clusters of 9 videos that have the feature"):
        cluster_videos(opened, "yt360", FEATURE, 10)
    with pytest.raises(StoreError, match="no clip of 'yt360' has the feature 'nosuch'"):
        cluster_videos(opened, "yt360", "nosuch", 2)
