"""One clip of the embedded sample: the same events move a shape and sound a note."""

import os
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, FPS, RATE = 320, 240, 25, 44100
_BASE_HZ = (220.0, 392.0, 698.0, 1244.0)
# Background colours as (U, V), one a family.
_COLOURS = ((150, 100), (100, 150), (160, 160), (100, 100))


@dataclass(frozen=True)
class ClipPlan:
    """What a clip shows and sounds like. defect: how it is broken on purpose, if it is."""

    source_id: str
    start: int
    label: str
    split: str
    shape: int
    colour: int
    timbre: int
    register: int
    seed: int
    container: str
    defect: str | None = None

    @property
    def file_name(self) -> str:
        return f"{self.source_id}_{self.start:06d}.{self.container}"


@dataclass(frozen=True)
class _Events:
    """What happens in a clip. times: seconds; pitch: a factor of the class's base frequency.

    size: 0..1, falls as pitch rises. drift: pixels a second of the shape.
    """

    times: NDArray[np.float64]
    pitch: float
    size: float
    drift: float
    brightness: int


def write_clip(plan: ClipPlan, folder: Path) -> None:
    """Write the clip's file, whole or not at all; the same bytes each time."""
    path = folder / plan.file_name
    if plan.defect == "absent":
        return
    temp = folder / f".{plan.source_id}.tmp.{plan.container}"
    if plan.defect == "not_media":
        temp.write_text("<!doctype html><title>Video unavailable</title>\n" * 40)
    else:
        _encode(plan, temp)
    if plan.defect == "truncated":
        os.truncate(temp, temp.stat().st_size * 55 // 100)
    temp.replace(path)


def _encode(plan: ClipPlan, path: Path) -> None:
    rng = np.random.default_rng(plan.seed)
    seconds = 2.0 if plan.defect == "too_short" else 10.0
    events = _events(plan, rng, seconds)
    webm = plan.container == "webm"
    options = {} if webm else {"movflags": "faststart"}
    with av.open(str(path), "w", options=options) as out:
        if webm:
            video = out.add_stream("libvpx-vp9", rate=FPS)
            video.codec_context.options = {"deadline": "realtime", "cpu-used": "8"}
            video.bit_rate = 300_000
        else:
            video = out.add_stream("libx264", rate=FPS)
            video.codec_context.options = {"preset": "veryfast", "crf": "26"}
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.thread_count = 1
        audio = None
        if plan.defect != "no_audio":
            rate = 48000 if webm else RATE
            audio = out.add_stream("libopus" if webm else "aac", rate=rate, layout="stereo")
        _put_picture(out, video, plan, events, rng, seconds)
        if audio is not None:
            _put_sound(out, audio, _sound(plan, events, rng, seconds, audio.rate), audio.rate)


def _events(plan: ClipPlan, rng: np.random.Generator, seconds: float) -> _Events:
    """A rhythm of the class, varied per clip."""
    period = (0.35 + 0.2 * ((plan.shape + plan.timbre) % 4)) * rng.uniform(0.85, 1.15)
    beats = np.arange(rng.uniform(0.05, 0.4), seconds - 0.1, period)
    kept = beats[rng.random(len(beats)) > 0.25]
    pitch = rng.uniform(0.75, 1.33)
    return _Events(
        times=kept + rng.normal(0, 0.02, len(kept)),
        pitch=pitch,
        size=(1.33 - pitch) / 0.58,
        drift=rng.uniform(-12, 12),
        brightness=int(rng.integers(60, 120)),
    )


def _pulse(events: _Events, at: NDArray[np.float64], decay: float) -> NDArray[np.float64]:
    """How strongly the latest event is felt at each instant, 1 falling to 0."""
    index = np.searchsorted(events.times, at, side="right") - 1
    since = np.where(index >= 0, at - events.times[np.maximum(index, 0)], np.inf)
    return np.exp(-since / decay)


def _put_picture(
    out: av.container.OutputContainer,
    stream: av.VideoStream,
    plan: ClipPlan,
    events: _Events,
    rng: np.random.Generator,
    seconds: float,
) -> None:
    count = int(seconds * FPS)
    texture = rng.normal(0, 10, (HEIGHT // 8, WIDTH // 8)).repeat(8, 0).repeat(8, 1)
    ramp = np.linspace(-15, 15, WIDTH)[None] + np.linspace(-10, 10, HEIGHT)[:, None]
    ground = np.clip(events.brightness + texture + ramp, 16, 235).astype(np.uint8)
    pulses = _pulse(events, np.arange(count) / FPS, 0.18)
    x0, y0 = rng.uniform(110, 210), rng.uniform(95, 145)
    for number in range(count):
        moment = 0 if plan.defect == "still" else number
        x = x0 + events.drift * moment / FPS
        y = y0 - 35 * (0 if plan.defect == "still" else pulses[number])
        radius = 22 + 26 * events.size + 10 * pulses[moment]
        planes = _draw(ground, plan, x, y, radius)
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane, values in zip(frame.planes, planes, strict=True):
            padded = np.zeros((values.shape[0], plane.line_size), np.uint8)
            padded[:, : values.shape[1]] = values
            plane.update(padded.tobytes())
        frame.pts = number
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def _draw(
    ground: NDArray[np.uint8], plan: ClipPlan, x: float, y: float, radius: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """The planes of a frame: the ground in the class's colour, and the class's shape on it."""
    luma = ground.copy()
    u = np.full((HEIGHT // 2, WIDTH // 2), _COLOURS[plan.colour][0], np.uint8)
    v = np.full((HEIGHT // 2, WIDTH // 2), _COLOURS[plan.colour][1], np.uint8)
    dx = np.arange(WIDTH)[None] - x
    dy = np.arange(HEIGHT)[:, None] - y
    inside = _inside(plan.shape, dx, dy, radius)
    luma[inside] = 225
    chroma = inside[::2, ::2]
    u[chroma], v[chroma] = 128, 128
    return luma, u, v


def _inside(
    shape: int, dx: NDArray[np.float64], dy: NDArray[np.float64], radius: float
) -> NDArray[np.bool_]:
    if shape == 0:
        return dx**2 + dy**2 < radius**2
    if shape == 1:
        return (np.abs(dx) < 0.85 * radius) & (np.abs(dy) < 0.85 * radius)
    if shape == 2:
        across = (np.abs(dx) < radius) & (np.abs(dy) < 0.3 * radius)
        down = (np.abs(dx) < 0.3 * radius) & (np.abs(dy) < radius)
        return across | down
    distance = np.sqrt(dx**2 + dy**2)
    return (distance < radius) & (distance > 0.6 * radius)


def _sound(
    plan: ClipPlan, events: _Events, rng: np.random.Generator, seconds: float, rate: int
) -> NDArray[np.int16]:
    """Stereo samples, 2 x n: each event sounds a note of the class's timbre and register."""
    at = np.arange(int(seconds * rate)) / rate
    if plan.defect == "silent":
        return np.zeros((2, len(at)), np.int16)
    hz = _BASE_HZ[plan.register] * events.pitch
    envelope = _pulse(events, at, 0.12)
    wave = _timbre(plan.timbre, hz, at, rng) * envelope
    wave = 0.35 * wave + rng.normal(0, 0.004, len(at))
    pan = np.clip(0.5 + events.drift / 40, 0.2, 0.8)
    both = np.stack([wave * (1 - pan), wave * pan]) * 1.4
    return (np.clip(both, -1, 1) * 32767).astype(np.int16)


def _timbre(
    timbre: int, hz: float, at: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    phase = 2 * np.pi * hz * at
    if timbre == 0:
        return np.sin(phase) + 0.3 * np.sin(2 * phase)
    if timbre == 1:
        return 0.6 * np.sign(np.sin(phase)) + 0.2 * np.sin(3 * phase)
    if timbre == 2:
        return np.sin(phase + 3 * np.sin(2 * np.pi * 7 * at))
    noise = rng.normal(0, 1, len(at))
    return 0.6 * noise * np.sin(phase) + 0.2 * noise


def _put_sound(
    out: av.container.OutputContainer,
    stream: av.AudioStream,
    samples: NDArray[np.int16],
    rate: int,
) -> None:
    packed = np.ascontiguousarray(samples.T).reshape(1, -1)
    step = rate // 10
    for start in range(0, samples.shape[1], step):
        frame = av.AudioFrame.from_ndarray(
            packed[:, 2 * start : 2 * (start + step)], format="s16", layout="stereo"
        )
        frame.sample_rate, frame.pts = rate, start
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))
