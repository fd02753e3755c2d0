"""Synthesise a panorama: four coloured discs that move around the listener, each with a sound.

A disc's colour is its pitch, and the sound comes from where the disc is: a view of the scene can be
recognised by the sound that is turned to it, and a scene by its colours.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from avstore.datasets.ambisonics import CHANNELS, direction, encode

RATE = 24_000
FPS = 16
WIDTH, HEIGHT = 192, 96
SECONDS = 2.0
COLOURS = ("red", "green", "blue", "yellow", "magenta", "cyan")
_DISCS = 4
_RADIUS = math.radians(30)
_SPREAD = math.radians(15)
_DRIFT = math.radians(40)
_PARTIALS = (0.9, 1.0, 1.12)
_AMPLITUDE = 0.05
_NOISE = 5e-4
_GREY, _GRAIN = 126, 4.0
# Red, green and blue of each colour, in [0, 1].
_RGB = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1))

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Disc:
    """A disc and its sound; angles in radians.

    Attributes:
        colour: Index into `COLOURS`.
        azimuth: Azimuth in the middle of the clip, growing to the left.
        elevation: Elevation.
        drift: Change of the azimuth per second.
        phases: Phases of its tones.
    """

    colour: int
    azimuth: float
    elevation: float
    drift: float
    phases: tuple[float, ...]

    def azimuth_at(self, seconds: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the azimuth at times of the clip."""
        return self.azimuth + self.drift * (np.asarray(seconds) - SECONDS / 2)


@dataclass(frozen=True)
class Panorama:
    """The parameters of one clip.

    Attributes:
        discs: The discs.
        seed: Seed of its noise.
    """

    discs: tuple[Disc, ...]
    seed: int


def draw(seed: int) -> Panorama:
    """Return a random panorama: discs of four colours, about a quarter of a turn apart."""
    rng = np.random.default_rng([seed, 0])
    base = rng.uniform(-math.pi, math.pi)
    colours = rng.choice(len(COLOURS), _DISCS, replace=False)
    discs = (
        Disc(
            colour=int(colour),
            azimuth=float(base + number * math.tau / _DISCS + rng.uniform(-_SPREAD, _SPREAD)),
            elevation=float(rng.uniform(-_SPREAD, _SPREAD)),
            drift=float(rng.uniform(-_DRIFT, _DRIFT)),
            phases=tuple(rng.uniform(0, math.tau, len(_PARTIALS)).tolist()),
        )
        for number, colour in enumerate(colours)
    )
    return Panorama(tuple(discs), seed)


def pitch_hz(colour: int) -> float:
    """Return the middle frequency of a colour's tones, in Hz."""
    return float(300 * 2 ** (0.8 * colour))


def sound(scene: Panorama) -> npt.NDArray[np.int16]:
    """Return the clip's first-order ambisonics (W, Y, Z, X) at 24 kHz, int16 [4, samples]."""
    times = np.arange(int(SECONDS * RATE)) / RATE
    rng = np.random.default_rng([scene.seed, 1])
    field = rng.normal(0, _NOISE, (CHANNELS, len(times)))
    for disc in scene.discs:
        angles = math.tau * pitch_hz(disc.colour) * np.outer(_PARTIALS, times)
        tones = np.sin(angles + np.asarray(disc.phases)[:, None]).sum(axis=0)
        field += encode(_AMPLITUDE * tones, disc.azimuth_at(times), disc.elevation)
    return np.asarray(np.rint(field * 32767), np.int16)


def pictures(scene: Panorama) -> Iterator[Picture]:
    """Yield the clip's frames, 16 per second: planar YUV 4:2:0, uint8 [144, 192], video range."""
    rng = np.random.default_rng([scene.seed, 2])
    luma, chroma = _Grid(WIDTH, HEIGHT), _Grid(WIDTH // 2, HEIGHT // 2)
    for index in range(int(SECONDS * FPS)):
        frame = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
        frame[:HEIGHT] = np.clip(rng.normal(_GREY, _GRAIN, (HEIGHT, WIDTH)), 16, 235)
        planes = frame[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
        for disc in scene.discs:
            azimuth = float(disc.azimuth_at(index / FPS))
            y, cb, cr = _yuv(disc.colour)
            frame[:HEIGHT][luma.near(azimuth, disc.elevation)] = y
            covered = chroma.near(azimuth, disc.elevation)
            planes[0][covered], planes[1][covered] = cb, cr
        yield frame


class _Grid:
    """The directions of the pixels of a plane."""

    def __init__(self, width: int, height: int) -> None:
        columns, rows = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
        self.azimuths = np.array([direction(x, 0)[0] for x in columns])
        self.elevations = np.array([direction(0, y)[1] for y in rows])[:, None]

    def near(self, azimuth: float, elevation: float) -> npt.NDArray[np.bool_]:
        """Return which pixels a disc around a direction covers."""
        up, level = math.sin(elevation), math.cos(elevation)
        cosine = np.sin(self.elevations) * up
        cosine = cosine + np.cos(self.elevations) * level * np.cos(self.azimuths - azimuth)
        covered: npt.NDArray[np.bool_] = cosine > math.cos(_RADIUS)
        return covered


def _yuv(colour: int) -> tuple[int, int, int]:
    """Return a colour as YUV of BT.601 in video range."""
    red, green, blue = _RGB[colour]
    y = 16 + 65.481 * red + 128.553 * green + 24.966 * blue
    cb = 128 - 37.797 * red - 74.203 * green + 112 * blue
    cr = 128 + 112 * red - 93.786 * green - 18.214 * blue
    return round(y), round(cb), round(cr)
