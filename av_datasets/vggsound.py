"""VGGSound: 10 s YouTube clips of 309 sound classes whose source is visible.

Source: Chen, Xie, Vedaldi, Zisserman, "VGGSound: A Large-scale Audio-Visual Dataset", ICASSP 2020.
Published as: `vggsound.csv` (YouTube id, start second, label, split; no header; labels with a
comma are quoted) and `test.csv` (`<id>_<start, 6 digits>.mp4,label`, 15,446 rows).
Counts: 309 classes; 15,446 test clips, 49 or 50 per class; about 184,000 train clips, at most
1,050 clips per class. One label per clip. Each class has one of nine categories, from the authors'
`stat.csv`; class ids are those of the `vgg_0` to `vgg_308` list that CAV-MAE and UAVM use.
Licence: the annotations are CC BY 4.0; the videos belong to their YouTube uploaders.
Known defects: about a fifth of the videos are no longer on YouTube; 408 groups of exact duplicates
and about 6,000 clips with a still picture are reported; some clips are silent or shorter than
10 s. Many videos are also in AudioSet (view `shared_sources`).
"""

import re
from collections.abc import Sequence
from pathlib import Path

from avstore.datasets.clips import MergedClips
from avstore.datasets.lines import (
    Line,
    RowError,
    fields_of,
    is_comment,
    parse_rows,
    require_paths,
)
from avstore.datasets.spec import Annotations, Clip, DatasetSpec, Label, MediaName
from avstore.datasets.vocabulary import LabelLookup, load_vocabulary
from avstore.datasets.youtube import clip_names, require_id, whole_second

CLIP_SECONDS = 10.0
_SPLITS = ("train", "test")
_EXPECTED = "rows 'youtube id,start,label,split' or '<id>_<start>.mp4,label'"
_FILE = re.compile(r"(?P<id>.+)_(?P<start>[0-9]{6})(?:\.[A-Za-z0-9]{2,4})?")
_HEADER = {"label", "labels", "youtube id", "youtube_id", "ytid", "video_id"}


def vocabulary() -> tuple[Label, ...]:
    """Return the 309 classes with their mid, `vgg_<k>`, and category."""
    return load_vocabulary("vggsound_classes.csv")


def parse(paths: Sequence[Path]) -> Annotations:
    """Read any number of VGGSound files, in either published form.

    A clip that a second file repeats with the same label and split is kept once.

    Raises:
        AnnotationError: A file cannot be read or has no usable row.
    """
    require_paths(paths, _EXPECTED)
    lookup = LabelLookup((label.label, label) for label in vocabulary())
    merged = MergedClips()
    for path in paths:
        merged.add_file(path, parse_rows(path, lambda line: _clip(line, lookup)), _EXPECTED)
    return Annotations(merged.clips, merged.bad_rows)


def _clip(line: Line, lookup: LabelLookup) -> Clip | None:
    row = fields_of(line)
    if is_comment(line) or (line.row == 1 and _HEADER & {f.lower() for f in row}):
        return None
    youtube_id, start_text, label_text, split = _columns(row)
    require_id(youtube_id)
    start = whole_second(start_text)
    if split not in _SPLITS:
        raise RowError(f"split {split!r} is not one of {', '.join(_SPLITS)}")
    label = lookup.require(label_text)
    return Clip(
        dataset="vggsound",
        key=f"{youtube_id}_{start:06d}",
        source_id=youtube_id,
        start_s=float(start),
        end_s=start + CLIP_SECONDS,
        split=split,
        labels=(label.label,),
        label_ids=(label.label_id,),
        category=label.category,
    )


def _columns(row: list[str]) -> tuple[str, str, str, str]:
    """Return id, start, label and split of a row in either form."""
    if len(row) == 4:
        return row[0], row[1], row[2], row[3]
    if len(row) != 2:
        raise RowError(
            f"{len(row)} columns; expected 4 (youtube id, start, label, split) or 2 (file, label); "
            "quote a label that has a comma"
        )
    match = _FILE.fullmatch(row[0])
    if not match:
        raise RowError(f"{row[0]!r} is not '<id>_<start, 6 digits>.mp4'")
    return match["id"], match["start"], row[1], "test"


def media_names(clip: Clip) -> tuple[MediaName, ...]:
    """Return the file stems in use for a VGGSound clip; the bare id is the whole video."""
    start = clip.start_s or 0.0
    return clip_names(clip.source_id, start, start + CLIP_SECONDS)


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
    clip_seconds=CLIP_SECONDS,
    streams=("vggsound-8",),
)
