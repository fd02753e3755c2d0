"""AudioSet: 2.08 million 10 s YouTube segments, labelled with their sounds.

Source: Gemmeke et al., "Audio Set: An ontology and human-labeled dataset for audio events", ICASSP
2017.
Published as: three CSVs of `YTID, start_seconds, end_seconds, positive_labels` after comment
lines; the labels are a quoted list of machine ids.
Counts: as announced in the files, `balanced_train_segments.csv` 22,160 segments,
`eval_segments.csv` 20,371, `unbalanced_train_segments.csv` 2,041,789. 527 classes, several per
clip. The category of a class is the first root of the ontology above it.
Splits: train (subsets `balanced`, `unbalanced`) and eval.
Licence: annotations CC BY 4.0, ontology CC BY-SA 4.0; the videos belong to their uploaders.
Known defects: a copy with whole seconds and other comment lines is in use, with the same clips. The
key holds the start in whole seconds, as 6 digits. 15 to 25 percent of the videos are no longer
available; segments at the end of a video are shorter than 10 s; many videos are also in VGGSound
and AVE (view `shared_sources`).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from avstore.datasets.audioset_table import SegmentTable
from avstore.datasets.clips import ArrowClips
from avstore.datasets.lines import (
    FileColumn,
    Line,
    RowError,
    fields_of,
    is_comment,
    read_lines,
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
)
from avstore.datasets.vocabulary import LabelLookup, load_vocabulary
from avstore.datasets.youtube import clip_names, require_id, second

_EXPECTED = "rows 'YTID, start_seconds, end_seconds, \"positive_labels\"'"
_ANNOUNCED = re.compile(r"num_segs=([0-9]+)")
_FILES = {
    "unbalanced_train": ("train", "unbalanced", 2_041_789),
    "balanced_train": ("train", "balanced", 22_160),
    "eval": ("eval", "eval", 20_371),
}
_MID = re.compile(r"/[a-z]/[A-Za-z0-9_]+(?:\s*,\s*/[a-z]/[A-Za-z0-9_]+)*")
# The usual form of a row; only other rows are read field by field, which is slower.
_USUAL = re.compile(
    r"([A-Za-z0-9_-]{1,64}),\s*([0-9]{1,6}(?:\.[0-9]{0,9})?),\s*([0-9]{1,6}(?:\.[0-9]{0,9})?),"
    r'\s*(?:"([^"]+)"|([^",]+))\s*'
)


def vocabulary() -> tuple[Label, ...]:
    """Return the 527 classes with their mid, `/m/…` or `/t/…`, and root of the ontology."""
    return load_vocabulary("audioset_classes.csv")


def parse(paths: Sequence[Path]) -> Annotations:
    """Read AudioSet's segment files into a table; name or header says which list a file is.

    A file with fewer rows than its header announces gets a bad row that says so.

    Raises:
        AnnotationError: A file cannot be read, is not one of the three lists or has no usable row.
    """
    require_paths(paths, _EXPECTED)
    labels = _LabelLists()
    table = SegmentTable("audioset", vocabulary())
    bad: list[BadRow] = []
    for path in paths:
        split, subset = _split_and_subset(path)
        table.begin_file(str(path), split, subset)
        for row in _rows(path, labels):
            if isinstance(row, BadRow):
                bad.append(row)
            else:
                table.add(*row)
        require_usable(path, table.file_rows, bad, _EXPECTED)
    clips, repeated = table.finish()
    return Annotations(ArrowClips(clips), bad_rows=[*bad, *repeated], table=clips)


def _split_and_subset(path: Path) -> tuple[str, str]:
    """Return split and subset of a file, from its name or from the count in its header."""
    for name, (split, subset, _) in _FILES.items():
        if name in path.name or path.stem.startswith(subset):
            return split, subset
    for line in read_lines(path):
        if isinstance(line, BadRow) or not is_comment(line):
            break
        announced = _ANNOUNCED.search(line.text)
        for split, subset, count in _FILES.values():
            if announced and int(announced[1]) == count:
                return split, subset
    raise AnnotationError(
        f"annotation file {path} is not one of AudioSet's lists by name or header; "
        "use a published name: " + ", ".join(f"{name}_segments.csv" for name in _FILES)
    )


class _LabelLists:
    """Parse label lists, with a cache: the same few hundred thousand strings recur."""

    def __init__(self) -> None:
        self._lookup = LabelLookup((str(label.mid), label) for label in vocabulary())
        self._cache: dict[str, tuple[int, ...]] = {}

    def ids(self, text: str) -> tuple[int, ...]:
        """Return the label ids in the list's order, without duplicates."""
        ids = self._cache.get(text)
        if ids is None:
            mids = [mid.strip() for mid in text.split(",")]
            ids = tuple(dict.fromkeys(self._lookup.require(mid).label_id for mid in mids))
            self._cache[text] = ids
        return ids


def _rows(
    path: Path, labels: _LabelLists
) -> Iterator[tuple[int, str, float, float, tuple[int, ...], str | None] | BadRow]:
    """Yield (row, id, start, end, label ids, file) of each row; a bad row if rows are missing."""
    announced: tuple[int, Line] | None = None
    rows = 0
    column = FileColumn()
    for read in read_lines(path):
        if isinstance(read, BadRow):
            rows += 1
            yield read
            continue
        try:
            line, file = column.take(read)
        except RowError as error:
            rows += 1
            yield read.bad(str(error))
            continue
        if is_comment(line) or line.text.lstrip('" ').startswith("YTID"):
            if match := _ANNOUNCED.search(line.text):
                announced = int(match[1]), line
            continue
        rows += 1
        try:
            yield *(line.row, *_segment(line, labels)), file
        except RowError as error:
            yield line.bad(str(error))
    if announced and announced[0] > rows:
        yield announced[1].bad(
            f"the file announces {announced[0]} segments and has {rows}; it may be truncated: "
            "download it again"
        )


def _segment(line: Line, labels: _LabelLists) -> tuple[str, float, float, tuple[int, ...]]:
    usual = _USUAL.fullmatch(line.text)
    if usual:
        youtube_id, start_text, end_text, quoted, bare = usual.groups()
        start, end = float(start_text), float(end_text)
        mids = quoted or bare
    else:
        row = _rejoined(fields_of(line))
        if len(row) != 4:
            raise RowError(
                f"{len(row)} columns; expected 4 (YTID, start_seconds, end_seconds, "
                "positive_labels); quote a list of labels"
            )
        youtube_id, mids = require_id(row[0]), row[3]
        start, end = second(row[1], "start"), second(row[2], "end")
    if end <= start:
        raise RowError(f"end {end:g} is not after start {start:g}")
    return youtube_id, start, end, labels.ids(mids)


def _rejoined(row: list[str]) -> list[str]:
    """Return a row with its labels in one field, as published.

    The blank before the quote makes spreadsheets take the quotes as text, and each label as a
    column; they also save empty columns at the end.
    """
    labels = [field.strip('" ') for field in row[3:]]
    while labels and not labels[-1]:
        labels.pop()
    return [*row[:3], ",".join(labels)] if all(map(_MID.fullmatch, labels)) and labels else row


def media_names(clip: Clip) -> tuple[MediaName, ...]:
    """Return the file stems in use for an AudioSet clip; the bare id is the whole video."""
    start = clip.start_s or 0.0
    end = start + 10.0 if clip.end_s is None else clip.end_s
    return clip_names(clip.source_id, start, end)


AUDIOSET = DatasetSpec(
    name="audioset",
    title="AudioSet",
    version="2017",
    licence="annotations CC BY 4.0; videos belong to their uploaders",
    homepage="https://research.google.com/audioset/",
    annotation_urls=tuple(
        f"http://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/{name}_segments.csv"
        for name in ("eval", "balanced_train", "unbalanced_train")
    ),
    parse=parse,
    vocabulary=vocabulary,
    media_names=media_names,
    streams=("audioset-7",),
)
