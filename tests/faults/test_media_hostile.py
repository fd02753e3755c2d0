"""Test hostile files: disguised playlists, false headers, unusual names."""

import http.server
import os
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

import av
import pytest

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.recipe import load_recipe
from avstore.pipelines.extract.sandbox import Sandbox
from tests.pipelines.extract.media import ffmpeg, make_clip, source, worker_cpu_s

STELLA = load_recipe("stella")


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(STELLA, timeout_s=120, memory_bytes=1 << 30) as box:
        yield box


@pytest.fixture
def server():
    """Serve HTTP on this machine and record the requested paths."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_address[1]}", seen
        listener.shutdown()


def opens(pipe: Path, action) -> bool:
    """Return whether `action` opens a named pipe for reading."""
    task = threading.Thread(target=action)
    task.start()
    opened = False
    while task.is_alive():
        with suppress(OSError):  # no process has the pipe open
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            opened = True
        time.sleep(0.005)
    task.join()
    return opened


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{file}\n"
    "#EXTINF:10,\n{url}/a.ts\n#EXT-X-ENDLIST\n",
    "hls-key": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n"
    '#EXT-X-KEY:METHOD=AES-128,URI="{url}/key"\n#EXTINF:10,\n{file}\n#EXT-X-ENDLIST\n',
    "concat": "ffconcat version 1.0\nfile '{file}'\nfile '{url}/a.mp4'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT10S"><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="1" bandwidth="1"><BaseURL>{url}/a.mp4</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "m3u": "{file}\n{url}/a.mp4\n",
    "xspf": '<?xml version="1.0"?><playlist><track><location>{file}</location></track></playlist>',
    "ass": "[Script Info]\n; {file} {url}\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_called_mp4_reads_nothing_else(tmp_path, sandbox, server, name):
    url, seen = server
    pipe = tmp_path / "secret.ts"
    os.mkfifo(pipe)  # a process that opens it to read waits, and shows at the writing end
    bad = tmp_path / "clip.mp4"
    bad.write_text(PLAYLISTS[name].format(file=pipe, url=url))
    results = []
    assert not opens(pipe, lambda: results.append(sandbox.extract(source(bad))))
    assert results[0].verdict is Verdict.UNDECODABLE, results[0].detail
    assert seen == []


def with_data_reference(movie: bytes, target: Path) -> bytes:
    """Make a movie's first data reference an alias of another file (QuickTime File Format)."""
    name, path = target.name.encode(), str(target).encode()
    alias = bytes(10) + b"\x01" + b"v".ljust(27, b"\0") + bytes(12)
    alias += bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    alias += struct.pack(">hh", 1, 1) + bytes(16)
    alias += struct.pack(">hH", 2, len(path)) + path + bytes(len(path) % 2)  # type 2: full path
    alias += struct.pack(">hH", -1, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    at = movie.index(b"url \x00\x00\x00\x01") - 4
    data, start, end = bytearray(movie), 0, len(movie)
    while start < at:  # lengthen every box around the reference
        size, kind = struct.unpack_from(">I4s", data, start)
        if start + size <= at:
            start += size
            continue
        assert start + size <= end
        struct.pack_into(">I", data, start, size + len(entry) - 12)
        start, end = start + (16 if kind == b"dref" else 8), start + size
    data[at : at + 12] = entry
    return bytes(data)


def test_a_movie_that_refers_to_another_file_does_not_read_it(tmp_path, sandbox):
    pipe = tmp_path / "secret.ts"
    os.mkfifo(pipe)
    clip = make_clip(tmp_path / "a.mp4", seconds=10.0, size="64x64")
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(with_data_reference(clip.read_bytes(), pipe))

    def follow_references():
        options = {"enable_drefs": "1", "use_absolute_path": "1"}
        with suppress(av.FFmpegError), av.open(str(bad), options=options) as container:
            next(container.decode(video=0), None)

    assert opens(pipe, follow_references)
    results = []
    assert not opens(pipe, lambda: results.append(sandbox.extract(source(bad))))
    assert results[0].verdict is Verdict.UNDECODABLE, results[0].detail


def huge_picture(tmp_path):
    """Write an AVI of JPEG pictures whose headers declare 30,000 × 30,000 pixels."""
    small = tmp_path / "small.avi"
    ffmpeg("-f", "lavfi", "-i", "color=red:size=16x16:rate=25:duration=10",
           "-f", "lavfi", "-i", "sine=duration=10", "-c:v", "mjpeg", "-c:a", "pcm_s16le",
           "-ar", "8000", small)  # fmt: skip
    data = bytearray(small.read_bytes())
    side = 30_000
    at = data.find(b"strf") + 8
    data[at + 4 : at + 12] = struct.pack("<ii", side, side)
    at = 0
    while (at := data.find(b"\xff\xc0\x00\x11\x08", at)) > 0:
        data[at + 5 : at + 9] = struct.pack(">HH", side, side)
        at += 9
    bad = tmp_path / "huge.avi"
    bad.write_bytes(data)
    return bad


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, sandbox):
    path = huge_picture(tmp_path)
    before = worker_cpu_s(sandbox)
    result = sandbox.extract(source(path))
    assert result.verdict is Verdict.UNDECODABLE
    assert "over 37748736 pixels" in result.detail
    assert worker_cpu_s(sandbox) - before < 10


def test_a_picture_that_grows_on_the_way_is_refused(tmp_path, sandbox):
    """The header declares 16 × 16, the pictures 30,000 × 30,000."""
    data = bytearray(huge_picture(tmp_path).read_bytes())
    at = data.find(b"strf") + 8
    data[at + 4 : at + 12] = struct.pack("<ii", 16, 16)
    bad = tmp_path / "grows.avi"
    bad.write_bytes(data)
    assert sandbox.extract(source(bad)).verdict is Verdict.UNDECODABLE


def test_a_small_file_that_declares_ten_hours(tmp_path, sandbox):
    long = tmp_path / "long.mp4"
    clip = make_clip(tmp_path / "a.mp4", seconds=10.0, size="160x120")
    ffmpeg("-itsscale", "3600", "-i", clip, "-c", "copy", long)
    before = worker_cpu_s(sandbox)
    result = sandbox.extract(source(long))
    assert result.verdict in {Verdict.TRUNCATED, Verdict.UNDECODABLE, Verdict.BAD_TIMESTAMPS}
    assert worker_cpu_s(sandbox) - before < 10
    week = tmp_path / "week.mp4"
    ffmpeg("-itsscale", "80000", "-i", clip, "-c", "copy", "-video_track_timescale", "100", week)
    result = sandbox.extract(source(week))
    assert result.verdict is Verdict.BAD_TIMESTAMPS, result.detail
    assert "limit 86400 s" in result.detail


@pytest.mark.parametrize(
    "name", ["-i.mp4", "a b;$(touch x).mp4", "%05d.mp4", "concat:a|b.mp4", "http:x.mp4", "ü\n.mp4"]
)
def test_names_are_names(tmp_path, sandbox, name):
    clip = make_clip(tmp_path / "a.mp4", size="64x64")
    odd = tmp_path / name
    odd.write_bytes(clip.read_bytes())
    assert sandbox.extract(source(odd)).verdict is None
    assert not (tmp_path / "x").exists()


def test_files_that_are_not_files(tmp_path, sandbox):
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        sandbox.extract(source(pipe))
    with pytest.raises(OSError, match="not a regular file"):
        sandbox.extract(source(tmp_path))
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert sandbox.extract(source(empty)).verdict is Verdict.UNDECODABLE
