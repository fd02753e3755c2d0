"""Generate small clips with PyAV: a moving square and a tone."""

from pathlib import Path

import av
import numpy as np


def make_clip(
    path: Path,
    seconds: float = 10.0,
    *,
    fps: int = 10,
    size: tuple[int, int] = (96, 64),
    tone_hz: float = 440.0,
    audio: bool = True,
    video: bool = True,
    seed: int = 0,
) -> Path:
    """Write a clip whose picture and sound depend on `seed` and `tone_hz`; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as out:
        if video:
            picture = out.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
            picture.width, picture.height, picture.pix_fmt = *size, "yuv420p"
            picture.codec_context.thread_count = 1
        if audio:
            sound = out.add_stream("aac", rate=44100, layout="mono")
        if video:
            _draw(out, picture, int(seconds * fps), size, rng)
        if audio:
            _play(out, sound, seconds, tone_hz)
    return path


def _draw(out, stream, frames: int, size: tuple[int, int], rng) -> None:
    width, height = size
    noise = rng.integers(0, 80, (height, width, 3), dtype=np.uint8)
    for index in range(frames):
        image = noise.copy()
        left = (index * 3) % (width - 16)
        image[8:24, left : left + 16] = (250, 120, 30)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts = index
        for packet in stream.encode(frame):
            out.mux(packet)
    for packet in stream.encode(None):
        out.mux(packet)


def _play(out, stream, seconds: float, tone_hz: float) -> None:
    samples = np.arange(int(seconds * 44100))
    wave = 0.3 * np.sin(2 * np.pi * tone_hz * samples / 44100)
    pcm = (wave * 32767).astype(np.int16)[None]
    for start in range(0, pcm.shape[1], 4410):
        frame = av.AudioFrame.from_ndarray(pcm[:, start : start + 4410], "s16", "mono")
        frame.sample_rate, frame.pts = 44100, start
        for packet in stream.encode(frame):
            out.mux(packet)
    for packet in stream.encode(None):
        out.mux(packet)
