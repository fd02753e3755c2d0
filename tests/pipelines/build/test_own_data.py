"""Your own lists and folders: listed, cut, named, built, changed and built again."""

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avstore.datasets.spec import AnnotationError
from avstore.manifests.store import Store
from avstore.pipelines.build.own_data import OwnOptions, list_folder, open_own_data, pieces
from avstore.pipelines.fetch.source import SourceError
from tests.media import make_clip
from tests.pipelines.cli.test_build import avstore
from tests.servers.media_server import MediaServer


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_folders_give_splits_and_labels(tmp_path: Path) -> None:
    names = ["a.mp4", "train/dog/1.mp4", "dog/test/2.webm", "validation/3.mkv", "big cat/4.mp4"]
    touch(tmp_path, *names, "notes.txt", ".hidden.mp4")
    rows = {row.file: row for row in list_folder(tmp_path, label_folders=True).rows}
    assert {file: row.split for file, row in rows.items()} == dict(
        zip(names, ["train", "train", "test", "val", "train"], strict=True)
    )
    assert {file: row.labels for file, row in rows.items()} == dict(
        zip(names, [(), ("dog",), (), (), ("big cat",)], strict=True)
    )
    assert not any(row.labels for row in list_folder(tmp_path, label_folders=False).rows)


@pytest.mark.parametrize(
    ("length", "cut", "stride", "expected"),
    [
        (25.0, 10.0, 10.0, [(0, 10), (10, 20), (20, 25)]),
        (24.9, 10.0, 10.0, [(0, 10), (10, 20)]),
        (3.0, 10.0, 10.0, [(0, 3)]),
        (20.0, 10.0, 10.0, [(0, 10), (10, 20)]),
        (20.0, 10.0, 5.0, [(0, 10), (5, 15), (10, 20)]),
        (20.0, 5.0, 10.0, [(0, 5), (10, 15)]),
    ],
)
def test_pieces(
    length: float, cut: float, stride: float, expected: list[tuple[float, float]]
) -> None:
    assert list(pieces(length, cut, stride)) == expected


@given(st.floats(0.1, 500), st.floats(0.5, 60), st.floats(0.5, 60))
def test_pieces_have_their_length_and_stay_within_the_video(
    length: float, cut: float, stride: float
) -> None:
    found = list(pieces(length, cut, stride))
    assert found[0][0] == 0
    for start, end in found:
        assert 0 <= start < end <= length + 0.001
        assert end - start <= cut + 0.001
    for start, end in found[:-1]:
        assert end - start == pytest.approx(cut, abs=0.002)
    if len(found) > 1:
        assert found[-1][1] - found[-1][0] >= cut / 2 - 0.002


def test_videos_are_cut_by_their_probed_lengths(tmp_path: Path) -> None:
    videos, store = tmp_path / "my videos", Store(tmp_path / "store")
    make_clip(videos / "dog" / "long.mp4", 7)
    touch(videos, "broken.mp4")
    for _ in range(2):  # the second time from the kept lengths
        own = open_own_data(videos, OwnOptions(label_folders=True, cut_s=3, stride_s=2), store)
        parsed = own.spec.parse(own.annotations)
        assert [(c.key, c.start_s, c.end_s, c.labels) for c in parsed.clips] == [
            ("dog_long_000000", 0.0, 3.0, ("dog",)),
            ("dog_long_000002", 2.0, 5.0, ("dog",)),
            ("dog_long_000004", 4.0, 7.0, ("dog",)),
        ]
        (bad,) = parsed.bad_rows
        assert "broken.mp4" in bad.text
        assert "its length cannot be read" in bad.reason
    assert own.spec.name == "my_videos"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (OwnOptions(name="a b"), "for example --name a_b"),
        (OwnOptions(name="ave"), "that of a published dataset"),
        (OwnOptions(source="videos"), "--source is not needed"),
        (OwnOptions(cut_s=-1.0), "must be more than 0 seconds"),
    ],
)
def test_wrong_options(options: OwnOptions, message: str, tmp_path: Path) -> None:
    touch(tmp_path / "videos", "a.mp4")
    with pytest.raises(AnnotationError, match=message):
        open_own_data(tmp_path / "videos", options, Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_a_list_takes_no_label_folders_and_no_cut_of_addresses(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text("url\nhttps://x.org/a.mp4\n")
    for options in (OwnOptions(label_folders=True), OwnOptions(cut_s=3.0)):
        with pytest.raises(AnnotationError, match=r"column labels|needs local files"):
            open_own_data(path, options, Store(tmp_path / "store"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no media file"):
        open_own_data(tmp_path / "empty", OwnOptions(), Store(tmp_path / "store"))


def sql(store: Path, query: str) -> list[dict]:
    return json.loads(avstore("sql", "--store", store, "--format", "json", query).stdout)


@pytest.mark.slow
def test_a_changed_list_adds_and_keeps_and_needs_no_list_afterwards(tmp_path: Path) -> None:
    videos, store, path = tmp_path / "v", tmp_path / "store", tmp_path / "my clips.csv"
    make_clip(videos / "a.mp4", 3, seed=1)
    make_clip(videos / "b'c.webm.mkv", 4, seed=2, tone_hz=300)
    path.write_text("file,label,split\na.mp4,wren,train\nabsent.mp4,wren,train\n")
    words = ("build", path, "--source", videos, "--store", store, "--workers", "1")
    first = avstore(*words).stdout
    assert "2 wanted = 1 stored, 1 absent" in first
    shards = {p.name: p.read_bytes() for p in store.glob("shards/*/*/*.tar")}
    path.write_text("file,label,split\na.mp4,wren,train\nb'c.webm.mkv,auk,test\n")
    assert "2 wanted = 2 stored" in avstore(*words).stdout
    for name, content in shards.items():
        assert next(store.glob(f"shards/*/*/{name}")).read_bytes() == content
    path.unlink()
    (store / "manifest.duckdb").unlink()
    avstore("index", "--store", store)
    assert "2 wanted = 2 stored" in avstore("build", "my_clips", "--store", store).stdout
    rows = sql(store, "SELECT labels, label_ids, duration_s FROM trainable ORDER BY position")
    assert [(row["labels"], row["label_ids"]) for row in rows] == [(["wren"], [0]), (["auk"], [1])]
    assert [round(row["duration_s"]) for row in rows] == [3, 4]
    assert sql(store, "SELECT role, count(*) AS n FROM task_clips GROUP BY role ORDER BY role") == [
        {"role": "eval", "n": 1},
        {"role": "train", "n": 1},
    ]
    stream = tmp_path / "mine.toml"
    stream.write_text(
        'name = "mine"\n[generate]\nkind = "class-incremental"\ndataset = "my_clips"\n'
        "classes_per_task = 1\n"
    )
    assert "stream mine: 2 tasks" in avstore("tasks", "add", stream, "--store", store).stdout
    assert "all match" in avstore("verify", "--store", store).stdout


@pytest.mark.slow
def test_a_list_that_gives_nothing_is_refused_by_every_build(tmp_path: Path) -> None:
    make_clip(tmp_path / "served" / "a.mp4", 3)
    with MediaServer(tmp_path / "served") as server:
        path, store = tmp_path / "web.csv", tmp_path / "store"
        path.write_text(f"url\n{server.url}/ok/a.mp4\n")
        words = ("build", path, "--store", store, "--workers", "1")
        for expected in ("none of the 1 clips came from", "earlier builds gave up on all 1 clip"):
            done = avstore(*words, check=False)
            assert done.returncode == 2
            assert expected in done.stderr
            assert "set allow_private=true" in done.stderr
        advice = shlex.split(done.stderr.rpartition("run: ")[2])
        avstore(*advice[1:])
        assert "1 stored" in avstore(*words, "--fetch-option", "allow_private=true").stdout


@pytest.mark.slow
def test_addresses_are_fetched(tmp_path: Path) -> None:
    make_clip(tmp_path / "served" / "a.mp4", 3)
    with MediaServer(tmp_path / "served") as server:
        path = tmp_path / "web.jsonl"
        row = {"url": f"{server.url}/ok/a.mp4", "labels": ["x"]}
        path.write_text(json.dumps(row) + "\n")
        said = avstore(
            *("build", path, "--store", tmp_path / "store", "--workers", "1"),
            *("--fetch-option", "allow_private=true"),
        ).stdout
    assert "1 wanted = 1 stored" in said
