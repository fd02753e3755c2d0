"""Generate videos whose frames show their own number, and read it from a picture."""

import io
import subprocess
from collections.abc import Iterable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, GRID = 96, 4
"""A frame has GRID x GRID blocks, light for each bit of its number that is set."""

RATES = {
    "23.976": "24000/1001",
    "24": "24",
    "25": "25",
    "29.97": "30000/1001",
    "30": "30",
    "50": "50",
    "59.94": "60000/1001",
}
VARIABLE = {
    "two-rates": "not(mod(n,3))+gt(t,5)",
    "pauses": "lt(mod(n,37),23)",
    "slower": "lt(t,4)+not(mod(n,7))",
    "random": "gt(random(1),0.5)",
}
"""Expressions of FFmpeg's filter `select`, over 30 frames per second."""


def write_numbered(
    path: Path,
    rate: str,
    seconds: float,
    *,
    select: str = "1",
    keyframes: int = 250,
    video: tuple = ("-c:v", "libx264", "-preset", "veryfast"),
    extra: tuple = (),
    before: tuple = (),
) -> Path:
    """Write a video with sound, and return its path.

    Args:
        path: Where to write it; its ending names the container.
        rate: Frames per second, as a fraction.
        seconds: Length of the video; the sound lasts as long.
        select: The frames to keep; they keep their numbers and times.
        keyframes: Largest distance between keyframes, in frames.
        video: The encoder.
        extra: Further options of the output.
        before: Options of the video as input.
    """
    above, _, below = rate.partition("/")
    count = round(seconds * int(above) / int(below or 1))
    bits = (np.arange(count)[:, None] >> np.arange(GRID * GRID)) & 1
    blocks = (bits.reshape(count, GRID, GRID) * 180 + 40).astype(np.uint8)
    pictures = blocks.repeat(SIDE // GRID, axis=1).repeat(SIDE // GRID, axis=2)
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error"),
        *(*before, "-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{SIDE}x{SIDE}", "-r", rate),
        *("-i", "-", "-f", "lavfi", "-i", f"sine=d={seconds}:r=44100"),
        *("-vf", f"select='{select}',format=yuv420p", "-fps_mode", "vfr", *video),
        *("-g", str(keyframes), *extra, str(path)),
    ]
    subprocess.run(command, input=pictures.tobytes(), check=True)
    return path


def number_of(picture: NDArray[np.uint8]) -> int:
    """Return the number that a picture shows, (height, width) or (height, width, 3)."""
    grey = picture if picture.ndim == 2 else picture.mean(axis=2)
    side = len(grey) // GRID
    centre = slice(side // 4, side - side // 4)
    bits = [
        grey[y * side :, x * side :][centre, centre].mean() > 130
        for y in range(GRID)
        for x in range(GRID)
    ]
    return sum(1 << i for i, bit in enumerate(bits) if bit)


def numbers_of_jpegs(jpegs: Iterable[bytes]) -> list[int]:
    """Return the numbers that JPEG files show."""
    return [number_of(np.asarray(Image.open(io.BytesIO(jpeg)))) for jpeg in jpegs]
