"""List the clips of YT-360's embedded sample and write them to a folder.

152 panoramas of 2 s with first-order ambisonics, 120 to train on and 32 held out, as the authors of
AVSA would find them on YouTube, and 4 rows with a defect: pictures that are not 2:1, stereo, mono
declared as ambisonic, absent.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from avstore.datasets.sample import panorama
from avstore.datasets.sample.encode import PANORAMA, write_video
from avstore.datasets.sample.folder import (
    Progress,
    SampleFile,
    SamplePaths,
    made_up_id,
    write_folder,
)
from avstore.datasets.spec import Annotations
from avstore.datasets.yt360 import YT360

SCENES = {"train": 120, "test": 32}
BROKEN = ("flat", "stereo", "mono", "absent")


def _parse(paths: Sequence[Path]) -> Annotations:
    """Read YT-360's files; the clips are shorter than its own."""
    found = YT360.parse(paths)
    clips = [replace(clip, end_s=(clip.start_s or 0.0) + panorama.SECONDS) for clip in found.clips]
    return replace(found, clips=clips)


SPATIAL_SAMPLE = replace(
    YT360,
    title="YT-360, embedded sample",
    version="sample",
    licence="made by this project: no rights reserved",
    parse=_parse,
    clip_seconds=panorama.SECONDS,
    recipe="avsa_tiny",
    training="avsa_tiny",
    shard_clips=32,
)


@dataclass(frozen=True)
class SpatialClip:
    """A row of the sample.

    Attributes:
        youtube_id: Id in the form of a YouTube id.
        start: Start second in the imaginary source video.
        split: train or test.
        seed: Seed of its scene.
        defect: The intended defect of its file, one of `BROKEN`, or None.
    """

    youtube_id: str
    start: int
    split: str
    seed: int
    defect: str | None = None

    @property
    def file(self) -> str:
        """File name of the video."""
        return f"{self.youtube_id}-{self.start}{PANORAMA.suffix}"


def spatial_clips() -> list[SpatialClip]:
    """Return all rows: training, held out, with a defect."""
    clips = [
        _clip(f"{split} {number}", split)
        for split, count in SCENES.items()
        for number in range(count)
    ]
    return clips + [replace(_clip(defect, "train"), defect=defect) for defect in BROKEN]


def _clip(name: str, split: str) -> SpatialClip:
    digest = hashlib.sha256(f"panorama {name}".encode()).digest()
    return SpatialClip(made_up_id(digest), digest[15], split, int.from_bytes(digest[16:20], "big"))


def make_spatial_sample(folder: Path, progress: Progress | None = None) -> SamplePaths:
    """Write the sample to a folder (see `write_folder`)."""
    clips = spatial_clips()
    present = [clip for clip in clips if clip.defect != "absent"]
    videos = [SampleFile(clip.file, partial(write_clip, clip)) for clip in present]
    modules = ("panorama.py", "encode.py", "spatial_corpus.py")
    return write_folder(folder, videos, _lists(clips), modules, progress)


def _lists(clips: list[SpatialClip]) -> dict[str, bytes]:
    """Return the annotation files, in YT-360's formats."""
    lines = {"segments": [f"{clip.youtube_id} {clip.start}" for clip in clips]}
    lines |= {name: [c.youtube_id for c in clips if c.split == name] for name in SCENES}
    return {f"{name}.txt": "".join(f"{x}\n" for x in rows).encode() for name, rows in lines.items()}


def write_clip(clip: SpatialClip, path: Path) -> None:
    """Write the video of a row, whose name need not be the row's.

    Args:
        clip: The row, not an absent one.
        path: The file.
    """
    scene = panorama.draw(clip.seed)
    frames, samples, form = panorama.pictures(scene), panorama.sound(scene), PANORAMA
    if clip.defect == "flat":
        form = replace(form, size=(panorama.WIDTH * 2 // 3, panorama.HEIGHT))
        frames = (_cropped(frame) for frame in frames)
    elif clip.defect == "stereo":
        form, samples = replace(form, layout="stereo"), samples[:2]
    elif clip.defect == "mono":
        samples = np.concatenate([samples[:1], np.zeros_like(samples[1:])])
    write_video(path, form, frames, samples)


def _cropped(frame: panorama.Picture) -> panorama.Picture:
    """Return the left two thirds of a planar YUV 4:2:0 frame."""
    height, width = panorama.HEIGHT, panorama.WIDTH
    kept = width * 2 // 3
    chroma = frame[height:].reshape(2, height // 2, width // 2)[..., : kept // 2]
    return np.concatenate([frame[:height, :kept], chroma.reshape(-1, kept)])
