"""The embedded sample: a small corpus in VGGSound's own format, made on the spot.

80 good clips of 10 s (16 classes in 4 categories, 3 train and 2 test each) and seven that are
broken on purpose. Sound and picture of a class belong together: a shape and a background colour
go with a timbre and a register, and within a clip the same events drive motion and sound, with
pitch and size moving together. The four tasks use the same shapes, colours and timbres in other
pairings, so that what one task teaches interferes with the next.
"""

import csv
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from av_datasets.sample_clip import ClipPlan, write_clip
from av_datasets.vggsound import VGGSOUND

VERSION = "sample 1"
SAMPLE = replace(VGGSOUND, version=VERSION, streams=("sample-4",), shard_clips=16)

_TASKS = (
    ("playing table tennis", "playing badminton", "skateboarding", "basketball bounce"),
    ("playing piano", "playing violin, fiddle", "playing drum kit", "playing flute"),
    ("ambulance siren", "helicopter", "train horning", "car engine knocking"),
    ("dog barking", "frog croaking", "owl hooting", "cricket chirping"),
)
_SPLITS = ("train", "train", "train", "test", "test")
# Products in the field of four elements: they make pairings in which no pair comes twice.
_TIMES_2 = (0, 2, 3, 1)
_TIMES_3 = (0, 3, 1, 2)


@dataclass(frozen=True)
class SamplePaths:
    """Where the sample lies: its annotation file, and its folder of videos."""

    csv: Path
    videos: Path


def make_sample(
    folder: Path, progress: Callable[[int, int], None] | None = None
) -> SamplePaths:
    """Make the sample in `folder` unless it is there; safe to kill and to call again.

    progress: told (clips made, clips in all). Same bytes on every call.
    """
    paths = SamplePaths(folder / "vggsound.csv", folder / "videos")
    mark = folder / "complete"
    plans = list(clip_plans())
    if mark.is_file() and mark.read_text() == VERSION:
        return paths
    paths.videos.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        made = [pool.submit(write_clip, plan, paths.videos) for plan in plans]
        for done, future in enumerate(as_completed(made), 1):
            future.result()
            if progress:
                progress(done, len(plans))
    _write_whole(paths.csv, _csv(plans))
    _write_whole(mark, VERSION)
    return paths


def clip_plans() -> Iterator[ClipPlan]:
    """Every clip of the sample: the good ones, then the broken ones."""
    index = 0
    for task, labels in enumerate(_TASKS):
        for member, label in enumerate(labels):
            for split in _SPLITS:
                yield ClipPlan(
                    source_id=f"sample{index:05d}",
                    start=10 * (index % 7),
                    label=label,
                    split=split,
                    shape=member,
                    colour=member ^ task,
                    timbre=_TIMES_2[member] ^ task,
                    register=_TIMES_3[member] ^ task,
                    seed=index,
                    container="webm" if index % 20 == 7 else "mp4",
                )
                index += 1
    yield from _broken(index)


def _broken(index: int) -> Iterator[ClipPlan]:
    kinds = ("no_audio", "truncated", "not_media", "too_short", "silent", "still", "absent")
    for offset, kind in enumerate(kinds):
        yield ClipPlan(
            source_id=f"broken{index + offset:05d}",
            start=0,
            label=_TASKS[offset % 4][offset // 4],
            split="train",
            shape=offset % 4,
            colour=offset // 2 % 4,
            timbre=offset % 3,
            register=1,
            seed=1000 + offset,
            container="mp4",
            defect=kind,
        )


def _csv(plans: list[ClipPlan]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerows((plan.source_id, plan.start, plan.label, plan.split) for plan in plans)
    return text.getvalue()


def _write_whole(path: Path, text: str) -> None:
    temp = path.with_name(f".{path.name}.tmp")
    temp.write_text(text)
    temp.replace(path)
