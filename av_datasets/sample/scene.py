"""Synthesise a scene: events whose rhythm, pitch and strength are both visible and audible.

A class fixes how an event sounds (timbre, register) and looks (shape, motion, backdrop); a clip
varies rhythm, pitch and strength in both modalities. There are four timbres and four shapes, which
each category combines in another pairing, so that classes of different tasks interfere, while
register and backdrop keep them distinguishable.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

RATE = 44100
FPS = 25
WIDTH, HEIGHT = 320, 240
TIMBRES = ("thump", "tone", "sweep", "noise")
SHAPES = ("disc", "square", "ring", "cross")

Signal = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """The parameters of one clip.

    Attributes:
        timbre: Index into `TIMBRES`.
        shape: Index into `SHAPES`.
        register: Pitch register of the category, 0 (low) to 3 (high).
        backdrop: Pattern of the category, in [0, 1).
        events: Times of the events in seconds, rising.
        semitones: The clip's pitch relative to its class.
        strength: Loudness and brightness of the events, in (0, 1].
        seconds: Length of the clip.
        seed: Seed of its noise.
    """

    timbre: int
    shape: int
    register: int
    backdrop: float
    events: tuple[float, ...]
    semitones: float
    strength: float
    seconds: float
    seed: int

    @property
    def pitch_hz(self) -> float:
        """Fundamental frequency of the events, in Hz."""
        octaves = 1.15 * self.register + 0.25 * self.timbre + self.semitones / 12
        return float(130.0 * 2.0**octaves)

    def first(self, seconds: float) -> "Scene":
        """Return the scene cut to its first seconds."""
        return replace(self, seconds=seconds, events=tuple(t for t in self.events if t < seconds))


def rhythm(rng: np.random.Generator, period_s: float, seconds: float) -> tuple[float, ...]:
    """Return event times about every `period_s` seconds, slightly uneven, from a random start."""
    count = math.ceil(seconds / period_s) + 1
    steps = period_s * (1 + 0.12 * rng.uniform(-1, 1, count))
    times = rng.uniform(0, period_s) + np.concatenate(([0.0], np.cumsum(steps)))
    return tuple(float(t) for t in times if t < seconds)


def sound(scene: Scene) -> npt.NDArray[np.int16]:
    """Return the clip's mono audio at 44.1 kHz, int16 [samples]."""
    rng = np.random.default_rng([scene.seed, 1])
    total = int(scene.seconds * RATE)
    wave = rng.standard_normal(total, dtype=np.float32) * np.float32(0.004)
    gaps = np.diff([*scene.events, scene.seconds])
    for start, gap in zip(scene.events, gaps, strict=True):
        event = _event(scene, float(np.clip(gap, 0.1, 1.2)), rng)
        first = int(start * RATE)
        last = min(total, first + len(event))
        wave[first:last] += event[: last - first] * np.float32(0.6 * scene.strength)
    return np.asarray(np.clip(wave, -1, 1) * 32000, dtype=np.int16)


def _event(scene: Scene, seconds: float, rng: np.random.Generator) -> Signal:
    """Return one event of the scene's timbre, at most `seconds` long, with a peak of about 1."""
    t = np.arange(int(seconds * RATE), dtype=np.float64) / RATE
    hz = scene.pitch_hz
    fade = np.minimum(1.0, (seconds - t) / 0.02)
    if TIMBRES[scene.timbre] == "thump":
        phase = hz * (t + 0.06 * (1 - np.exp(-t / 0.04)))
        wave = np.sin(2 * np.pi * phase) * np.exp(-t / 0.12)
        wave += 0.4 * rng.standard_normal(len(t)) * np.exp(-t / 0.008)
    elif TIMBRES[scene.timbre] == "tone":
        partials = [np.sin(2 * np.pi * k * hz * t) / k for k in (1, 2, 3, 5)]
        wave = 0.5 * sum(partials) * np.minimum(1.0, t / 0.03) * np.exp(-t / (0.5 * seconds))
    elif TIMBRES[scene.timbre] == "sweep":
        length = min(0.3, seconds)
        within = np.mod(t, length) / length
        phase = hz * np.cumsum(1 + within) / RATE
        wave = np.sin(2 * np.pi * phase) * np.sin(np.pi * within) ** 2
    else:
        carrier = np.sin(2 * np.pi * hz * t)
        wave = 0.8 * rng.standard_normal(len(t)) * carrier * np.exp(-t / (0.35 * seconds))
    return (wave * fade).astype(np.float32)


def pictures(scene: Scene, still: bool = False) -> Iterator[Picture]:
    """Yield the clip's frames, 25 per second: planar YUV 4:2:0, uint8 [360, 320], video range."""
    painter = _Painter(scene)
    for index in range(int(scene.seconds * FPS)):
        yield painter.paint(0.0 if still else index / FPS)


class _Painter:
    """Draws the scene's object over its backdrop."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.rng = np.random.default_rng([scene.seed, 2])
        self.centre = self.rng.uniform(-0.15, 0.15, 2)
        self.backdrop = self._make_backdrop()
        octaves = math.log2(scene.pitch_hz / 130.0) / 5
        hue = 2 * math.pi * octaves
        self.chroma = (128 + 85 * math.cos(hue), 128 + 85 * math.sin(hue))
        self.radius = 62 - 34 * octaves

    def _make_backdrop(self) -> Picture:
        """Return a tilted grating of the category with the clip's noise."""
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
        angle = math.pi * self.scene.backdrop
        wave = np.sin((x * math.cos(angle) + y * math.sin(angle)) / (9 + 5 * self.scene.backdrop))
        grain = self.rng.normal(0, 6, (HEIGHT // 4, WIDTH // 4)).repeat(4, 0).repeat(4, 1)
        frame = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)
        frame[:HEIGHT] = np.clip(70 + 22 * wave + grain, 16, 235)
        frame[HEIGHT : HEIGHT * 5 // 4] = int(128 + 40 * math.cos(2 * angle))
        frame[HEIGHT * 5 // 4 :] = int(128 + 40 * math.sin(2 * angle))
        return frame

    def paint(self, t: float) -> Picture:
        """Return the frame at second `t`."""
        scene = self.scene
        since, phase = _since(scene.events, t)
        flash = math.exp(-since / 0.18) * scene.strength
        dx, dy, turn, scale = _motion(scene.shape, phase, flash)
        centre_x = WIDTH * (0.5 + self.centre[0] + 0.25 * dx)
        centre_y = HEIGHT * (0.5 + self.centre[1] + 0.3 * dy)
        frame = self.backdrop.copy()
        luma, cb, cr = frame[:HEIGHT], *frame[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
        radius = self.radius * scale
        mask = _mask(scene.shape, centre_x, centre_y, radius, turn, (HEIGHT, WIDTH))
        luma[mask] = int(110 + 115 * min(1.0, flash))
        half = _mask(
            scene.shape, centre_x / 2, centre_y / 2, radius / 2, turn, (HEIGHT // 2, WIDTH // 2)
        )
        cb[half], cr[half] = (int(value) for value in self.chroma)
        return frame


def _since(events: tuple[float, ...], t: float) -> tuple[float, float]:
    """Return the seconds since the last event, and the phase, 0 to 1, towards the next one."""
    index = int(np.searchsorted(events, t, side="right"))
    if index == 0:
        return 9.0, 0.5
    following = events[index] if index < len(events) else events[-1] + 1.0
    since = t - events[index - 1]
    return since, since / (following - events[index - 1])


def _motion(shape: int, phase: float, flash: float) -> tuple[float, float, float, float]:
    """Return offset x, offset y, turn in radians and scale of an object between two events."""
    bow = 4 * phase * (1 - phase)
    if SHAPES[shape] == "disc":
        return 0.0, 0.5 - bow, 0.0, 1.0
    if SHAPES[shape] == "square":
        return 0.0, 0.0, 0.3 * bow, 0.7 + 0.5 * flash
    if SHAPES[shape] == "ring":
        return math.cos(math.pi * phase), 0.0, 0.0, 1.0
    return 0.0, 0.0, 0.5 * math.pi * (1 - math.exp(-3 * phase)), 1.0 + 0.2 * flash


def _mask(
    shape: int, x: float, y: float, radius: float, turn: float, size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Return which pixels of a plane the object covers, bool [size]."""
    mask = np.zeros(size, bool)
    rows, columns = _reach(y, radius, size[0]), _reach(x, radius, size[1])
    across = (np.arange(size[1], dtype=np.float32)[columns] + np.float32(0.5 - x)) / np.float32(
        radius
    )
    down = (np.arange(size[0], dtype=np.float32)[rows] + np.float32(0.5 - y))[:, None] / np.float32(
        radius
    )
    mask[rows, columns] = _covers(shape, across, down, turn)
    return mask


def _reach(centre: float, radius: float, size: int) -> slice:
    """Return the pixels along one axis that an object may cover, at any turn."""
    reach = 1.5 * radius + 2
    return slice(max(0, int(centre - reach)), max(0, min(size, int(centre + reach))))


def _covers(shape: int, across: Signal, down: Signal, turn: float) -> npt.NDArray[np.bool_]:
    """Return which points the object covers, bool [down, across], in units of its radius."""
    if SHAPES[shape] in {"disc", "ring"}:
        square = across**2 + down**2
        inner = 0.3 if SHAPES[shape] == "ring" else -1.0
        return (square < 1) & (square > inner)
    cos, sin = np.float32(math.cos(turn)), np.float32(math.sin(turn))
    u, v = np.abs(cos * across + sin * down), np.abs(cos * down - sin * across)
    if SHAPES[shape] == "square":
        return np.maximum(u, v) < 0.85
    return (np.minimum(u, v) < 0.3) & (np.maximum(u, v) < 1)
