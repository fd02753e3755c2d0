"""Measure one random frame and the fbank of every clip: ours, webdataset, the decodes alone."""

import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import webdataset

from avstore.train.data import Augment, BatchSpec, Loader, SampleList
from avstore.train.data.transforms.features import load_npy
from benchmarks.bare_loop import bare_loops
from benchmarks.common import alternately, cpu_of, seconds

# fbank as float32, normalised; and left as it is stored, for the device.
FLOAT = BatchSpec(batch_size=64, frames=1, frame_choice="random", image_size=None, pixels="uint8")
STORED = replace(FLOAT, fbank="device")
TRAINING = BatchSpec(batch_size=64, augment=Augment(crop=True, noise=True))


def decoded(samples: SampleList, shards: list[str]) -> dict[str, float]:
    """Measure frame and fbank on one core, and training batches."""
    found: dict[str, float] = {}
    for name, spec in (("float32", FLOAT), ("as stored", STORED)):
        theirs = partial(stock, shards, widen=spec is FLOAT)
        mine = partial(ours, samples, spec)
        times = alternately(5, partial(seconds, theirs), partial(seconds, mine))
        found[f"frame + fbank {name}: clips/s, one core"] = len(samples) / times[1]
        found[f"frame + fbank {name}: stock webdataset / ours, one core (target 8)"] = (
            times[0] / times[1]
        )
        jpegs = partial(decode_all, frames_of(samples))
        cpu = alternately(5, partial(cpu_of, jpegs), partial(cpu_of, mine))
        found[f"frame + fbank {name}: CPU of ours / of the JPEGs (target 1.4)"] = cpu[1] / cpu[0]
    return found | floor(samples) | training(samples) | own_decode(samples, shards)


def ours(samples: SampleList, spec: BatchSpec, threads: int = 1) -> None:
    """Load one epoch."""
    for _ in Loader(samples, spec, threads=threads):
        pass


def stock(shards: list[str], widen: bool = True) -> None:
    """Load by stock webdataset, which decodes only what is needed."""
    pick = partial(_pick, widen)
    for _ in webdataset.WebDataset(shards, shardshuffle=False).map(pick).batched(64):
        pass


def _pick(widen: bool, sample: dict[str, Any]) -> tuple[Any, Any]:
    frame = sample[f"f{random.randrange(80):03d}.jpg"]
    fbank = load_npy(memoryview(sample["fbank.npy"]))
    return simplejpeg.decode_jpeg(frame), fbank.astype(np.float32) if widen else fbank


def floor(samples: SampleList) -> dict[str, float]:
    """Measure a bare loop, the lower bound for any loader's CPU time."""
    with bare_loops(samples, FLOAT.mean, FLOAT.std) as loops:
        works = (partial(decode_all, frames_of(samples)), *loops)
        alone, stored, widened = alternately(5, *(partial(cpu_of, work) for work in works))
    return {
        "frame + fbank as stored: CPU of a bare loop / of the JPEGs": stored / alone,
        "frame + fbank float32: CPU of a bare loop / of the JPEGs": widened / alone,
    }


def training(samples: SampleList) -> dict[str, float]:
    """Measure STELLA's training batches: four frames cropped to 224 x 224, a noisy fbank."""
    there = replace(TRAINING, fbank="device", pixels="uint8")
    works = [
        partial(ours, samples, TRAINING),
        partial(ours, samples, TRAINING, threads=2),
        partial(ours, samples, there),
        partial(ours, samples, there, threads=2),
    ]
    one, two, left, left_two = alternately(3, *(partial(seconds, work) for work in works))
    return {
        "training batches: clips/s, one core": len(samples) / one,
        "training batches: one thread / two threads": one / two,
        "training batches: all in the worker / fbank and pixels left to the device": one / left,
        "training batches left to the device: one thread / two threads": left / left_two,
    }


def own_decode(samples: SampleList, shards: list[str]) -> dict[str, float]:
    """Measure webdataset's own `.decode()` of every frame, over two shards."""
    first = {shard.path for shard in samples.shards[:2]}
    few = sum(samples.sample(index).shard.path in first for index in range(len(samples)))

    def theirs() -> None:
        dataset = webdataset.WebDataset(shards[:2], shardshuffle=False)
        for _ in dataset.decode("rgb8").batched(64, partial=True):
            pass

    times = alternately(
        1, partial(seconds, theirs), partial(seconds, partial(ours, samples, FLOAT))
    )
    ratio = times[0] / few * len(samples) / times[1]
    return {"frame + fbank: webdataset's own .decode(), all frames / ours": ratio}


def frames_of(samples: SampleList) -> list[bytes]:
    """Return one random frame of every clip, undecoded."""
    chance = random.Random(0)
    found = []
    for index in range(len(samples)):
        sample = samples.sample(index)
        at, size = sample.range(f"f{chance.randrange(sample.frame_count):03d}.jpg")
        with Path(samples.url, sample.shard.path).open("rb") as file:
            file.seek(at)
            found.append(file.read(size))
    return found


def decode_all(frames: list[bytes]) -> None:
    """Decode JPEGs."""
    for frame in frames:
        simplejpeg.decode_jpeg(frame)
