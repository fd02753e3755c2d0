"""Export lists, folders and metadata of a built store, and import them into another."""

import csv
import hashlib
import io
import json
import tarfile
from pathlib import Path

import av
import duckdb
import pytest

from avstore.datasets.registry import get
from avstore.manifests.library import open_store
from avstore.manifests.store import Store, StoreError
from avstore.pipelines.interchange.croissant import write_croissant
from avstore.pipelines.interchange.data_card import hugging_face_card, page
from avstore.pipelines.interchange.export import export
from avstore.pipelines.interchange.export_clips import export_clips
from avstore.pipelines.interchange.foreign_lists import is_foreign_list, with_foreign_lists
from avstore.pipelines.interchange.foreign_media import read_items
from avstore.pipelines.interchange.importer import import_items
from avstore.pipelines.interchange.layouts import FolderLayout, write_media
from avstore.pipelines.interchange.lists import LISTS

pytestmark = pytest.mark.slow
STORED = "SELECT DISTINCT clip_id, position FROM trainable ORDER BY position"
VGGSOUND = get("vggsound")


def tars(store: Path) -> dict[str, str]:
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.glob("shards/*/*/*.tar"))
    }


def ask(store: Path, query: str) -> list[tuple]:
    with duckdb.connect(str(store / "manifest.duckdb"), read_only=True) as con:
        return con.execute(query).fetchall()


def write(store: Path, form: str, out: Path, audio: str, sql: str = STORED) -> list[Path]:
    with open_store(str(store)) as opened:
        clips = export_clips(opened, sql)
        written = LISTS[form](opened, clips, out, "clips", audio)
        write_media(opened, clips, out, FolderLayout("cavmae" if form == "uavm" else form, audio))
    return written


def test_stella_list_and_folders(small_store, tmp_path: Path) -> None:
    write(small_store[0], "stella", tmp_path, "mp3")
    rows = list(csv.reader((tmp_path / "vggsound/data/clips.csv").open()))
    assert rows[0] == [
        "0",
        "-id_0000000",
        "vggsound/data/frames/-id_0000000_30000_40000",
        "vggsound/data/audio/-id_0000000_30000_40000.mp3",
        "vgg_22",
        "music",
    ]
    assert len(rows) == 5
    for row in rows:
        frames = sorted((tmp_path / row[2]).iterdir())
        assert len(frames) == 80
        assert (tmp_path / row[2] / "frame_79.jpg").is_file()
        with av.open(str(tmp_path / row[3])) as sound:
            stream = sound.streams.audio[0]
            assert (stream.rate, stream.channels) == (16000, 1)
            assert abs(float(sound.duration) / 1e6 - 10) < 0.2


def test_cavmae_json_labels_and_weights(small_store, tmp_path: Path) -> None:
    write(small_store[0], "cavmae", tmp_path, "flac")
    entries = json.loads((tmp_path / "clips.json").read_text())["data"]
    assert [entry["video_id"] for entry in entries][:2] == [
        "-id_0000000_000030",
        "a__00000001_000005",
    ]
    for entry in entries:
        assert (tmp_path / entry["wav"]).read_bytes()[:4] == b"fLaC"
        for index in range(10):
            picture = tmp_path / entry["video_path"] / f"frame_{index}" / entry["video_id"]
            assert picture.with_suffix(".jpg").is_file()
    weights = [float(line) for line in (tmp_path / "clips_weight.csv").read_text().splitlines()]
    banjo, pigeon = 1000 / (3 + 0.01), 1000 / (2 + 0.01)
    assert weights == pytest.approx([banjo, pigeon, banjo, banjo, pigeon])
    labels = list(csv.DictReader((tmp_path / "class_labels_indices.csv").open()))
    assert [row["index"] for row in labels] == [str(k) for k in range(309)]
    assert labels[2] == {"index": "2", "mid": "vgg_2", "display_name": "bird chirping_ tweeting"}


def test_uavm_json_has_the_feature_paths(small_store, tmp_path: Path) -> None:
    write(small_store[0], "uavm", tmp_path, "flac")
    (entry, *_) = json.loads((tmp_path / "clips.json").read_text())["data"]
    assert entry["afeat"] == "audio_feat_convnext_2/-id_0000000_000030.npy"
    assert entry.keys() == {"wav", "labels", "afeat", "vfeat"}


def test_wrong_queries_are_refused(small_store) -> None:
    with open_store(str(small_store[0])) as opened:
        for sql, message in (
            ("SELECT key FROM clips", "no column clip_id"),
            ("SELECT clip_id FROM clips UNION ALL SELECT clip_id FROM clips", "twice"),
            ("SELECT clip_id FROM clips WHERE false", "no clip"),
            ("SELECT", "the query failed"),
        ):
            with pytest.raises(StoreError, match=message):
                export_clips(opened, sql)


def test_croissant_is_valid_and_gives_the_rows(small_store, tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    with open_store(str(small_store[0])) as opened:
        write_croissant(opened, VGGSOUND, tmp_path)
    dataset = mlcroissant.Dataset(str(tmp_path / "croissant.json"))
    assert dataset.metadata.issues.errors == set()
    records = list(dataset.records("clips"))
    assert len(records) == 5
    assert records[0]["clips/clip_id"] == b"vggsound/-id_0000000_000030"
    listed = {
        item["contentUrl"]: item["sha256"]
        for item in json.loads((tmp_path / "croissant.json").read_text())["distribution"]
    }
    assert {k: v for k, v in listed.items() if k.endswith(".tar")} == tars(small_store[0])


def test_hugging_face_card(small_store) -> None:
    with open_store(str(small_store[0])) as opened:
        card = hugging_face_card(opened, VGGSOUND)
    _, front, body = card.split("---\n", 2)
    assert "license: other" in front
    assert "- split: test\n    path: shards/vggsound/" in front
    assert "| test | 3 | 2 | 1 | 0 | 0 |" in body
    assert body.strip().startswith(page(VGGSOUND).splitlines()[0])


def test_own_shards_come_back_with_the_same_bytes_and_rows(small_store, tmp_path: Path) -> None:
    store, annotations = small_store
    other = Store(tmp_path / "other")
    items = read_items(store / "shards")
    done = import_items(other, VGGSOUND, items, [annotations], shard_clips=2)
    assert (done.stored, done.rejected, done.unknown) == (5, 0, ())
    assert tars(other.root) == tars(store)
    columns = "clip_id, shard, position, members, offsets, sizes, frame_times, fbank_frames, crc32"
    query = f"SELECT {columns} FROM samples ORDER BY ALL"
    assert ask(other.root, query) == ask(store, query)
    clips = "SELECT * FROM clips ORDER BY position"
    assert ask(other.root, clips) == ask(store, clips)
    again = import_items(other, VGGSOUND, read_items(store / "shards"))
    assert (again.stored, again.known, again.shards) == (0, 5, 0)


def test_export_of_ours_comes_back(small_store, tmp_path: Path) -> None:
    store, annotations = small_store
    with open_store(str(store)) as opened:
        export(opened, STORED, ["json", "fbank", "audio", "frames"], str(tmp_path / "wds"))
    other = Store(tmp_path / "other")
    import_items(other, VGGSOUND, read_items(tmp_path / "wds"), [annotations], shard_clips=2)
    query = "SELECT clip_id, shard, sizes, crc32 FROM samples ORDER BY ALL"
    assert ask(other.root, query) == ask(store, query)


@pytest.mark.parametrize(("form", "frames"), [("stella", 80), ("cavmae", 10), ("llp", 80)])
def test_folders_come_back(small_store, tmp_path: Path, form: str, frames: int) -> None:
    store, annotations = small_store
    audio = {"stella": "mp3", "cavmae": "flac", "llp": "wav"}[form]
    write(store, form, tmp_path / "out", audio)
    other = Store(tmp_path / "other")
    done = import_items(other, VGGSOUND, read_items(tmp_path / "out"), [annotations])
    assert (done.stored, done.unknown) == (5, ())
    rows = ask(other.root, "SELECT clip_id, frame_count, fbank_frames FROM samples ORDER BY 1")
    stored = ask(store, "SELECT DISTINCT clip_id, fbank_frames FROM samples ORDER BY 1")
    assert [(c, f) for c, f, _ in rows] == [(c, frames) for c, _ in stored]
    for (_, _, ours), (_, theirs) in zip(rows, stored, strict=True):
        assert abs(ours - theirs) <= 2
    if audio != "mp3":
        with open_store(str(store)) as one, open_store(str(other.root)) as two:
            ids = [clip_id for clip_id, _ in stored]
            before, after = one.read("fbank", ids), two.read("fbank", ids)
            assert all((before[i] == after[i]).all() for i in ids)


@pytest.mark.parametrize(
    ("form", "file"), [("stella", "vggsound/data/clips.csv"), ("cavmae", "clips.json")]
)
def test_foreign_list_replaces_the_published_files(
    small_store, tmp_path: Path, form: str, file: str
) -> None:
    write(small_store[0], form, tmp_path, "flac")
    assert is_foreign_list(tmp_path / file)
    assert not is_foreign_list(small_store[1])
    found = with_foreign_lists(VGGSOUND, "test").parse([tmp_path / file])
    ours = {clip.key: clip.labels for clip in VGGSOUND.parse([small_store[1]]).clips}
    assert len(found.clips) == 5
    assert not found.bad_rows
    assert all(ours[clip.key] == clip.labels for clip in found.clips)


def test_damaged_and_unknown_items_are_accounted_for(small_store, tmp_path: Path) -> None:
    path = tmp_path / "in.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in (
            ("../../etc/nobody_000001.jpg", b"\xff\xd8\xff"),
            ("-id_0000000_000030.0.jpg", b"\xff\xd8\xff pretends"),
            ("-id_0000000_000030.flac", b"fLaC but no more"),
            ("a__00000001_000005.0.jpg", b"<html>"),
            ("a__00000001_000005.wav", b"RIFF"),
            ("b-_00000002_000000.flac", b"fLaC"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    other = Store(tmp_path / "other")
    done = import_items(other, VGGSOUND, read_items(path), [small_store[1]])
    assert (done.stored, done.rejected, done.shards) == (0, 3, 0)
    assert done.unknown == ("nobody_000001",)
    verdicts = dict(ask(other.root, "SELECT clip_id, verdict FROM quality"))
    assert verdicts == {
        "vggsound/-id_0000000_000030": "undecodable",
        "vggsound/a__00000001_000005": "undecodable",
        "vggsound/b-_00000002_000000": "no_video",
    }
    assert not tars(other.root)


def test_source_without_clips_is_refused(small_store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        list(read_items(tmp_path / "nowhere"))
    with pytest.raises(StoreError, match="no folder 'audio'"):
        list(read_items(tmp_path))
    (tmp_path / "bad.tar").write_bytes(b"not a tar at all")
    with pytest.raises(StoreError, match=r"bad\.tar"):
        list(read_items(tmp_path))
    with pytest.raises(StoreError, match="--annotations"):
        import_items(Store(tmp_path / "new"), VGGSOUND, [])
