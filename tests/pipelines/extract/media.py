"""Clips made on the spot, by the FFmpeg binary that comes in a wheel, and a reference decode."""

import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

from avstore.pipelines.extract.records import ClipSource


def ffmpeg(*arguments: str | Path, stdin: bytes | None = None) -> bytes:
    """Run FFmpeg; its standard output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def source(path: Path, offset_s: float = 0.0, duration_s: float = 10.0) -> ClipSource:
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
    """A moving test picture with a tone that sweeps."""
    ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}"),
        *("-f", "lavfi", "-i", f"aevalsrc=0.3*sin(600*t*t):s=44100:d={seconds}"),
        *("-shortest", *video, *audio, *extra, path),
    )
    return path


def full_decode(path: Path) -> list[tuple[float, np.ndarray]]:
    """Every frame's time (seconds) and luma plane, plainly decoded in order."""
    frames = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        for frame in container.decode(stream):
            plane = frame.planes[0]
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            frames.append((float(frame.pts * stream.time_base), rows[: frame.height].copy()))
    return frames
