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
Label sets: `vggsounder.csv` of VGGSounder (Zverev et al., ICCV 2025) labels 12,014 test clips
again, with several classes each: 29,509 labels, 18,377 of them heard and seen, 10,149 heard, 983
seen. Pass it beside the files above; the view `label_sets` has its labels, and an evaluation takes
them with `--set labels=vggsounder`. It also notes background music, still pictures and voice-over.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from avstore.datasets.clips import MergedClips
from avstore.datasets.lines import (
    Line,
    RowError,
    fields_of,
    is_comment,
    parse_rows,
    read_lines,
    require_paths,
    require_usable,
    spreadsheet_hint,
)
from avstore.datasets.spec import (
    AnnotationError,
    Annotations,
    BadRow,
    Clip,
    ClipLabel,
    DatasetSpec,
    Label,
    MediaName,
)
from avstore.datasets.vocabulary import LabelLookup, load_vocabulary
from avstore.datasets.youtube import clip_names, require_id, whole_second

CLIP_SECONDS = 10.0
VGGSOUNDER = "vggsounder"
_VGGSOUNDER = ("video_id", "label", "modality")
_MODALITIES = {"A": "audio", "V": "visual", "AV": "both"}
_SPLITS = ("train", "test")
_EXPECTED = "rows 'youtube id,start,label,split' or '<id>_<start>.mp4,label'"
_FILE = re.compile(r"(?P<id>.+)_(?P<start>[0-9]{6})(?:\.[A-Za-z0-9]{2,4})?")
_HEADER = {"label", "labels", "youtube id", "youtube_id", "ytid", "video_id"}


def vocabulary() -> tuple[Label, ...]:
    """Return the 309 classes with their mid, `vgg_<k>`, and category."""
    return load_vocabulary("vggsound_classes.csv")


def parse(paths: Sequence[Path]) -> Annotations:
    """Read any number of VGGSound files, in either published form, and VGGSounder's labels.

    A clip that a second file repeats with the same label and split is kept once.

    Raises:
        AnnotationError: A file cannot be read or has no usable row, or there is no file of clips.
    """
    require_paths(paths, _EXPECTED)
    lookup = LabelLookup((label.label, label) for label in vocabulary())
    merged = MergedClips()
    beside = [path for path in paths if _is_vggsounder(path)]
    if len(beside) == len(paths):
        raise AnnotationError(
            f"annotation file {paths[0]} has labels beside VGGSound's own; pass vggsound.csv or "
            "test.csv as well"
        )
    for path in (path for path in paths if path not in beside):
        merged.add_file(path, parse_rows(path, lambda line: _clip(line, lookup)), _EXPECTED)
    known = {clip.key for clip in merged.clips}
    labels = [
        label for path in beside for label in _vggsounder(path, lookup, known, merged.bad_rows)
    ]
    return Annotations(merged.clips, merged.bad_rows, clip_labels=labels)


def _is_vggsounder(path: Path) -> bool:
    first = next((line for line in read_lines(path) if isinstance(line, Line)), None)
    return first is not None and set(_VGGSOUNDER) <= set(re.split(r"[,;\t\"]+", first.text))


def _vggsounder(
    path: Path, lookup: LabelLookup, known: set[str], bad: list[BadRow]
) -> Iterator[ClipLabel]:
    """Yield the labels of a VGGSounder file; every other row goes to `bad`."""
    usable = 0
    columns: list[str] = []
    seen: dict[tuple[str, int], Line] = {}

    def read(line: Line) -> ClipLabel | None:
        row = fields_of(line)
        if not columns:
            columns.extend(row)
            return None
        return _clip_label(row, columns, lookup)

    for parsed in parse_rows(path, read):
        if isinstance(parsed, BadRow):
            bad.append(parsed)
            continue
        label, line = parsed
        usable += 1
        first = seen.setdefault((label.clip_id, label.label_id), line)
        if label.clip_id.partition("/")[2] not in known:
            bad.append(line.bad(f"{label.clip_id!r} is in no list of clips"))
        elif first is not line:
            bad.append(line.bad(f"duplicate of row {first.row}"))
        else:
            yield label
    require_usable(path, usable, bad, f"columns {', '.join(_VGGSOUNDER)}")


def _clip_label(row: list[str], columns: list[str], lookup: LabelLookup) -> ClipLabel:
    if len(row) != len(columns):
        raise RowError(f"{len(row)} columns; expected {len(columns)}: {', '.join(columns)}")
    values = dict(zip(columns, row, strict=True))
    if not _FILE.fullmatch(values["video_id"]):
        hint = spreadsheet_hint(values["video_id"])
        raise RowError(f"{values['video_id']!r} is not '<id>_<start, 6 digits>'{hint}")
    if values["modality"] not in _MODALITIES:
        raise RowError(f"modality {values['modality']!r} is not one of {', '.join(_MODALITIES)}")
    label = lookup.require(values["label"])
    return ClipLabel(
        f"vggsound/{values['video_id']}",
        VGGSOUNDER,
        _MODALITIES[values["modality"]],
        label.label,
        label.label_id,
        {name: values[name].lower() == "true" for name in columns if name not in _VGGSOUNDER},
    )


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
    label_sets=(VGGSOUNDER,),
)
