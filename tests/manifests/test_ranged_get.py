"""Servers of byte ranges as they are: without rights, without ranges, slow to answer, short."""

import logging
import resource
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from avstore.manifests.block_cache import BLOCK_BYTES, BlockCache
from avstore.manifests.remote_reader import RemoteReader
from avstore.manifests.shard_reader import ReadError, Shard

CONTENT = bytes(number * 7 % 251 for number in range(300_000))
SHARD = Shard("shards/a.tar", "ab" * 32, len(CONTENT))
DENIED = b"<Error><Code>AccessDenied</Code><Message>not\nyours</Message></Error>"


class Server(BaseHTTPRequestHandler):
    """Answers as its class says: S3's answers to get_object are those of plain HTTP."""

    protocol_version = "HTTP/1.1"
    modes: list[str]
    seen: Counter[str]

    def do_GET(self) -> None:
        mode = self.modes.pop(0) if len(self.modes) > 1 else self.modes[0]
        type(self).seen[mode] += 1
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        part = CONTENT[first : last + 1]
        answers = {
            "denied": (403, {}, DENIED),
            "busy": (503, {}, b"<Error><Code>SlowDown</Code></Error>"),
            "whole": (200, {}, CONTENT),
            "other": (206, {"Content-Range": f"bytes 0-{last - first}/9"}, CONTENT[: len(part)]),
            "unsaid": (206, {}, part),
            "missing": (404, {}, b"<Error><Code>NoSuchKey</Code></Error>"),
            "right": (206, {"Content-Range": f"bytes {first}-{last}/{len(CONTENT)}"}, part),
            "short": (206, {"Content-Range": f"bytes {first}-{last - 9}/9"}, part[:-9]),
            "torn": (206, {"Content-Range": f"bytes {first}-{last}/{len(CONTENT)}"}, part),
        }
        status, headers, body = answers[mode]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if mode == "torn":
            body, self.close_connection = body[: len(body) // 2], True
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=["http", "s3"])
def served(request, monkeypatch) -> Iterator[tuple[type[Server], RemoteReader]]:
    if request.param == "s3":
        pytest.importorskip("s3fs")
    monkeypatch.setattr("avstore.manifests.remote_reader.wait_exponential_jitter", lambda **_: None)
    handler = type("Handler", (Server,), {"modes": ["right"], "seen": Counter()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # of clients that do not read what they refuse
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    options = {"key": "a", "secret": "b", "client_kwargs": {"endpoint_url": address}}
    s3 = request.param == "s3"
    reader = RemoteReader("s3://bucket/store" if s3 else f"{address}/store", options if s3 else {})
    yield handler, reader
    reader.close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("denied", "access to the shard is denied"),
        ("whole", "the server did not send bytes 1000 to 3000"),
        ("other", "the server did not send bytes 1000 to 3000"),
        ("unsaid", "the server did not send bytes 1000 to 3000"),
        ("missing", "the shard does not exist"),
    ],
)
def test_a_final_answer_is_said_in_one_line_and_asked_for_once(served, mode, said):
    handler, reader = served
    handler.modes = [mode]
    with pytest.raises(ReadError, match=said) as error:
        reader.read(SHARD, 1000, 2000)
    assert "\n" not in str(error.value)
    assert handler.seen[mode] == 1


@pytest.mark.parametrize("mode", ["busy", "short", "torn"])
def test_a_passing_failure_is_retried_by_one_layer(served, mode):
    handler, reader = served
    handler.modes = [mode, mode, "right"]
    assert bytes(reader.read(SHARD, 1000, 2000)) == CONTENT[1000:3000]
    assert handler.seen == {mode: 2, "right": 1}
    handler.seen.clear()
    handler.modes = [mode]
    with pytest.raises(ReadError, match="could not be read in 6 attempts"):
        reader.read(SHARD, 1000, 2000)
    assert handler.seen == {mode: 6}


def test_a_whole_object_may_come_without_a_range(served):
    handler, reader = served
    handler.modes = ["whole"]
    assert bytes(reader.read(SHARD, 0, len(CONTENT))) == CONTENT


def test_short_and_wrong_answers_are_not_cached(served, tmp_path, monkeypatch):
    monkeypatch.setattr("avstore.manifests.remote_reader.ATTEMPTS", 1)
    handler, reader = served
    reader._cache = BlockCache(tmp_path, 64 << 20)
    for mode in ("short", "torn", "unsaid"):
        handler.modes = [mode]
        with pytest.raises(ReadError):
            reader.read(SHARD, 1000, 2000)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    handler.modes = ["right"]
    assert bytes(reader.read(SHARD, 1000, 2000)) == CONTENT[1000:3000]


def test_a_flipped_byte_of_a_block_is_noticed(tmp_path):
    """Whatever is in it: a picture may decode to others without an error."""
    cache = BlockCache(tmp_path, 64 << 20)
    asked = []

    def fetch(start, stop):
        asked.append(start)
        return CONTENT[start:stop]

    def read():
        return cache.read("a" * 64, len(CONTENT), 5, 2000, fetch)

    assert read() == read() == CONTENT[5:2000]
    assert asked == [0]
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    for at in (0, 1000, -1):
        block = bytearray(path.read_bytes())
        block[at] ^= 1
        path.write_bytes(block)
        assert read() == read() == CONTENT[5:2000]
    assert asked == [0] * 4


def test_a_folder_that_takes_no_blocks_is_reported_once(tmp_path, caplog):
    (tmp_path / "blocks").write_text("in its place")
    cache = BlockCache(tmp_path, 64 << 20)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert cache.read("a" * 64, 10, 0, 10, lambda a, b: bytes(b - a)) == bytes(10)
    (said,) = caplog.messages
    assert f"the cache of remote shards in {tmp_path}/blocks takes no blocks: " in said
    assert "\n" not in said


def test_a_full_cache_folder_is_reported_once(tmp_path, caplog):
    cache = BlockCache(tmp_path, 64 << 20)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BLOCK_BYTES // 2, limits[1]))
    try:
        for _ in range(2):
            found = cache.read("a" * 64, BLOCK_BYTES, 0, 10, lambda a, b: bytes(b - a))
            assert found == bytes(10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (said,) = caplog.messages
    assert "takes no blocks: File too large" in said
    assert not [path for path in Path(tmp_path).rglob("*") if path.is_file()]
