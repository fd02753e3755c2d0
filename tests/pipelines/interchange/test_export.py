"""Exports of a query's clips, read back by stock readers."""

import json
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from typer.testing import CliRunner

from avstore.manifests import open_store
from avstore.manifests.catalogue import open_write
from avstore.manifests.lock import writing
from avstore.manifests.store import Store, StoreError
from avstore.pipelines.cli import export as command
from avstore.pipelines.interchange.export import ExportFormat, export
from tests.manifests import synthetic
from tests.manifests.conftest import store  # noqa: F401 -- a fixture

FEATURES = ["frames", "audio", "fbank", "clip"]
SQL = "SELECT clip_id, labels, split FROM trainable WHERE split = 'train' ORDER BY clip_id DESC"


@pytest.fixture
def opened(store: Store):  # noqa: F811
    with writing(store), open_write(store) as writer:
        synthetic.add_feature(writer, store, "clip", "feedbeef" + "00" * 28)
        writer.publish()
    with open_store(store.root) as found:
        yield found


def test_webdataset_is_resharded_joined_and_stock_readable(opened, tmp_path: Path) -> None:
    ids = opened.query(SQL).df().clip_id.tolist()
    done = export(opened, SQL, FEATURES, str(tmp_path / "out"), shard_clips=5)
    assert (done.clips, done.skipped) == (len(ids), 0)
    tars = sorted(map(str, (tmp_path / "out").glob("*.tar")))
    assert len(tars) == 3
    samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode())
    assert [s["json"]["clip_id"] for s in samples] == ids
    members = dict(synthetic.members_of(ids[0]))
    assert samples[0]["json"]["labels"] == list(opened.query(SQL).rows()[0]["labels"]) != []
    assert samples[0]["flac"] == members["flac"]
    assert samples[0]["clip.npy"].shape == (5,)
    assert samples[0]["fbank.npy"].shape == (4, 3)
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert facts["sql"] == SQL
    assert facts["clips"] == len(ids)


def test_parquet_holds_the_same(opened, tmp_path: Path) -> None:
    export(opened, SQL, FEATURES, str(tmp_path / "out"), ExportFormat.PARQUET)
    rows = pq.read_table(tmp_path / "out" / "000000.parquet").to_pylist()
    members = dict(synthetic.members_of(rows[0]["clip_id"]))
    assert rows[0]["frames"] == [members["f000.jpg"], members["f001.jpg"]]
    assert rows[0]["fbank_shape"] == [4, 3]
    assert np.array(rows[0]["fbank"]).reshape(4, 3)[0, 0] == int(rows[0]["clip_id"][-5:])
    assert rows[0]["split"] == "train"


def test_folders_hold_a_folder_a_clip_and_an_index(opened, tmp_path: Path) -> None:
    export(opened, SQL, ["audio", "frames"], str(tmp_path / "out"), ExportFormat.FOLDERS)
    index = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()
    for row in index:
        folder = tmp_path / "out" / row["key"]
        assert sorted(p.name for p in folder.iterdir()) == ["f000.jpg", "f001.jpg", "flac", "json"]


def test_any_fsspec_url_is_a_destination(opened) -> None:
    export(opened, SQL, ["audio"], "memory://exports/one", shard_clips=100)
    assert sorted(fsspec.filesystem("memory").ls("/exports/one", detail=False)) == [
        "/exports/one/000000.tar",
        "/exports/one/export.json",
    ]


def test_two_exports_have_the_same_bytes(opened, tmp_path: Path) -> None:
    for name in "ab":
        export(opened, SQL, FEATURES, str(tmp_path / name))
    assert (tmp_path / "a/000000.tar").read_bytes() == (tmp_path / "b/000000.tar").read_bytes()


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT split FROM clips", "no column clip_id, only split"),
        (
            "SELECT clip_id FROM clips",
            "4 of the query's 20 clips are not stored, for example toy/k",
        ),
        ("SELECT clip_id FROM clips WHERE false", "returns no stored clip"),
        ("SELECT 'toy/k00001' AS clip_id FROM range(2)", "returns toy/k00001 2 times"),
    ],
)
def test_wrong_queries_are_refused(opened, tmp_path: Path, sql: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        export(opened, sql, ["audio"], str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_command_skips_missing_clips_and_refuses_a_used_folder(opened, store, tmp_path) -> None:  # noqa: F811
    arguments = ["--sql", "FROM clips", "--features", "audio", "--store", str(store.root)]
    arguments += ["--out", str(tmp_path / "out"), "--skip-missing"]
    result = CliRunner().invoke(command.app, arguments)
    assert result.exit_code == 0, result.output
    assert "16 clips" in result.output
    assert "4 clips left out" in result.output
    again = CliRunner().invoke(command.app, arguments)
    assert isinstance(again.exception, StoreError)
    assert "is not empty" in str(again.exception)


def test_s3_is_a_destination(opened, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        fs = fsspec.filesystem("s3", skip_instance_cache=True)
        fs.mkdir("exports")
        fsspec.filesystem("s3").clear_instance_cache()
        done = export(opened, SQL, ["audio"], "s3://exports/one", shard_clips=100)
        fs.invalidate_cache()
        assert fs.size("exports/one/000000.tar") == done.bytes
        assert fs.exists("exports/one/export.json")
    finally:
        server.stop()


def test_a_part_under_two_names_is_refused(opened, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="name waveform more than once"):
        export(opened, SQL, ["audio", "waveform"], str(tmp_path / "out"))


def test_class_and_text_columns_are_members(opened, tmp_path: Path) -> None:
    sql = "SELECT clip_id, label_ids[1] AS cls, labels[1] AS txt FROM trainable"
    export(opened, sql, ["fbank"], str(tmp_path / "out"))
    tar = str(tmp_path / "out" / "000000.tar")
    for sample in webdataset.WebDataset(tar, shardshuffle=False).decode():
        assert sample["txt"] == f"class {sample['cls']}"
