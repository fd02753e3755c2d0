"""List the clips of the embedded sample and write them to a folder."""

import base64
import csv
import hashlib
import io
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from avstore.datasets.sample.encode import MP4, STILL_MP4, WEBM, write_video
from avstore.datasets.sample.scene import Scene, pictures, rhythm, sound
from avstore.datasets.vggsound import VGGSOUND

CLASSES = {
    "sports": (
        "basketball bounce",
        "playing table tennis",
        "bowling impact",
        "skateboarding",
    ),
    "music": ("playing drum kit", "playing flute", "playing theremin", "playing harp"),
    "vehicle": (
        "railroad car, train wagon",
        "train horning",
        "ambulance siren",
        "race car, auto racing",
    ),
    "animals": ("woodpecker pecking tree", "owl hooting", "frog croaking", "cricket chirping"),
}
SPLITS = ("train", "train", "train", "test", "test")
BROKEN = ("no_audio", "truncated", "not_a_video", "too_short", "silent", "still", "absent")

SAMPLE = replace(
    VGGSOUND,
    title="VGGSound, embedded sample",
    version="sample",
    licence="made by this project: no rights reserved",
    streams=("sample-4",),
    shard_clips=16,
)


@dataclass(frozen=True)
class SamplePaths:
    """The files of the sample.

    Attributes:
        csv: Its annotation file.
        videos: The folder of its videos.
    """

    csv: Path
    videos: Path


@dataclass(frozen=True)
class SampleClip:
    """A row of the sample.

    Attributes:
        youtube_id: Id in the form of a YouTube id.
        start: Start second in the imaginary source video.
        label: VGGSound class.
        split: train or test.
        scene: What is seen and heard.
        suffix: File extension of the video.
        defect: The intended defect of its file, one of `BROKEN`, or None.
    """

    youtube_id: str
    start: int
    label: str
    split: str
    scene: Scene
    suffix: str
    defect: str | None = None

    @property
    def file(self) -> str:
        """File name of the video."""
        return f"{self.youtube_id}_{self.start:06d}{self.suffix}"


def sample_clips() -> list[SampleClip]:
    """Return all rows in the order of the CSV: by id, as in the published one."""
    clips = []
    classes = [(c, m) for c in range(4) for m in range(4)]
    for number, (category, member) in enumerate(classes):
        label = list(CLASSES.values())[category][member]
        for take, split in enumerate(SPLITS):
            suffix = WEBM.suffix if take == 1 and number % 4 == 3 else MP4.suffix
            clips.append(_clip(label, category, member, take, split, suffix))
    for number, defect in enumerate(BROKEN):
        category, member = number % 4, number // 4
        label = list(CLASSES.values())[category][member]
        clip = _clip(label, category, member, 9, "train", MP4.suffix)
        clips.append(replace(clip, defect=defect))
    return sorted(clips, key=lambda clip: clip.file)


def _clip(label: str, category: int, member: int, take: int, split: str, suffix: str) -> SampleClip:
    digest = hashlib.sha256(f"{label} {take}".encode()).digest()
    seed = int.from_bytes(digest[16:20], "big")
    rng = np.random.default_rng(seed)
    scene = Scene(
        timbre=member,
        shape=(member + category) % 4,
        register=category,
        backdrop=category / 4,
        events=rhythm(rng, float(rng.uniform(0.4, 1.4)), 10.0),
        semitones=float(rng.uniform(-4, 4)),
        strength=float(rng.uniform(0.5, 1)),
        seconds=10.0,
        seed=seed,
    )
    youtube_id = base64.urlsafe_b64encode(digest[:9]).decode()[:11]
    return SampleClip(youtube_id, digest[15], label, split, scene, suffix)


def make_sample(folder: Path, progress: Callable[[int, int], None] | None = None) -> SamplePaths:
    """Write the sample to a folder; files that exist are kept.

    It may be killed at any time and called again: every file appears whole, the CSV last.

    Args:
        folder: Where to write it.
        progress: Called with (videos written, videos in total).

    Raises:
        OSError: The folder cannot be written.
    """
    paths = SamplePaths(csv=folder / "vggsound.csv", videos=folder / "videos")
    clips = sample_clips()
    paths.videos.mkdir(parents=True, exist_ok=True)
    _begin(folder, paths)
    files_wanted = [clip for clip in clips if clip.defect != "absent"]
    todo = [clip for clip in files_wanted if not (paths.videos / clip.file).is_file()]
    done = len(files_wanted) - len(todo)
    if progress:
        progress(done, len(files_wanted))
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for number, _ in enumerate(pool.map(lambda c: _write(c, paths.videos), todo), start=1):
            if progress:
                progress(done + number, len(files_wanted))
    if todo or not paths.csv.is_file():
        _commit(paths.csv, _csv(clips))
    return paths


def _version() -> str:
    """Return the sha256 of the code that creates the sample: other code may write other videos."""
    names = ("scene.py", "encode.py", "corpus.py")
    here = files("avstore.datasets.sample")
    return hashlib.sha256(b"".join(here.joinpath(n).read_bytes() for n in names)).hexdigest()


def _begin(folder: Path, paths: SamplePaths) -> None:
    """Remove the sample of another version, and temporary files of a killed run."""
    marker, version = folder / "VERSION", _version()
    if not marker.is_file() or marker.read_text() != version:
        paths.csv.unlink(missing_ok=True)
        shutil.rmtree(paths.videos)
        paths.videos.mkdir()
        _commit(marker, version.encode())
    for temp in paths.videos.glob(".*.tmp"):
        temp.unlink()


def _csv(clips: list[SampleClip]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows((c.youtube_id, c.start, c.label, c.split) for c in clips)
    return text.getvalue().encode()


def _commit(path: Path, data: bytes) -> None:
    temp = path.with_name(f".{path.name}.tmp")
    temp.write_bytes(data)
    _publish(temp, path)


def _publish(temp: Path, path: Path) -> None:
    """Sync a finished file to disk, then rename it."""
    with temp.open("rb+") as file:
        os.fsync(file.fileno())
    temp.replace(path)


def _write(clip: SampleClip, videos: Path) -> None:
    temp = videos / f".{clip.file}.tmp"
    if clip.defect == "not_a_video":
        temp.write_text("<html><body>This video is not available.</body></html>\n")
    else:
        _encode(clip, temp)
    if clip.defect == "truncated":
        os.truncate(temp, temp.stat().st_size // 2)
    _publish(temp, videos / clip.file)


def _encode(clip: SampleClip, path: Path) -> None:
    scene = clip.scene.first(2.0) if clip.defect == "too_short" else clip.scene
    samples = sound(scene)
    if clip.defect == "silent":
        samples = np.zeros_like(samples)
    form = WEBM if clip.suffix == WEBM.suffix else MP4
    if clip.defect == "still":
        form = STILL_MP4
    write_video(
        path,
        form,
        pictures(scene, still=clip.defect == "still"),
        None if clip.defect == "no_audio" else samples,
    )
