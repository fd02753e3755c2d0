"""Fetch folders and archives over S3 from a local server that speaks the real protocol."""

import tarfile
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from avstore.pipelines.fetch.source import SourceError
from tests.pipelines.fetch.clips import QUICK, make_request, make_source, tiny_video

boto = pytest.importorskip("s3fs", reason="the extra 's3' is not installed")
moto_server = pytest.importorskip("moto.server", reason="moto is not installed")


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """Yield options for a local S3 server with three clips as files, in a tar and in parts."""
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
            single = packed.parent / f"{name}.mp4"
            single.write_bytes(data)
            archive.add(single, f"x/{name}.mp4")
    data = packed.read_bytes()
    fs.pipe_file("clips/packed/all.tar.gz", data)
    for number in range(3):
        size = len(data) // 3 + 1
        part = data[number * size : (number + 1) * size]
        fs.pipe_file(f"clips/split/all.tar.gz.{number:02d}", part)
    yield replace(QUICK, storage={"s3": storage})
    server.stop()


@pytest.mark.parametrize(
    "location",
    ["s3://clips/train", "s3://clips/packed/all.tar.gz", "s3://clips/packed",
     "s3://clips/split/all.tar.gz.00", "s3://clips/packed/*.tar.gz"],
)  # fmt: skip
def test_clips_are_fetched_from_s3(s3, tmp_path: Path, location: str) -> None:
    requests = [make_request(name) for name in ("-a", "b_", "c", "no")]
    results = list(make_source(location, tmp_path, s3).fetch(requests))
    found = {result.clip_id: result for result in results}
    for name in ("-a", "b_", "c"):
        result = found[f"toy/{name}"]
        assert result.status == "stored", result.message
        assert Path(result.path).read_bytes() == tiny_video() + name.encode()
    assert found["toy/no"].status == "absent"


def test_a_missing_bucket_or_protocol_raises_a_clear_error(s3, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"s3://nobucket/x|no media"):
        list(make_source("s3://nobucket/x", tmp_path, s3).fetch([make_request("a")]))
    with pytest.raises(SourceError, match="nonsense"):
        make_source("nonsense://x/y", tmp_path, s3)
