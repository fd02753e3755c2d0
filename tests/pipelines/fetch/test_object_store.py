"""Folders and archives over S3, by the real protocol, from a local server; and over HTTP."""

import tarfile
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from avstore.pipelines.fetch.source import SourceError
from tests.pipelines.fetch.clips import QUICK, clip, source, tiny_video

boto = pytest.importorskip("s3fs", reason="the extra 's3' is not installed")
moto_server = pytest.importorskip("moto.server", reason="moto is not installed")


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """Options for an S3 of our own, with a bucket of three clips, loose and in a tar."""
    import s3fs

    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    storage = {
        "key": "test",
        "secret": "test",
        "client_kwargs": {"endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1"},
    }
    fs = s3fs.S3FileSystem(**storage)
    request = urllib.request.Request(f"http://{host}:{port}/clips", method="PUT")
    urllib.request.urlopen(request).close()
    packed = tmp_path_factory.mktemp("packed") / "all.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        for name in ("-a", "b_", "c"):
            data = tiny_video() + name.encode()
            fs.pipe_file(f"clips/train/{name}.mp4", data)
            loose = packed.parent / f"{name}.mp4"
            loose.write_bytes(data)
            archive.add(loose, f"x/{name}.mp4")
    data = packed.read_bytes()
    fs.pipe_file("clips/packed/all.tar.gz", data)
    for number in range(3):
        size = len(data) // 3 + 1
        part = data[number * size : (number + 1) * size]
        fs.pipe_file(f"clips/split/all.tar.gz.{number:02d}", part)
    yield replace(QUICK, storage={"s3": storage})
    server.stop()


@pytest.mark.parametrize(
    "where",
    ["s3://clips/train", "s3://clips/packed/all.tar.gz", "s3://clips/packed",
     "s3://clips/split/all.tar.gz.00", "s3://clips/packed/*.tar.gz"],
)  # fmt: skip
def test_clips_come_from_s3(s3, tmp_path: Path, where: str) -> None:
    rows = list(source(where, tmp_path, s3).fetch([clip(n) for n in ("-a", "b_", "c", "no")]))
    found = {row.clip_id: row for row in rows}
    for name in ("-a", "b_", "c"):
        row = found[f"toy/{name}"]
        assert row.status == "stored", row.message
        assert Path(row.path).read_bytes() == tiny_video() + name.encode()
    assert found["toy/no"].status == "gone"


def test_what_is_not_there_is_one_clear_error(s3, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"s3://nobucket/x|no media"):
        list(source("s3://nobucket/x", tmp_path, s3).fetch([clip("a")]))
    with pytest.raises(SourceError, match="nonsense"):
        source("nonsense://x/y", tmp_path, s3)
