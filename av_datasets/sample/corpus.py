"""List the clips of VGGSound's embedded sample and write them to a folder.

80 good clips of 10 s, 16 VGGSound classes in 4 categories (3 train and 2 test clips per class), and
7 rows with a defect: no audio stream, truncated, no video, too short, silent, still, absent.
"""

import csv
import hashlib
import io
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from avstore.datasets.sample.encode import MP4, STILL_MP4, WEBM, write_video
from avstore.datasets.sample.folder import (
    Progress,
    SampleFile,
    SamplePaths,
    made_up_id,
    write_folder,
)
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
    return SampleClip(made_up_id(digest), digest[15], label, split, scene, suffix)


def make_sample(folder: Path, progress: Progress | None = None) -> SamplePaths:
    """Write the sample to a folder (see `write_folder`)."""
    clips = sample_clips()
    videos = [
        SampleFile(clip.file, partial(_write, clip)) for clip in clips if clip.defect != "absent"
    ]
    modules = ("scene.py", "encode.py", "corpus.py")
    return write_folder(folder, videos, {"vggsound.csv": _csv(clips)}, modules, progress)


def _csv(clips: list[SampleClip]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows((c.youtube_id, c.start, c.label, c.split) for c in clips)
    return text.getvalue().encode()


def _write(clip: SampleClip, path: Path) -> None:
    if clip.defect == "not_a_video":
        path.write_text("<html><body>This video is not available.</body></html>\n")
    else:
        _encode(clip, path)
    if clip.defect == "truncated":
        os.truncate(path, path.stat().st_size // 2)


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
