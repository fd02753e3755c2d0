"""What the tests of fetching share: small real media, and clips that want it."""

import functools
import subprocess
from pathlib import Path

import imageio_ffmpeg

from avstore.datasets.spec import MediaName
from avstore.pipelines.fetch.open_source import FetchOptions, open_source
from avstore.pipelines.fetch.source import MediaRequest, MediaSource

#: Waiting times of the policies made short, and no early end for lopsided samples.
QUICK = FetchOptions(
    wait_scale=0.0005, abort_share=1.1, timeout_s=10.0, ytdlp={"socket_timeout": 3.0}
)


@functools.cache
def tiny_video(colour: str = "red") -> bytes:
    """A real MP4 of half a second, picture and sound, a few kilobytes."""
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"),
        *("-f", "lavfi", "-i", f"color={colour}:s=32x32:r=10:d=0.5"),
        *("-f", "lavfi", "-i", "sine=d=0.5", "-c:a", "aac", "-b:a", "16k"),
        *("-movflags", "frag_keyframe+empty_moov", "-f", "mp4", "pipe:1"),
    ]
    return subprocess.run(command, check=True, capture_output=True).stdout


def clip(key: str, *, url: str | None = None, whole: str | None = None) -> MediaRequest:
    """A clip named `key`; whole: also found as the uncut video of this stem, from second 30."""
    names = (MediaName(key), *((MediaName(whole, whole_video=True),) if whole else ()))
    start, end = (30.0, 40.0) if whole else (None, None)
    return MediaRequest(f"toy/{key}", key, key, start, end, names, url)


def source(name: str | Path, store: Path, options: FetchOptions = QUICK) -> MediaSource:
    """The source `name`, fetching into `store`."""
    return open_source(str(name), options, store / "raw" / "toy")
