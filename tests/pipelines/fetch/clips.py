"""Helpers for the tests of fetching: small real media, requests and sources."""

import functools
import subprocess
from pathlib import Path

import imageio_ffmpeg

from avstore.datasets.spec import MediaName
from avstore.pipelines.fetch.open_source import open_source
from avstore.pipelines.fetch.source import FetchOptions, FetchResult, MediaRequest, MediaSource

#: Short waits between attempts, no early stop when one failure dominates, and timeouts that a busy
#: machine does not reach.
QUICK = FetchOptions(
    wait_scale=0.0005,
    abort_share=1.1,
    timeout_s=60.0,
    allow_private=True,
    ytdlp={"socket_timeout": 20.0},
)


@functools.cache
def tiny_video(colour: str = "red") -> bytes:
    """Return an MP4 of half a second with video and audio, a few kilobytes."""
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"),
        *("-f", "lavfi", "-i", f"color={colour}:s=32x32:r=10:d=0.5"),
        *("-f", "lavfi", "-i", "sine=d=0.5", "-c:a", "aac", "-b:a", "16k"),
        *("-movflags", "frag_keyframe+empty_moov", "-f", "mp4", "pipe:1"),
    ]
    return subprocess.run(command, check=True, capture_output=True).stdout


def make_request(key: str, *, url: str | None = None, whole: str | None = None) -> MediaRequest:
    """Request the clip `key`.

    Args:
        key: The clip's key and file stem.
        url: The clip's own URL.
        whole: The stem of the whole video, in which the clip is [30 s, 40 s).
    """
    names = (MediaName(key), *((MediaName(whole, whole_video=True),) if whole else ()))
    start, end = (30.0, 40.0) if whole else (None, None)
    return MediaRequest(f"toy/{key}", key, key, start, end, names, url)


def make_source(name: str | Path, store: Path, options: FetchOptions = QUICK) -> MediaSource:
    """Open the source `name` of the dataset toy of a store."""
    return open_source(str(name), options, store / "raw" / "toy")


def fetch_urls(
    store: Path, requests: list[MediaRequest], options: FetchOptions = QUICK
) -> list[FetchResult]:
    """Fetch clips from their own addresses."""
    return list(make_source("urls", store, options).fetch(requests))
