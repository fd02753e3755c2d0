"""VGGSound: 10 s YouTube clips of 309 sound classes whose source is in the picture.

Source: Chen, Xie, Vedaldi, Zisserman, "VGGSound: A Large-scale Audio-Visual Dataset", ICASSP 2020.
Published as: `vggsound.csv` (YouTube id, start second, label, split; no header; labels with a
comma are quoted) and `test.csv` (`<id>_<start, 6 digits>.mp4,label`, 15,446 rows).
Counts: 309 classes; 15,446 test clips, 49 or 50 a class; about 184,000 train clips, at most
1,050 clips a class. One label a clip. Classes carry one of nine categories, from the authors'
`stat.csv`; class ids are those of the `vgg_0` to `vgg_308` list that CAV-MAE and UAVM use.
Licence: the annotations are CC BY 4.0; the videos belong to their YouTube uploaders.
Known defects: about a fifth of the videos are gone from YouTube; 408 groups of exact duplicates
and about 6,000 clips with a still picture are reported, and some clips are mute or shorter than
10 s. Many videos are also in AudioSet (view `shared_sources`).
"""

import re
from collections.abc import Sequence
from pathlib import Path

from avstore.datasets.clips import MergedClips
from avstore.datasets.lines import Line, RowError, fields_of, parse_rows, require_paths
from avstore.datasets.spec import Annotations, Clip, DatasetSpec, Label, MediaName
from avstore.datasets.vocabulary import Names, load_vocabulary
from avstore.datasets.youtube import clip_names, require_id, whole_second

CLIP_SECONDS = 10.0
_SPLITS = ("train", "test")
_EXPECTED = "rows 'youtube id,start,label,split' or '<id>_<start>.mp4,label'"
_LISTED = re.compile(r"(?P<id>.+)_(?P<start>[0-9]{6})(?:\.[A-Za-z0-9]{2,4})?")
_HEADER = {"label", "labels", "youtube id", "youtube_id", "ytid", "video_id"}


def vocabulary() -> tuple[Label, ...]:
    """The 309 classes; mid `vgg_<k>`, with their category."""
    return load_vocabulary("vggsound_classes.csv")


def parse(paths: Sequence[Path]) -> Annotations:
    """Read any number of VGGSound files, in either published form, into one set of clips.

    A clip that a second file repeats with the same label and split is taken once. Raises
    AnnotationError for a file that cannot be read or of which no row is usable.
    """
    require_paths(paths, _EXPECTED)
    names = Names((label.label, label) for label in vocabulary())
    table = MergedClips()
    for path in paths:
        table.add_file(path, parse_rows(path, lambda line: _clip(line, names)), _EXPECTED)
    return Annotations(clips=table.clips, bad_rows=table.bad_rows)


def _clip(line: Line, names: Names) -> Clip | None:
    row = fields_of(line)
    if line.text.startswith("#") or (line.row == 1 and _HEADER & {f.lower() for f in row}):
        return None
    youtube_id, start_text, label_text, split = _columns(row)
    require_id(youtube_id)
    start = whole_second(start_text)
    if split not in _SPLITS:
        raise RowError(f"split {split!r} is not one of {', '.join(_SPLITS)}")
    label = names.require(label_text)
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
    """Id, start, label and split of a row in either form."""
    if len(row) == 4:
        return row[0], row[1], row[2], row[3]
    if len(row) != 2:
        raise RowError(
            f"{len(row)} columns; 4 are wanted (youtube id, start, label, split) or 2 (file, "
            "label), and a label with a comma in quotes"
        )
    listed = _LISTED.fullmatch(row[0])
    if not listed:
        raise RowError(f"{row[0]!r} is not '<id>_<start, 6 digits>.mp4'")
    return listed["id"], listed["start"], row[1], "test"


def media_names(clip: Clip) -> tuple[MediaName, ...]:
    """File stems in which VGGSound is passed around, best first; the bare id is a whole video."""
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
