"""The store as a library: SQL to tables, samples, features by range reads, here and elsewhere."""

from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avstore.manifests import open_store
from avstore.manifests.catalogue import open_write
from avstore.manifests.lock import writing
from avstore.manifests.ranges import Range, coalesce, read_ranges
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
        with pytest.raises(StoreError, match="is damaged: its CRC-32 differs"):
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
        # Task streams can be asked there too, as training does.
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


@given(
    st.lists(
        st.builds(
            Range,
            st.sampled_from(["a", "b"]),
            st.integers(0, 4000),
            st.integers(1, 300),
        ),
        max_size=40,
    ),
    st.integers(0, 500),
)
def test_coalesced_reads_give_every_range_its_bytes(wanted: list[Range], gap: int) -> None:
    fs = fsspec.filesystem("memory")
    contents = {name: bytes((i * 7 + ord(name)) % 251 for i in range(5000)) for name in "ab"}
    for name, content in contents.items():
        fs.pipe_file(f"/ranges/{name}", content)
    read = dict(read_ranges(fs, "/ranges", wanted, gap))
    assert read == {r: contents[r.path][r.offset : r.offset + r.size] for r in wanted}
    merged = coalesce(wanted, gap)
    assert len(merged) <= len(set(wanted))
