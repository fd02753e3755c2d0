"""A plain loader of AVSA's samples, after what the published one does; its code was not copied.

For each sample it opens two files, decodes from the key frame before the window, converts pictures
by PIL, gathers each view of each picture in float64, turns the sound, and makes a spectrum of each
channel by NumPy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from avstore.datasets.ambisonics import direction
from avstore.train.data.transforms.ambisonics import rotate, to_front
from avstore.train.data.transforms.frames import IMAGE_MEAN, IMAGE_STD

RATE, FRAMES, PICTURE_RATE, SIZE = 24_000, 8, 16, 112


@dataclass(frozen=True)
class PlainLoader:
    """Loads one sample after the other.

    Attributes:
        clips: For each clip, the file of its pictures and that of its sound.
        views: Views of a sample.
        decode_each: Decode the window once for each view, as the published loader does where views
            have windows of their own; with one window for all (AVSA's setting), it decodes once.
    """

    clips: Sequence[tuple[Path, Path]]
    views: int = 4
    decode_each: bool = False

    def sample(self, number: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return pictures [views, 3, 8, 112, 112] and spectra [views, 4, 100, 128] of a clip."""
        pictures, sound = self.clips[number]
        with av.open(str(pictures)) as video, av.open(str(sound)) as audio:
            stream = video.streams.video[0]
            seconds = float(stream.duration * stream.time_base)
            heard = rng.uniform(0, seconds - 1)
            seen = rng.uniform(heard, heard + 0.5)
            times = self.views if self.decode_each else 1
            frames = [_pictures(video, seen) for _ in range(times)][-1]
            waves = [_sound(audio, heard) for _ in range(times)][-1]
        found = [_view(frames, waves, rng) for _ in range(self.views)]
        return torch.stack([video for video, _ in found]), torch.stack([x for _, x in found])


def _pictures(container: Any, start: float) -> list[Image.Image]:
    stream = container.streams.video[0]
    rate = stream.average_rate
    wanted = [int((start + k / PICTURE_RATE) * rate) for k in range(FRAMES)]
    container.seek(int(start * av.time_base))
    found: list[Image.Image] = []
    for frame in container.decode(stream):
        number = frame.pts * frame.time_base * rate
        if number < wanted[len(found)]:
            continue
        picture = frame.to_image()
        while len(found) < FRAMES and number >= wanted[len(found)]:
            found.append(picture)
        if len(found) == FRAMES:
            break
    return found + [found[-1]] * (FRAMES - len(found))


def _sound(container: Any, start: float) -> np.ndarray:
    resampler = av.AudioResampler(format="s16p", layout="4.0", rate=RATE)
    container.seek(int(start * av.time_base))
    parts, first = [], None
    for frame in container.decode(audio=0):
        begins = frame.pts * frame.time_base
        if begins + Fraction(frame.samples, frame.rate) < start:
            continue
        if begins > start + 1:
            break
        first = begins if first is None else first
        frame.pts = None
        parts += [part.to_ndarray() for part in resampler.resample(frame)]
    skipped = max(0, int((start - float(first or 0)) * RATE))
    waves = np.concatenate(parts, axis=1)[:, skipped : skipped + RATE] / 32767
    return np.pad(waves, ((0, 0), (0, RATE - waves.shape[1])))


def _view(
    frames: Sequence[Image.Image], waves: np.ndarray, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    x, y, width = rng.uniform(), rng.uniform(0.33, 0.66), rng.uniform(0.0707, 0.25)
    ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    where = _places(y, width, 2 * width * ratio)
    pictures = [Image.fromarray(_gather(np.asarray(frame), x, where)) for frame in frames]
    video = torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) for p in pictures], 1)
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in (IMAGE_MEAN, IMAGE_STD))
    turned = rotate(waves, to_front(*direction(x, y), published=True))
    spectra = np.stack([_spectrum(channel) for channel in turned])
    return (video.float() / 255 - mean) / std, torch.from_numpy(spectra)


def _places(y: float, width: float, height: float) -> np.ndarray:
    """Return columns and rows of a view in [0, 1], [2, 112 * 112]."""
    steps = 2 * np.linspace(0, 1, SIZE, endpoint=False) - 1
    across, down = (
        g.ravel() for g in np.meshgrid(steps * math.pi * width, steps * math.pi / 2 * height)
    )
    radius = np.hypot(across, down)
    angle, radius = np.arctan(radius), np.maximum(radius, 1e-4)
    centre = (2 * y - 1) * math.pi / 2
    sine, cosine = np.sin(angle), np.cos(angle)
    latitude = np.arcsin(cosine * math.sin(centre) + down * sine * math.cos(centre) / radius)
    longitude = np.arctan2(
        across * sine, radius * math.cos(centre) * cosine - down * math.sin(centre) * sine
    )
    return np.stack([(longitude / math.pi + 1) / 2, (latitude / (math.pi / 2) + 1) / 2])


def _gather(picture: np.ndarray, x: float, where: np.ndarray) -> np.ndarray:
    """Return one view of one picture, bilinear."""
    height, width, _ = picture.shape
    columns, rows = where[0] % 1 * width, where[1] * height
    flat = np.roll(picture, -int(x * width - width // 2), axis=1).reshape(-1, 3)
    left, top = np.floor(columns).astype(int), np.floor(rows).astype(int)
    total = np.zeros((SIZE * SIZE, 3))
    for right in (0, 1):
        for lower in (0, 1):
            weight = np.abs(1 - right - (columns - left)) * np.abs(1 - lower - (rows - top))
            line = np.minimum(top + lower, height - 1)
            total += flat[line * width + (left + right) % width] * weight[:, None]
    return np.round(total).astype(np.uint8).reshape(SIZE, SIZE, 3)


@cache
def _bands() -> np.ndarray:
    weights = melscale_fbanks(257, 0.0, RATE / 2, 128, RATE, norm="slaney", mel_scale="slaney")
    return np.asarray(weights.numpy())


def _spectrum(wave: np.ndarray) -> np.ndarray:
    """Return the log-mel spectrum of one channel, [100, 128]."""
    padded = np.pad(wave, 256, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::240]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    magnitudes = np.abs(np.fft.rfft(frames * window))[:100]
    decibels = 10 * np.log10(np.maximum(magnitudes @ _bands(), 1e-10))
    return np.asarray(np.maximum(decibels, decibels.max() - 100), np.float32)
