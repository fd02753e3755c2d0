"""VGGSound: 10-second YouTube clips in which the sound's source is seen.

Published 2020 (Chen, Xie, Vedaldi, Zisserman, "VGGSound: a large-scale audio-visual dataset").
309 classes, one label a clip, about 200,000 clips, split into train and test; the test list has
15,446. A clip is 10 s from a start second. Annotations: `vggsound.csv` (youtube id, start second,
label, split; no header; labels hold commas) and a two-column test list (`<id>_<start>.mp4`, label).
Known defects: a fifth of the videos is gone, some clips are still pictures, mute, or shorter than
10 s; some videos were published twice.
"""

import csv
import difflib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from av_datasets.spec import (
    AnnotationError,
    Annotations,
    BadRow,
    Clip,
    DatasetSpec,
    Label,
    MediaName,
)

SECONDS = 10.0
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FILE = re.compile(r"(?P<id>.+)_(?P<start>\d{6})(\.\w+)?")
_SPLITS = {"train", "test"}


@cache
def vocabulary() -> tuple[Label, ...]:
    """The 309 classes in published order, each with its category."""
    text = files("av_datasets").joinpath("data/vggsound_classes.csv").read_text()
    return tuple(
        Label(int(row["label_id"]), row["label"], row["mid"], row["category"])
        for row in csv.DictReader(text.splitlines())
    )


@cache
def _by_name() -> dict[str, Label]:
    return {label.label: label for label in vocabulary()}


def media_names(clip: Clip) -> tuple[MediaName, ...]:
    """File stems under which VGGSound clips are passed around, the usual one first."""
    start, end = int(clip.start_s or 0), int(clip.end_s or 0)
    return (
        MediaName(clip.key),
        MediaName(f"{clip.source_id}_{start * 1000}_{end * 1000}"),
        MediaName(f"{clip.source_id}_{start}_{end}"),
        MediaName(clip.source_id, whole_video=True),
    )


def parse(paths: Sequence[Path]) -> Annotations:
    """Read annotation files of either form; several files make one list, first mention wins.

    Raises AnnotationError for a file that cannot be read, or that has no usable row.
    """
    clips: dict[str, Clip] = {}
    bad: list[BadRow] = []
    for path in paths:
        before = len(clips)
        repeated = 0
        for number, row, text in _rows(path):
            found = _clip(row)
            if isinstance(found, str):
                if not (number == 1 and _is_header(row)):
                    bad.append(BadRow(path.name, number, found, text))
            elif found.key in clips:
                repeated += 1
                bad.append(BadRow(path.name, number, f"{found.key} is listed already", text))
            else:
                clips[found.key] = found
        if len(clips) == before and not repeated:
            raise AnnotationError(
                f"{path} has no usable row; VGGSound's lists have the columns "
                "'youtube id,start,label,split' or '<id>_<start>.mp4,label'"
                + (f" (row {bad[-1].row}: {bad[-1].reason})" if bad else "")
            )
    return Annotations(tuple(clips.values()), tuple(bad))


def _rows(path: Path) -> Iterator[tuple[int, list[str], str]]:
    """(line number, fields, the line as it stands) of every line that is not empty."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AnnotationError(
            f"annotation file {path} cannot be read: {error.strerror or error}"
        ) from error
    text = content.decode("utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, next(csv.reader([line], skipinitialspace=True)), line[:200]


def _is_header(row: list[str]) -> bool:
    return any(word in row[0].lower() for word in ("id", "video", "file", "#"))


def _clip(row: list[str]) -> Clip | str:
    """The clip of a row, or why it is none."""
    if len(row) == 4:
        source_id, start, label, split = (field.strip() for field in row)
    elif len(row) == 2:
        match = _FILE.fullmatch(row[0].strip())
        if match is None:
            return f"{row[0]!r} is not <youtube id>_<start, 6 digits>.mp4"
        source_id, start, label, split = match["id"], match["start"], row[1].strip(), "test"
    else:
        return f"{len(row)} columns, where VGGSound's lists have 4 (or 2: file, label)"
    return _checked(source_id, start, label, split)


def _checked(source_id: str, start: str, label: str, split: str) -> Clip | str:
    if not _ID.fullmatch(source_id):
        return f"{source_id!r} is not a YouTube id (letters, digits, '-' and '_')"
    if not re.fullmatch(r"\d{1,6}", start):
        return f"start {start!r} is not a whole number of seconds below a million"
    if split not in _SPLITS:
        return f"split {split!r} is neither train nor test"
    known = _by_name().get(label)
    if known is None:
        near = difflib.get_close_matches(label, _by_name(), 1, 0.0)[0]
        return f"label {label!r} is not one of the 309 (the nearest is {near!r})"
    return Clip(
        dataset="vggsound",
        key=f"{source_id}_{int(start):06d}",
        source_id=source_id,
        start_s=float(start),
        end_s=float(start) + SECONDS,
        split=split,
        labels=(known.label,),
        label_ids=(known.label_id,),
        category=known.category,
    )


VGGSOUND = DatasetSpec(
    name="vggsound",
    title="VGGSound",
    version="2020",
    licence="annotations CC BY 4.0; videos belong to their uploaders",
    homepage="https://www.robots.ox.ac.uk/~vgg/data/vggsound/",
    annotation_urls=("https://www.robots.ox.ac.uk/~vgg/data/vggsound/vggsound.csv",),
    parse=parse,
    vocabulary=vocabulary,
    media_names=media_names,
    clip_seconds=SECONDS,
    streams=("vggsound-8",),
)
