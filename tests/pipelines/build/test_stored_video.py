"""A stored video on its way: message, shard, sidecar, manifest, and one range read of a window."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avstore.manifests import open_store
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.ingest import commit_shards
from avstore.manifests.lock import writing
from avstore.manifests.sealed import write_parquet
from avstore.manifests.shard_reader import Shard
from avstore.manifests.store import Store, StoreError
from avstore.manifests.verify import verify, verify_store
from avstore.manifests.video_groups import decode_groups, group_range, group_sizes
from avstore.manifests.video_record import StoredVideo
from avstore.pipelines.build.repair import repair_store
from avstore.pipelines.build.shard_writer import ShardId, open_shard
from avstore.pipelines.extract import protocol
from avstore.pipelines.extract.records import ExtractionResult, Quality
from tests.manifests import synthetic
from tests.manifests.test_video_groups import encode, moving

SHARD = f"shards/toy/{synthetic.STAGE}/train-000000.tar"
PICTURES, EVERY = 21, 8


def extracted(key: str) -> ExtractionResult:
    """Return a clip with a video and one frame, after its way through the worker's pipe."""
    encoded = encode("av1", [moving(i) for i in range(PICTURES)], EVERY)
    video = StoredVideo(PICTURES, 16.0, EVERY, encoded.gop_offsets, encoded.gop_crc32, "av1")
    members = (("flac", b"fLaC"), ("mp4", encoded.content), ("f000.jpg", b"jpeg"))
    result = ExtractionResult(f"toy/{key}", None, "", None, Quality(), members, (0.0,), video=video)
    pipe = io.BytesIO()
    protocol.send(pipe, *protocol.pack(result))
    pipe.seek(0)
    received = protocol.receive(pipe)
    assert received is not None
    assert protocol.unpack(*received) == result
    return result


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of one clip with a video, and one without."""
    paths = Store(tmp_path / "store")
    paths.root.mkdir()
    rows = synthetic.clip_rows(2)
    with writing(paths), open_write(paths) as writer:
        synthetic.annotate(writer, paths, rows)
        shard = ShardId(SHARD, "toy", "toy", synthetic.FINGERPRINT, "train", 1)
        with_video = extracted(rows[0]["key"])
        without = replace(with_video, clip_id=rows[1]["clip_id"], video=None)
        without = replace(without, members=(("flac", b"fLaC"), ("f000.jpg", b"jpeg")))
        with open_shard(paths, shard) as opened:
            for row, clip in zip(rows, (with_video, without), strict=True):
                opened.add(clip, key=row["key"], facts={}, media={})
        commit_shards(writer.con, [paths.root / opened.result.sidecar])
        writer.publish()
    return paths


def test_a_window_is_one_range_read(store: Store) -> None:
    opened = open_store(store.root)
    (row,) = opened.query(
        "SELECT shard, byte_offset, gop_offsets, gop_frames, video_codec, video_frames, video_rate "
        "FROM samples JOIN members USING (clip_id, shard) WHERE feature = 'video'"
    ).rows()
    assert (row["video_frames"], row["video_rate"], row["gop_frames"]) == (PICTURES, 16.0, EVERY)
    found = group_range(row["gop_offsets"], row["gop_frames"], 6, 8)
    start = row["byte_offset"] + found.offset
    content = opened.reader.read(Shard(row["shard"], "", 0), start, found.size)
    skipped = 6 - found.first_group * EVERY
    sizes = group_sizes(row["gop_offsets"], found)
    pictures = list(decode_groups(content, sizes, row["video_codec"], skipped, 8, EVERY))
    for index, picture in enumerate(pictures, start=6):
        luma = picture.to_ndarray()[:48].astype(int)
        assert abs(luma - moving(index)[0]).mean() < 8


def test_pictures_by_number(store: Store) -> None:
    opened = open_store(store.root)
    whole = opened.pictures("toy/k00000", 0, PICTURES)
    assert whole.shape[0] == PICTURES
    assert whole.dtype == "uint8"
    for first, count in ((0, 1), (6, 8), (PICTURES - 1, 1), (15, 6)):
        part = opened.pictures("toy/k00000", first, count)
        assert (part == whole[first : first + count]).all()


@pytest.mark.parametrize(
    ("clip_id", "first", "count", "message"),
    [
        ("toy/k00000", 18, 4, r"pictures \[18, 22\) are not within the video of toy/k00000, "),
        ("toy/k00000", -1, 2, "are not within the video"),
        ("toy/k00000", 3, 0, "are not within the video"),
        ("toy/k00001", 0, 1, r"toy/k00001 has no video \(member mp4\); it has json, flac"),
        ("toy/nobody", 0, 1, "toy/nobody is not stored"),
    ],
)
def test_pictures_that_are_not_there(
    store: Store, clip_id: str, first: int, count: int, message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        open_store(store.root).pictures(clip_id, first, count)


def test_pictures_of_a_damaged_shard(store: Store) -> None:
    shard = store.root / SHARD
    data = shard.read_bytes()
    at = data.index(b"ftyp") + 600
    shard.write_bytes(data[:at] + bytes(2000) + data[at + 2000 :])
    with pytest.raises(StoreError, match=r"mp4 of toy/k00000 in .*run avstore verify"):
        open_store(store.root).pictures("toy/k00000", 0, PICTURES)


def test_each_damaged_byte_is_noticed(store: Store) -> None:
    """AV1 has no checksum: decoders give other pictures without an error."""
    shard, opened = store.root / SHARD, open_store(store.root)
    data = shard.read_bytes()
    (row,) = opened.query("SELECT gop_offsets FROM samples WHERE gop_offsets IS NOT NULL").rows()
    start = data.index(b"ftyp") - 4
    first, last = row["gop_offsets"][0], row["gop_offsets"][-1] - 1
    for at in (first, (first + last) // 2, last):
        place = start + at
        changed = bytes([data[place] ^ 1])
        shard.write_bytes(data[:place] + changed + data[place + 1 :])
        with pytest.raises(StoreError, match=r"mp4 of toy/k00000 .* group \d+ .* other CRC-32"):
            open_store(store.root).pictures("toy/k00000", 0, PICTURES)


@pytest.mark.parametrize(("first", "count"), [(1.5, 1), ("0", 1), (0, None), (True, 1)])
def test_numbers_that_are_no_numbers(store: Store, first: object, count: object) -> None:
    with pytest.raises(StoreError, match="are not whole numbers"):
        open_store(store.root).pictures("toy/k00000", first, count)  # type: ignore[arg-type]


def test_members_are_in_store_order_and_the_json_member_has_the_groups(store: Store) -> None:
    with tarfile.open(store.root / SHARD) as tar:
        names = tar.getnames()
        facts = [json.load(tar.extractfile(n)) for n in names if n.endswith(".json")]  # type: ignore[arg-type]
        size = tar.getmember("k00000.mp4").size
    assert names[:4] == [f"k00000.{name}" for name in ("json", "flac", "mp4", "f000.jpg")]
    assert facts[0]["video"]["frames"] == PICTURES
    assert facts[0]["video"]["gop_offsets"][-1] == size
    assert "video" not in facts[1]


def test_the_manifest_is_rebuilt_with_the_same_groups(store: Store) -> None:
    columns = "video_frames, video_rate, gop_frames, gop_offsets, video_codec, range_bytes"
    query = f"SELECT {columns} FROM samples ORDER BY clip_id"
    with open_read(store) as con:
        before = con.execute(query).fetchall()
        assert con.execute("SELECT count(*) FROM frames").fetchone() == (2,)
    assert before[1][:5] == (None,) * 5
    assert before[0][5] > before[1][5] > 0
    store.manifest.unlink()
    repair_store(store)
    with open_read(store) as con:
        assert con.execute(query).fetchall() == before
        assert [p for p in verify(con, store) if "rebuild" in p.what] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"gop_offsets": [40, 20, 60, 80]},
        {"gop_offsets": [20, 20, 60, 80]},
        {"gop_offsets": [-1, 20, 60, 80]},
        {"gop_offsets": [0, 20, 60, 1 << 30]},
        {"gop_offsets": [0, 20, 60]},
        {"gop_offsets": []},
        {"gop_crc32": [1, 2]},
        {"gop_crc32": None},
        {"gop_offsets": [0, None, 60, 80]},
        {"gop_frames": 0},
        {"gop_frames": None},
        {"video_frames": -5},
        {"video_frames": -PICTURES, "gop_frames": -EVERY},
        {"video_rate": 0.0},
        {"video_rate": float("nan")},
        {"video_codec": "exr"},
        {"members": "json flac mp5 f000.jpg"},
    ],
)
def test_groups_that_the_video_cannot_have_are_refused(store: Store, wrong: dict) -> None:
    (path,) = store.sidecars()
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0] |= wrong
    write_parquet(path, pa.Table.from_pylist(rows, schema=table.schema))
    reason = (
        r"has groups of pictures that its video cannot have \('toy/k00000'\); run avstore verify"
    )
    with pytest.raises(StoreError, match=reason):
        verify_store(store)
    with writing(store), open_write(store) as writer, pytest.raises(StoreError, match=reason):
        commit_shards(writer.con, [path])
    repair_store(store)
    assert (store.root / "damaged" / SHARD).exists()
