"""AVE (Audio-Visual Event): 4,097 AudioSet clips of 10 s, each with an event and its interval.

Source: Tian, Shi, Li, Duan, Xu, "Audio-Visual Event Localization in Unconstrained Videos", ECCV
2018.
Published as: `Annotations.txt` (4,143 rows `category&id&quality&start&end`; the copy with the
videos has a header line, the repository's has none), and the split as row numbers from 0 in
`train_order.h5` (3,339), `val_order.h5` (402), `test_order.h5` (402), or the same rows as
`trainSet.txt`, `valSet.txt`, `testSet.txt`. 28 classes, numbered in order of first appearance;
class 28 is background: every second that no row covers. A clip is a video: the rows of one video
are one clip with several labels and segments. start and end are whole seconds within the clip,
half-open. The clip's start in the YouTube video is not published, so media come from the authors'
archive and not from YouTube.
Licence: none stated; the videos belong to their uploaders.
Known defects: 46 videos have a second row, 45 of them with another class. 10 videos are in train
and val, 8 in train and test: `subsets` has every list that contains a video, `split` the first of
test, val, train. One row (Church bell, VWi2ENBuTbw) has an empty interval.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avstore.datasets.lines import (
    Line,
    RowError,
    parse_rows,
    read_bytes,
    require_paths,
    require_usable,
)
from avstore.datasets.spec import (
    AnnotationError,
    Annotations,
    BadRow,
    Clip,
    DatasetSpec,
    Label,
    MediaName,
    Segment,
)
from avstore.datasets.vocabulary import LabelLookup, load_vocabulary
from avstore.datasets.youtube import require_id

CLIP_SECONDS = 10.0
_SPLITS = ("test", "val", "train")
_EXPECTED = "rows 'category&id&quality&start&end'"


@dataclass(frozen=True, slots=True)
class _Row:
    """An annotation row; onset and offset in seconds within the clip, half-open."""

    youtube_id: str
    label: Label
    onset: int
    offset: int


@dataclass
class _Video:
    """The rows of one video, each once, and the (split, row) entries of the published lists."""

    rows: dict[_Row, None] = field(default_factory=dict)
    splits: list[tuple[str, _Row]] = field(default_factory=list)


def vocabulary() -> tuple[Label, ...]:
    """Return the 28 classes, in order of first appearance (the order of the published arrays)."""
    return load_vocabulary("ave_classes.csv")


def parse(paths: Sequence[Path]) -> Annotations:
    """Read AVE's annotation rows, with the split from order files or from set files.

    Without either, every clip has the split `unassigned`.

    Raises:
        AnnotationError: A file cannot be read or has no usable row, or an order file comes
            without the rows that it numbers.
    """
    require_paths(paths, _EXPECTED)
    lookup = LabelLookup((label.label, label) for label in vocabulary())
    bad: list[BadRow] = []
    tables = {path: _rows(path, lookup, bad) for path in paths if path.suffix != ".h5"}
    if not tables:
        raise AnnotationError(
            f"annotation file {paths[0]} has row numbers only; pass Annotations.txt as well"
        )
    videos: dict[str, _Video] = {}
    for path, rows in tables.items():
        for row in filter(None, rows):
            video = videos.setdefault(row.youtube_id, _Video())
            video.rows.setdefault(row)
            if split := _split(path):
                video.splits.append((split, row))
    base = next((rows for path, rows in tables.items() if not _split(path)), None)
    for path in (path for path in paths if path.suffix == ".h5"):
        for row in _ordered(path, base):
            videos[row.youtube_id].splits.append((str(_split(path)), row))
    clips = [_clip(name, video) for name, video in videos.items()]
    return Annotations(clips, bad, [s for name, v in videos.items() for s in _segments(name, v)])


def _split(path: Path) -> str | None:
    match = re.match(r"(train|val|test)", path.stem.lower())
    return match[1] if match else None


def _rows(path: Path, lookup: LabelLookup, bad: list[BadRow]) -> list[_Row | None]:
    """Return the file's rows by position, None for a bad row, so that row numbers stay valid."""
    rows: list[_Row | None] = []
    seen: dict[_Row, int] = {}
    for parsed in parse_rows(path, lambda line: _row(line, lookup)):
        if isinstance(parsed, BadRow):
            bad.append(parsed)
            rows.append(None)
            continue
        row, line = parsed
        rows.append(row)
        if row in seen:
            bad.append(line.bad(f"duplicate of row {seen[row]}"))
        seen.setdefault(row, line.row)
        if row.offset <= row.onset:
            bad.append(line.bad(f"empty interval {row.onset} to {row.offset}: no segment"))
    require_usable(path, len(seen), bad, _EXPECTED)
    return rows


def _row(line: Line, lookup: LabelLookup) -> _Row | None:
    fields = [text.strip() for text in line.text.strip('" ').split("&")]
    if fields[0].lower() == "category":
        return None
    if len(fields) != 5:
        raise RowError(f"{len(fields)} fields between '&'; expected {_EXPECTED}")
    label = lookup.require(fields[0])
    onset, offset = (_second(text) for text in fields[3:])
    if offset < onset:
        raise RowError(f"end {offset} is before start {onset}")
    return _Row(require_id(fields[1]), label, onset, offset)


def _second(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,2}", text) or int(text) > CLIP_SECONDS:
        raise RowError(f"{text!r} is not a whole second from 0 to {CLIP_SECONDS:g}")
    return int(text)


_MAX_ORDER = 1_000_000


def _ordered(path: Path, base: list[_Row | None] | None) -> Iterable[_Row]:
    """Return the rows that an order file lists by number, from 0."""
    import h5py  # noqa: PLC0415 -- slow to import, and only these files need it

    if not _split(path) or base is None:
        raise AnnotationError(
            f"annotation file {path}: expected train_order.h5, val_order.h5 or test_order.h5, "
            "together with Annotations.txt"
        )
    read_bytes(path)
    try:
        with h5py.File(path) as file:
            numbers = [int(number) for number in _own_array(file, h5py)[:]]
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise AnnotationError(f"annotation file {path} has no array 'order': {error}") from error
    if wrong := next((n for n in numbers if not 0 <= n < len(base)), None):
        raise AnnotationError(
            f"annotation file {path} lists row {wrong} of {len(base)}; it belongs to another "
            "version of Annotations.txt"
        )
    return [row for number in numbers if (row := base[number])]


def _own_array(file: Any, h5py: Any) -> Any:
    """Return the array `order`; ValueError if it is large, or links to other files."""
    if not isinstance(file.get("order", getlink=True), h5py.HardLink):
        raise ValueError("'order' is missing or a link")
    array = file["order"]
    if not isinstance(array, h5py.Dataset) or array.external or array.is_virtual:
        raise ValueError("'order' is not stored in this file")
    if array.ndim != 1 or array.size > _MAX_ORDER or array.dtype.kind not in "iuf":
        raise ValueError(f"'order' is not a list of up to {_MAX_ORDER} numbers")
    return array


def _clip(name: str, video: _Video) -> Clip:
    labels = {row.label.label_id: row.label.label for row in video.rows}
    splits = [split for split, _ in video.splits]
    subsets = tuple(split for split in _SPLITS if split in splits)
    return Clip(
        dataset="ave",
        key=name,
        source_id=name,
        start_s=None,
        end_s=None,
        split=subsets[0] if subsets else "unassigned",
        subsets=subsets,
        labels=tuple(labels.values()),
        label_ids=tuple(labels),
        extra={"rows": [_row_facts(row, video) for row in video.rows]},
    )


def _row_facts(row: _Row, video: _Video) -> dict[str, object]:
    """Return a row as the published code uses it: an item of one split's list."""
    splits = sorted({split for split, other in video.splits if other == row})
    return {
        "label": row.label.label,
        "onset": row.onset,
        "offset": row.offset,
        "split": splits[0] if splits else None,
    }


def _segments(name: str, video: _Video) -> Iterable[Segment]:
    return (
        Segment(
            clip_id=f"ave/{name}",
            modality="both",
            label=row.label.label,
            label_id=row.label.label_id,
            onset_s=float(row.onset),
            offset_s=float(row.offset),
        )
        for row in video.rows
        if row.offset > row.onset
    )


def media_names(clip: Clip) -> tuple[MediaName, ...]:
    """Return the file stem in the authors' archive: `AVE_Dataset/AVE/<id>.mp4`, cut to 10 s."""
    return (MediaName(clip.key),)


AVE = DatasetSpec(
    name="ave",
    title="AVE (Audio-Visual Event)",
    version="2018",
    licence="annotations without a licence; videos belong to their uploaders",
    homepage="https://github.com/YapengTian/AVE-ECCV18",
    annotation_urls=tuple(
        f"https://raw.githubusercontent.com/YapengTian/AVE-ECCV18/master/data/{name}"
        for name in ("Annotations.txt", "train_order.h5", "val_order.h5", "test_order.h5")
    ),
    parse=parse,
    vocabulary=vocabulary,
    media_names=media_names,
    clip_seconds=CLIP_SECONDS,
    recipe="ave",
    streams=("ave",),
)
