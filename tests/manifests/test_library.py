"""The store as a library: SQL to tables, samples, features by range reads, local and remote."""

import io
import pickle
import random
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avstore.manifests import open_store
from avstore.manifests.catalogue import open_write
from avstore.manifests.lock import StoreBusyError, writing
from avstore.manifests.members import read_many
from avstore.manifests.shard_reader import ByteRange, LocalReader, Shard, open_reader
from avstore.manifests.store import Store, StoreError
from tests.manifests import synthetic

FP = "feedbeef" + "00" * 28
IDS = ["toy/k00009", "toy/k00001", "toy/k00003"]


@pytest.fixture
def featured(store: Store) -> Store:
    with writing(store), open_write(store) as writer:
        synthetic.add_feature(writer, store, "clip", FP)
        writer.publish()
    return store


def test_query_gives_arrow_pandas_and_polars(store: Store) -> None:
    with open_store(store.root) as opened:
        answer = opened.query("SELECT clip_id, labels FROM trainable WHERE split = ?", ["test"])
        assert answer.arrow().num_rows == len(answer.df()) == len(answer.rows()) == 3
        assert pytest.importorskip("polars").DataFrame(answer.pl()).height == 3
        with pytest.raises(StoreError, match=r"the query failed: .*nowhere"):
            opened.query("SELECT * FROM nowhere")


def test_a_with_block_sees_one_state_and_a_pickled_store_reads(store: Store) -> None:
    sql = "SELECT count(*) AS n FROM samples"
    opened = open_store(store.root)
    copied = pickle.loads(pickle.dumps(opened))
    before = copied.query(sql).rows()[0]["n"]
    with opened:
        assert pickle.loads(pickle.dumps(opened)).root == store.root
        assert opened.query(sql).rows()[0]["n"] == before
        with writing(store), open_write(store) as writer:
            synthetic.fetch(writer, store, "r2", {"toy/k00002": None})
            synthetic.build(writer, store, "r2")
            writer.publish()
        assert opened.query(sql).rows()[0]["n"] == before
    assert opened.query(sql).rows()[0]["n"] == copied.query(sql).rows()[0]["n"] == before + 1


def test_a_manifest_that_is_written_elsewhere_is_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def busy(
        paths: Store, path: Path, read_only: bool, unsafe: bool, memory_bytes: int | None
    ) -> duckdb.DuckDBPyConnection:
        calls.append(path)
        if len(calls) < 3:
            raise StoreBusyError("open for writing in another program")
        return duckdb.connect(str(path), read_only=read_only)

    monkeypatch.setattr("avstore.manifests.catalogue._connect", busy)
    assert open_store(store.root).query("SELECT 1 AS one").rows() == [{"one": 1}]
    assert len(calls) == 3
    calls.clear()
    monkeypatch.setattr("avstore.manifests.library.LOCK_WAIT_S", 0.0)
    with pytest.raises(StoreBusyError, match="open for writing"):
        open_store(store.root).query("SELECT 1")


def test_opening_and_querying_loads_no_framework(store: Store) -> None:
    script = (
        "import sys\nfrom avstore.manifests import open_store\n"
        f"with open_store({str(store.root)!r}) as opened:\n"
        "    assert opened.query('SELECT clip_id FROM samples').arrow().num_rows\n"
        "    clip_id = opened.query('SELECT clip_id FROM samples').rows()[0]['clip_id']\n"
        "    assert opened.sample(clip_id).members\n"
        "print({'torch', 'dask', 'pandas', 'fsspec', 'av'} & sys.modules.keys())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_sample_has_every_member(store: Store) -> None:
    with open_store(store.root) as opened:
        sample = opened.sample("toy/k00001")
    assert dict(sample.members) == dict(synthetic.members_of("toy/k00001"))
    assert sample.labels == ("class 1",)


def test_read_gives_features_in_the_order_asked_for(featured: Store) -> None:
    with open_store(featured.root) as opened:
        _check_reads(opened)


def _check_reads(opened) -> None:
    fbank = opened.read("fbank", IDS)
    assert list(fbank) == IDS
    assert [int(fbank[i][0, 0]) for i in IDS] == [9, 1, 3]
    frames = opened.read("frames", IDS)
    members = {i: dict(synthetic.members_of(i)) for i in IDS}
    assert frames == {i: [members[i]["f000.jpg"], members[i]["f001.jpg"]] for i in IDS}
    assert opened.read("audio", IDS) == {i: members[i]["flac"] for i in IDS}
    for name in ("clip", "clip-feedbeef"):
        clip = opened.read(name, IDS)
        np.testing.assert_array_equal(clip["toy/k00003"], np.arange(5, dtype=np.float32) + 3)


def test_what_is_not_there_is_named_with_its_status(featured: Store) -> None:
    with open_store(featured.root) as opened:
        with pytest.raises(StoreError, match=r"1 of 2 clips .* toy/k00002 .*gone private"):
            opened.read("fbank", ["toy/k00001", "toy/k00002"])
        with pytest.raises(StoreError, match="not published in this store"):
            opened.sample("toy/none")
        with pytest.raises(StoreError, match=r"no feature 'nix'; it has frames, .*clip"):
            opened.read("nix", IDS)


def test_a_damaged_sample_is_refused(featured: Store) -> None:
    with open_store(featured.root) as opened:
        row = opened.query("FROM samples WHERE clip_id = 'toy/k00001'").rows()[0]
        path = featured.root / row["shard"]
        content = bytearray(path.read_bytes())
        content[row["offsets"][2] + 5] ^= 1
        path.write_bytes(content)
        with pytest.raises(
            StoreError, match=r"toy/k00001 in .*: its CRC-32 is \w+ and the manifest says"
        ):
            opened.sample("toy/k00001")


def test_a_vanished_shard_is_a_plain_error(store: Store) -> None:
    for tar in store.shards.glob("*/*/*.tar"):
        tar.unlink()
    with open_store(store.root) as opened, pytest.raises(StoreError, match="run avstore verify"):
        opened.read("fbank", IDS)


def _upload(store: Store, fs, root: str) -> None:
    for path in sorted(store.root.rglob("*")):
        if path.is_file() and path.name not in ("manifest.duckdb", ".lock"):
            name = f"{root}/{path.relative_to(store.root)}"
            fs.makedirs(name.rsplit("/", 1)[0], exist_ok=True)
            fs.pipe_file(name, path.read_bytes())


def _check_elsewhere(url: str, store: Store, cache: Path, **options) -> None:
    fs, root = fsspec.core.url_to_fs(url, **options)
    _upload(store, fs, root)
    with open_store(url, cache=cache, **options) as opened:
        _check_reads(opened)
        assert dict(opened.sample(IDS[0]).members) == dict(synthetic.members_of(IDS[0]))
        before = opened.query("SELECT count(*) AS n FROM samples").rows()[0]["n"]
    with writing(store), open_write(store) as writer:  # a later run there adds a shard
        synthetic.fetch(writer, store, "r2", {"toy/k00002": None})
        synthetic.build(writer, store, "r2")
        writer.publish()
    _upload(store, fs, root)
    with open_store(url, cache=cache, **options) as opened:
        assert opened.query("SELECT count(*) AS n FROM samples").rows()[0]["n"] == before + 1
        differing = opened.query(
            "SELECT * FROM (SELECT clip_id, stage, status, verdict FROM status EXCEPT "
            "SELECT clip_id, stage, status, verdict FROM derived_status)"
        )
        assert differing.rows() == []
        # Task streams can be queried there too, as training does.
        assert opened.query("SELECT * FROM task_clips").arrow().num_columns == 5


def test_a_store_in_memory_is_read_through_a_local_manifest(
    featured: Store, tmp_path: Path
) -> None:
    _check_elsewhere("memory://bucket/store", featured, tmp_path / "cache")


def test_no_store_at_an_address_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store at memory://nowhere/x"):
        open_store("memory://nowhere/x", cache=tmp_path / "cache")


def test_a_store_on_s3_is_read_by_ranges(
    featured: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs")
    server_module = pytest.importorskip("moto.server")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = server_module.ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = {"client_kwargs": {"endpoint_url": f"http://{host}:{port}"}}
        fsspec.filesystem("s3", **options).mkdir("bucket")
        _check_elsewhere("s3://bucket/store", featured, tmp_path / "cache", **options)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards with members of many sizes, some far apart."""
    root = tmp_path_factory.mktemp("shards")
    for name in "ab":
        with tarfile.open(root / f"{name}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(24):
                size = (number * 7919) % 3000 + (number % 8 == 7) * 400_000
                info = tarfile.TarInfo(f"k{number:02d}.bin")
                info.size = size
                tar.addfile(info, io.BytesIO(random.Random(f"{name}{number}").randbytes(size)))
    return root


def _ranges(root: Path, name: str) -> list[ByteRange]:
    shard = Shard(f"{name}.tar", f"{name * 64}", (root / f"{name}.tar").stat().st_size)
    with tarfile.open(root / shard.path) as tar:
        return [ByteRange(shard, m.name, m.offset_data, m.size) for m in tar]


@given(picks=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 23)), max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@pytest.mark.parametrize("remote", [False, True])
def test_many_members_are_read_with_their_bytes(
    shards: Path, remote: bool, picks: list[tuple[str, int]]
) -> None:
    known = {name: _ranges(shards, name) for name in "ab"}
    wanted = [known[name][number] for name, number in picks]
    reader = open_reader(f"file://{shards}" if remote else str(shards))
    read = {item: bytes(content) for item, content in read_many(reader, wanted)}
    whole = {name: (shards / f"{name}.tar").read_bytes() for name in "ab"}
    assert read == {
        item: whole[item.shard.path[0]][item.offset : item.offset + item.size] for item in wanted
    }
    assert list(read) == sorted(read, key=lambda item: (item.shard.path, item.offset))


def test_near_members_are_read_by_one_request(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, requests = LocalReader(str(shards)), []

    def read(shard: Shard, offset: int, size: int) -> memoryview:
        requests.append((shard.path, offset, size))
        return LocalReader.read(reader, shard, offset, size)

    monkeypatch.setattr(reader, "read", read)
    wanted = _ranges(shards, "a")
    assert len(list(read_many(reader, wanted[:7]))) == 7
    assert requests == [("a.tar", 0, wanted[6].offset + wanted[6].size)]
    requests.clear()
    assert len(list(read_many(reader, [wanted[6], wanted[8]]))) == 2  # 400 kB apart
    assert [path for path, *_ in requests] == ["a.tar", "a.tar"]
    requests.clear()
    monkeypatch.setattr("avstore.manifests.members._MAX_BYTES", 4096)
    assert len(list(read_many(reader, wanted[:7]))) == 7
    assert len(requests) > 1
    assert all(size <= 4096 for *_, size in requests)


def test_a_member_that_is_not_the_named_one_is_refused(shards: Path) -> None:
    reader = LocalReader(str(shards))
    first, second = _ranges(shards, "a")[:2]
    with pytest.raises(StoreError, match=r"a\.tar: the shard holds k01.bin .* and not k00.bin"):
        list(read_many(reader, [replace(second, name=first.name)]))
    with pytest.raises(StoreError, match=r"a\.tar: no tar header in front of it"):
        list(read_many(reader, [replace(second, offset=second.offset + 512)]))


def test_one_name_for_each_part_of_a_clip(store: Store) -> None:
    with open_store(store.root) as opened:
        ids = IDS[:1]
        sample = opened.sample(ids[0])
        assert opened.read("waveform", ids)[ids[0]] == sample.waveform == sample.members["flac"]
        assert opened.read("audio", ids) == opened.read("waveform", ids)  # the former name
        assert opened.read("frames", ids)[ids[0]] == sample.frames
        assert (opened.read("fbank", ids)[ids[0]] == sample.fbank).all()
        held = "it has frames, video, waveform, fbank"
        with pytest.raises(StoreError, match=f"no feature 'sound'; {held}"):
            opened.read("sound", ids)
