"""Measure the loader at AVSA's samples beside a plain one: CPU time and bytes of a clip.

    python -m benchmarks.spatial_loader [--folder DIR] [--clips 6] [--samples 6] [--rounds 5]

Panoramas are real clips of the folder AVSTORE_SHARED stretched to 1024 x 512, with their sound
encoded as ambisonics of a source that goes around. The store has them by the recipe `avsa`; the
plain loader reads H.264 (x264's usual distance of key frames, 250 pictures, or --keyframe-every)
and AAC of 48 kHz. A sample is 4 views of 8 pictures of 112 pixels, normalised, and 4 spectra; both
loaders run in this process with one thread of torch, in turns.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import torch

from avstore.datasets.ambisonics import encode
from avstore.train.data import BatchSpec, Loader, SampleList, open_store, sample_list
from avstore.train.data.spatial import SphericalViews, spectra
from benchmarks.common import alternately, cpu_of, table, write
from benchmarks.extract import real_clips
from benchmarks.plain_spatial import PlainLoader

SECONDS, RATE = 10, 48_000
SIZE = "1024:512"


def main() -> None:
    """Measure, print the table, write the JSON."""
    args = _arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        every, chosen = args.keyframe_every, real_clips()[: args.clips]
        names = [panorama(path, n, folder, every) for n, path in enumerate(chosen)]
        found = measure(make_store(folder, names), folder, names, args.samples, args.rounds)
    table("AVSA's samples", ("what", "value"), found.items())
    print(write("spatial_loader", {"clips": len(names), "samples": args.samples, **found}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keeps the made files")
    parser.add_argument("--keyframe-every", type=int, default=250, help="of the plain files")
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--samples", type=int, default=6, help="samples of one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def panorama(source: Path, number: int, folder: Path, keyframe_every: int) -> str:
    """Make a clip's files for both loaders, and return its name."""
    name = f"panorama{number:03d}-0"
    for part in ("whole", "video", "audio"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    whole = folder / "whole" / f"{name}.mkv"
    if whole.exists():
        return name
    video, audio = folder / "video" / f"{name}.mp4", folder / "audio" / f"{name}.m4a"
    x264 = ("-c:v", "libx264", "-crf", "20", "-g", keyframe_every)
    _ffmpeg("-i", source, "-t", SECONDS, "-an", "-vf", f"scale={SIZE},setsar=1", *x264, video)
    raw = ("-f", "f32le", "-ar", RATE, "-ch_layout", "4.0", "-i", "-")
    sound = field(source).T.tobytes()
    _ffmpeg(*raw, "-c:a", "aac", "-b:a", "512k", audio, stdin=sound)
    _ffmpeg("-i", video, *raw, "-c:v", "copy", "-c:a", "flac", whole, stdin=sound)
    return name


def field(source: Path) -> np.ndarray:
    """Return a clip's sound as that of a source that goes around once, float32 [4, n]."""
    with av.open(str(source)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        frames = (part for f in container.decode(audio=0) for part in resampler.resample(f))
        mono = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)[0]
    mono = np.pad(mono[: SECONDS * RATE], (0, max(0, SECONDS * RATE - len(mono))))
    around = np.linspace(0, 2 * np.pi, len(mono))
    noise = np.random.default_rng(0).normal(0, 1e-3, (4, len(mono)))
    return np.asarray(encode(mono / 2, around, 0.2) + noise, np.float32)


def make_store(folder: Path, names: list[str]) -> SampleList:
    """Return the clips in a store of the recipe `avsa`, built unless it is there."""
    ids = [name.partition("-")[0] for name in names]
    (folder / "segments.txt").write_text("".join(f"{x} 0\n" for x in ids))
    (folder / "train.txt").write_text("".join(f"{x}\n" for x in ids))
    store = folder / "store"
    words: list[str | Path] = [
        sys.executable,
        "-m",
        "avstore",
        "build",
        "yt360",
        "--source",
        folder / "whole",
    ]
    lists = f"{folder / 'segments.txt'},{folder / 'train.txt'}"
    subprocess.run([*words, "--annotations", lists, "--store", store], check=True)
    return sample_list(open_store(str(store)), "SELECT clip_id FROM trainable")


def measure(
    samples: SampleList, folder: Path, names: list[str], count: int, rounds: int
) -> dict[str, Any]:
    """Measure both loaders in turns."""
    torch.set_num_threads(1)
    files = [(folder / "video" / f"{n}.mp4", folder / "audio" / f"{n}.m4a") for n in names]
    ours = _avstore(samples, count)
    once, each = (_plain(PlainLoader(files, decode_each=x), count) for x in (False, True))
    works = (ours, once, each)
    for work in works:  # caches, imports
        work()
    mine, decoded_once, decoded_each = alternately(
        rounds, *(lambda work=work: 1000 * cpu_of(work) / count for work in works)
    )
    stored = sum(path.stat().st_size for path in folder.glob("store/shards/yt360/*/*.tar"))
    published = sum(path.stat().st_size for pair in files for path in pair)
    return {
        "avstore, CPU ms a sample": mine,
        "plain, CPU ms a sample": decoded_once,
        "plain, a decode for each view, CPU ms a sample": decoded_each,
        "plain / avstore": decoded_once / mine,
        "plain, a decode for each view / avstore": decoded_each / mine,
        "avstore, samples a second of one core": 1000 / mine,
        "bytes a clip in shards": stored // len(names),
        "bytes a clip of MP4 and M4A": published // len(names),
    }


def _avstore(samples: SampleList, count: int) -> Callable[[], None]:
    spec = BatchSpec(
        min(len(samples), count),
        read=("frames", "waveform"),
        channels=4,
        image_size=None,
        frames=8,
        frame_choice="clip",
        sound_seconds=1.0,
        transform=SphericalViews(views=4, size=112),
    )
    loader = Loader(samples, spec, threads=1)

    def work() -> None:
        done = 0
        while done < count:
            for batch in loader:
                spectra(batch["waveform"], batch.sample_rate)
                done += len(batch)

    return work


def _plain(loader: PlainLoader, count: int) -> Callable[[], None]:
    rng = np.random.default_rng(0)

    def work() -> None:
        found = [loader.sample(number % len(loader.clips), rng) for number in range(count)]
        torch.stack([video for video, _ in found])
        torch.stack([audio for _, audio in found])

    return work


def _ffmpeg(*words: object, stdin: bytes | None = None) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, words)]
    subprocess.run(command, input=stdin, check=True)


if __name__ == "__main__":
    main()
