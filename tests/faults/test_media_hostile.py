"""Files made to hurt: playlists in disguise, headers that lie, names that bite."""

import http.server
import os
import struct
import threading
import time

import pytest

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.recipe import load_recipe
from avstore.pipelines.extract.sandbox import Sandbox
from tests.pipelines.extract.media import ffmpeg, make_clip, source

STELLA = load_recipe("stella")


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(STELLA, timeout_s=20, memory_bytes=1 << 30) as box:
        yield box


@pytest.fixture
def server():
    """A web server on this machine that counts who comes."""
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
    os.mkfifo(pipe)  # whoever opens it to read waits, and is seen from the writing end
    bad = tmp_path / "clip.mp4"
    bad.write_text(PLAYLISTS[name].format(file=pipe, url=url))
    outcome = []
    task = threading.Thread(target=lambda: outcome.append(sandbox.extract(source(bad))))
    task.start()
    while task.is_alive():
        with pytest.raises(OSError, match="No such device"):
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        time.sleep(0.005)
    task.join()
    assert outcome[0].verdict is Verdict.UNDECODABLE, outcome[0].detail
    assert seen == []


def test_a_movie_that_refers_to_another_file_does_not_read_it(tmp_path, sandbox):
    """A data reference in `dref` that is not "this file"."""
    clip = make_clip(tmp_path / "a.mp4", seconds=10.0, size="64x64")
    data = bytearray(clip.read_bytes())
    at = data.find(b"url \x00\x00\x00\x01")
    assert at > 0
    data[at : at + 8] = b"alis\x00\x00\x00\x00"
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(data)
    made = sandbox.extract(source(bad))
    assert made.verdict is not Verdict.CRASHED_DECODER


def huge_picture(tmp_path):
    """An AVI of JPEG pictures that all say 30,000 × 30,000."""
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
    started = time.monotonic()
    made = sandbox.extract(source(huge_picture(tmp_path)))
    assert made.verdict is Verdict.UNDECODABLE
    assert "over 37748736 pixels" in made.detail
    assert time.monotonic() - started < 10


def test_a_picture_that_grows_on_the_way_is_refused(tmp_path, sandbox):
    """The header says 16 × 16, the pictures do not."""
    data = bytearray(huge_picture(tmp_path).read_bytes())
    at = data.find(b"strf") + 8
    data[at + 4 : at + 12] = struct.pack("<ii", 16, 16)
    bad = tmp_path / "grows.avi"
    bad.write_bytes(data)
    assert sandbox.extract(source(bad)).verdict is Verdict.UNDECODABLE


def test_a_small_file_that_says_ten_hours(tmp_path, sandbox):
    long = tmp_path / "long.mp4"
    clip = make_clip(tmp_path / "a.mp4", seconds=10.0, size="160x120")
    ffmpeg("-itsscale", "3600", "-i", clip, "-c", "copy", long)
    started = time.monotonic()
    made = sandbox.extract(source(long))
    assert made.verdict in {Verdict.TRUNCATED, Verdict.UNDECODABLE, Verdict.BAD_TIMESTAMPS}
    assert time.monotonic() - started < 10
    week = tmp_path / "week.mp4"
    ffmpeg("-itsscale", "80000", "-i", clip, "-c", "copy", "-video_track_timescale", "100", week)
    made = sandbox.extract(source(week))
    assert made.verdict is Verdict.BAD_TIMESTAMPS, made.detail
    assert "limit 86400 s" in made.detail


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
