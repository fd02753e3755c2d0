"""What every peer does with a clip's stored bytes: the frames of a job, the fbank, the sound.

Peers run where avstore is not installed, so nothing here imports it.
"""

import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import simplejpeg
import torch

FRAMES, BATCH, MELS, FBANK_FRAMES = 80, 48, 128, 1024
MEAN, STD = np.float32(-5.081), np.float32(4.4849)  # of the fbank
WAVEFORM = 160_000

Fetch = Callable[[str], bytes]
"""Return the bytes of a clip's member by its suffix, such as f007.jpg."""


@dataclass(frozen=True)
class Job:
    """What to load of each clip: how many frames, consecutive or not; the fbank; the sound."""

    frames: int = 0
    consecutive: bool = False
    fbank: bool = False
    waveform: bool = False

    def suffixes(self) -> list[str]:
        """Return the members to read; each call draws other frames."""
        first = random.randrange(FRAMES - self.frames + 1)
        drawn = range(first, first + self.frames)
        if not self.consecutive:
            drawn = sorted(random.sample(range(FRAMES), self.frames))
        names = [f"f{number:03d}.jpg" for number in drawn]
        return [*names, *["fbank.npy"] * self.fbank, *["flac"] * self.waveform]


JOBS = {
    "1 frame + fbank": Job(1, fbank=True),
    "4 frames + fbank": Job(4, fbank=True),
    "80 frames + fbank": Job(80, True, fbank=True),
    "clip of 16 frames": Job(16, True),
    "sound": Job(waveform=True),
}


def decode(job: Job, fetch: Fetch) -> dict[str, torch.Tensor]:
    """Decode what the job needs of one clip: uint8 [T, H, W, 3], float32 [1024, 128], [160000]."""
    pictures, found = [], {}
    for suffix in job.suffixes():
        content = fetch(suffix)
        if suffix == "fbank.npy":
            found["fbank"] = torch.from_numpy(_fbank(content))
        elif suffix == "flac":
            found["waveform"] = torch.from_numpy(_waveform(content))
        else:
            pictures.append(simplejpeg.decode_jpeg(content))
    return found | {"video": torch.from_numpy(np.stack(pictures))} if pictures else found


def _fbank(content: bytes) -> np.ndarray[Any, Any]:
    stored = np.load(io.BytesIO(content))
    padded = np.zeros((FBANK_FRAMES, MELS), np.float32)
    padded[: len(stored)] = (stored[:FBANK_FRAMES].astype(np.float32) - MEAN) / STD
    return padded


def _waveform(content: bytes) -> np.ndarray[Any, Any]:
    with av.open(io.BytesIO(content)) as container:
        parts = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    sound = np.concatenate(parts).astype(np.float32) / 32768
    padded = np.zeros(WAVEFORM, np.float32)
    padded[: len(sound)] = sound[:WAVEFORM]
    return padded


@dataclass(frozen=True)
class Clip:
    """Where a clip's members are: a shard, and the place of each by its suffix."""

    shard: str
    places: dict[str, tuple[int, int]]

    def members(self) -> dict[str, bytes]:
        """Return all members, to write them into another format."""
        with open(self.shard, "rb") as file:
            whole = file.read()
        return {name: whole[at : at + size] for name, (at, size) in self.places.items()}


def read_clips(index: Path) -> list[Clip]:
    """Return the clips of the index that `benchmarks.loader_peers` writes."""
    rows = json.loads(index.read_text())
    return [Clip(row["shard"], {k: (a, b) for k, (a, b) in row["places"].items()}) for row in rows]
