"""AVSBench: clips with a pixel mask of the sounding objects for each second.

Source: Zhou et al., "Audio-Visual Segmentation", ECCV 2022, and "Audio-Visual Segmentation with
Semantics", 2023.
Published as: three sets, which are subsets of this dataset: `s4` (single source, 4,932 clips of 5
s, 23 classes; `s4_meta_data.csv`: name, start_time, category, split), `ms3` (several sources, 424
clips of 5 s; `ms3_meta_data.csv`: video_id, split) and `avss` (semantic, 12,356 clips, 5 or 10 s,
70 classes and background; `metadata.csv`: vid, uid, s_min, s_sec, a_obj, split, label). Lists of
single frames (`<clip>_<k>,label`), as other projects publish them, are read as well. `avss` repeats
the clips of the other two with other masks, so its keys are `avss_<uid>`.
Label ids: 0 to 70 are the published semantic ids (0 background); 101 to 123 the 23 classes of s4.
Masks: `extra.masks` has the seconds (from 0) with a mask, and the path of the masks in the
published folder. In s4 train only the first second has one, as in v1s of avss train; in s4 val and
test and in ms3 all five have one.
Licence: annotations CC BY-NC 4.0, by request to the authors; the videos belong to their uploaders.
Known defects: the masks of ms3 are palette images scaled by 255 (read them as `> 0`); its frames
are named `<clip>.mp4_<k>.png`; colours outside the palette of avss are read as background.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from avstore.datasets.clips import MergedClips
from avstore.datasets.lines import Line, RowError, fields_of, parse_rows, read_lines, require_paths
from avstore.datasets.spec import (
    AnnotationError,
    Annotations,
    BadRow,
    Clip,
    DatasetSpec,
    Label,
    MediaName,
)
from avstore.datasets.vocabulary import LabelLookup, load_vocabulary
from avstore.datasets.youtube import second

_EXPECTED = "s4_meta_data.csv, ms3_meta_data.csv or AVSS's metadata.csv"
_COLUMNS = {
    "s4": ("name", "start_time", "category", "split"),
    "ms3": ("video_id", "split"),
    "avss": ("vid", "uid", "s_min", "s_sec", "a_obj", "split", "label"),
}
_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
_FRAME = re.compile(r"(?P<clip>[A-Za-z0-9_-]{1,128})_(?P<frame>[0-9]{1,2})")
_SPLITS = ("train", "val", "test")
_MASKS = {
    "s4": "s4_data/gt_masks/{split}/{category}/{key}/{key}_{frame}.png",
    "ms3": "ms3_data/gt_masks/{split}/{key}/{key}_{frame}.png",
    "avss": "{kind}/{key}/labels_rgb/{frame}.png",
}


def vocabulary() -> tuple[Label, ...]:
    """Return the 71 semantic labels (category `semantic`) and the 23 of s4 (category `s4`)."""
    return load_vocabulary("avs_classes.csv")


def _lookup(kind: str) -> LabelLookup:
    return LabelLookup((label.label, label) for label in vocabulary() if label.category == kind)


def parse(paths: Sequence[Path]) -> Annotations:
    """Read AVSBench's metadata files, which are identified by their columns.

    Raises:
        AnnotationError: A file cannot be read, is not one of these lists or has no usable row.
    """
    require_paths(paths, _EXPECTED)
    merged = MergedClips()
    for path in paths:
        kind, columns = _set_and_columns(path)
        rows = _frame_clips(path) if kind == "frames" else _clips(path, kind, columns)
        merged.add_file(path, rows, _EXPECTED)
    return Annotations(merged.clips, merged.bad_rows)


def _set_and_columns(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return the set that a file describes, and its columns in order."""
    first = next((line for line in read_lines(path) if isinstance(line, Line)), None)
    try:
        row = fields_of(first) if first else []
    except RowError:
        row = []
    lowered = tuple(name.lower() for name in row)
    for kind, columns in _COLUMNS.items():
        if set(columns) <= set(lowered):
            return kind, lowered
    for kind, columns in _COLUMNS.items():
        if len(row) == len(columns) and any(split in row for split in _SPLITS):
            return kind, columns
    if len(row) == 2 and _FRAME.fullmatch(row[0]):
        return "frames", ()
    raise AnnotationError(
        f"annotation file {path} is not one of AVSBench's: {first.text[:80] if first else ''!r} "
        f"(expected {_EXPECTED})"
    )


def _clips(path: Path, kind: str, columns: tuple[str, ...]) -> Iterator[tuple[Clip, Line] | BadRow]:
    clip_of = {"s4": _s4, "ms3": _ms3, "avss": _avss}[kind]
    lookup = _lookup("s4" if kind == "s4" else "semantic")

    def parse(line: Line) -> Clip | None:
        row = fields_of(line)
        if tuple(field.lower() for field in row) == columns:
            return None
        if len(row) != len(columns):
            raise RowError(f"{len(row)} columns; expected {len(columns)}: {', '.join(columns)}")
        values = dict(zip(columns, row, strict=True))
        if values["split"] not in _SPLITS:
            raise RowError(f"split {values['split']!r} is not one of {', '.join(_SPLITS)}")
        return clip_of(values, lookup)

    return parse_rows(path, parse)


def _s4(row: dict[str, str], lookup: LabelLookup) -> Clip:
    start = second(row["start_time"], "start")
    label = lookup.require(row["category"])
    frames = range(1) if row["split"] == "train" else range(5)
    return _clip(row["name"], "s4", row["split"], (label,), frames, span=(start, start + 5.0))


def _ms3(row: dict[str, str], lookup: LabelLookup) -> Clip:
    return _clip(row["video_id"], "ms3", row["split"], (), range(5))


def _avss(row: dict[str, str], lookup: LabelLookup) -> Clip:
    kind = row["label"]
    seconds = {"v1s": 5, "v1m": 5, "v2": 10}.get(kind)
    if seconds is None:
        raise RowError(f"label {kind!r} is not one of v1s, v1m, v2")
    start = 60 * second(row["s_min"], "s_min") + second(row["s_sec"], "s_sec")
    labels = tuple(lookup.require(name) for name in row["a_obj"].split("_"))
    only_first = kind == "v1s" and row["split"] == "train"
    frames = range(1) if only_first else range(seconds)
    span = (start, start + float(seconds))
    return _clip(row["uid"], "avss", row["split"], labels, frames, span=span, kind=kind)


def _clip(
    name: str,
    subset: str,
    split: str,
    labels: tuple[Label, ...],
    frames: Sequence[int],
    span: tuple[float, float] | None = None,
    kind: str = "",
) -> Clip:
    if not _KEY.fullmatch(name):
        raise RowError(f"clip name {name!r} may contain only letters, digits, '-' and '_'")
    start, end = span or (None, None)
    labels = tuple(dict.fromkeys(labels))
    masks: dict[str, Any] = {
        "seconds": list(frames),
        "path": _MASKS[subset].format(
            split=split,
            category=labels[0].label if labels else "",
            key=name,
            kind=kind,
            frame="{frame}",
        ),
        "first_frame": 0 if subset == "avss" else 1,
    }
    return Clip(
        dataset="avs",
        key=f"avss_{name}" if subset == "avss" else name,
        source_id=name[:11],
        start_s=start,
        end_s=end,
        split=split,
        subsets=(subset, kind) if kind else (subset,),
        labels=tuple(label.label for label in labels),
        label_ids=tuple(label.label_id for label in labels),
        category=labels[0].label if subset == "s4" else None,
        extra={"name": name, "masks": masks},
    )


def _frame_clips(path: Path) -> Iterator[tuple[Clip, Line] | BadRow]:
    """Yield the clips of a list of single frames: `<clip>_<k>,label` or `,"label, label"`."""
    subset = next((s for s in ("ms3", "s4") if s in path.name.lower()), "s4")
    split = next((s for s in _SPLITS if s in path.name.lower()), "test")
    lookup = _lookup("s4" if subset == "s4" else "semantic")
    frames: dict[str, tuple[Line, dict[int, tuple[Label, ...]]]] = {}
    for row in parse_rows(path, lambda line: _frame(line, lookup)):
        if isinstance(row, BadRow):
            yield row
            continue
        (clip, frame, labels), line = row
        known = frames.setdefault(clip, (line, {}))[1]
        if frame in known:
            yield line.bad(f"duplicate frame {frame} of {clip!r}")
        known.setdefault(frame, labels)
    for clip, (line, known) in frames.items():
        labels = tuple(dict.fromkeys(label for found in known.values() for label in found))
        seconds = [frame - 1 for frame in sorted(known)]
        yield _clip(clip, subset, split, labels, seconds), line


def _frame(line: Line, lookup: LabelLookup) -> tuple[str, int, tuple[Label, ...]]:
    row = fields_of(line)
    match = _FRAME.fullmatch(row[0])
    if len(row) != 2 or not match:
        raise RowError("expected '<clip>_<frame>,label'")
    labels = tuple(lookup.require(name.strip()) for name in row[1].split(","))
    return match["clip"], int(match["frame"]), labels


def media_names(clip: Clip) -> tuple[MediaName, ...]:
    """Return the file stem of the authors' raw videos, which are cut to the clip; then the key."""
    return (MediaName(str(clip.extra.get("name", clip.key))), MediaName(clip.key))


AVS = DatasetSpec(
    name="avs",
    title="AVSBench (S4, MS3, AVSS)",
    version="2023",
    licence="annotations CC BY-NC 4.0, by request; videos belong to their uploaders",
    homepage="https://github.com/OpenNLPLab/AVSBench",
    annotation_urls=(),
    parse=parse,
    vocabulary=vocabulary,
    media_names=media_names,
    clip_seconds=5.0,
    recipe="stella",
    streams=("avs",),
)
