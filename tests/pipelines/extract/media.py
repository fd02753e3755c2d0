"""Generate test clips with the FFmpeg binary of imageio-ffmpeg, and other helpers."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import psutil

from avstore.pipelines.extract.records import ClipSource
from avstore.pipelines.extract.sandbox import Sandbox


def ffmpeg(*arguments: str | Path, stdin: bytes | None = None) -> bytes:
    """Run FFmpeg and return its standard output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def source(path: Path, offset_s: float = 0.0, duration_s: float = 10.0) -> ClipSource:
    """Return a clip's source."""
    return ClipSource(f"test/{path.stem}", "key", str(path), offset_s, duration_s)


def make_clip(
    path: Path,
    *,
    seconds: float = 10.0,
    size: str = "320x240",
    rate: int = 25,
    video: tuple = ("-c:v", "libx264", "-preset", "veryfast"),
    audio: tuple = ("-c:a", "aac"),
    extra: tuple = (),
) -> Path:
    """Write a moving test picture with a tone that sweeps, and return the path."""
    ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}"),
        *("-f", "lavfi", "-i", f"aevalsrc=0.3*sin(600*t*t):s=44100:d={seconds}"),
        *("-shortest", *video, *audio, *extra, path),
    )
    return path


def worker_cpu_s(sandbox: Sandbox) -> float:
    """Return the CPU seconds of a sandbox's worker; unlike wall time, it ignores other load."""
    if sandbox._worker is None:
        return 0.0
    times = psutil.Process(sandbox._worker._process.pid).cpu_times()
    return times.user + times.system
