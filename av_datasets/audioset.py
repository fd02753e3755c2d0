"""AudioSet: 2.08 million 10 s YouTube segments, each with the sounds heard in it.

Source: Gemmeke et al., "Audio Set: An ontology and human-labeled dataset for audio events", ICASSP
2017.
Published as: three CSVs of `YTID, start_seconds, end_seconds, positive_labels`, the labels a
quoted list of machine ids, behind comment lines.
Counts: as announced in the files, `balanced_train_segments.csv` 22,160 segments,
`eval_segments.csv` 20,371, `unbalanced_train_segments.csv` 2,041,789. 527 classes, several a clip;
a class's category here is the root of the ontology that it hangs under first.
Splits: train (subsets `balanced`, `unbalanced`) and eval.
Licence: annotations CC BY 4.0, ontology CC BY-SA 4.0; the videos belong to their uploaders.
Known defects: a copy with whole seconds and other comment lines is in use, with the same clips; a
start is written with up to 6 digits in the key, and a fraction of a second is dropped there; 15 to
25 percent of the videos are gone; segments at a video's end are shorter than 10 s; many videos are
also in VGGSound and AVE (view `shared_sources`).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from avstore.datasets.audioset_table import SegmentTable
from avstore.datasets.clips import ArrowClips
from avstore.datasets.lines import (
    Line,
    RowError,
    fields_of,
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
from avstore.datasets.vocabulary import Names, load_vocabulary
from avstore.datasets.youtube import clip_names, require_id, second

_EXPECTED = "rows 'YTID, start_seconds, end_seconds, \"positive_labels\"'"
_ANNOUNCED = re.compile(r"num_segs=([0-9]+)")
_FILES = {
    "unbalanced_train": ("train", "unbalanced", 2_041_789),
    "balanced_train": ("train", "balanced", 22_160),
    "eval": ("eval", "eval", 20_371),
}
# A row as it nearly always is; every other row is read by the field, for its reason.
_USUAL = re.compile(
    r"([A-Za-z0-9_-]{1,64}),\s*([0-9]{1,6}(?:\.[0-9]{0,9})?),\s*([0-9]{1,6}(?:\.[0-9]{0,9})?),"
    r'\s*(?:"([^"]+)"|([^",]+))\s*'
)


def vocabulary() -> tuple[Label, ...]:
    """The 527 classes; mid `/m/…` or `/t/…`, category a root of the ontology."""
    return load_vocabulary("audioset_classes.csv")


def parse(paths: Sequence[Path]) -> Annotations:
    """Read AudioSet's segment files into a table; what each is, is told by its name or its head.

    Raises AnnotationError for a file that cannot be read, that is none of the three, or of which
    no row is usable. A file with fewer rows than it announces gets a bad row that says so.
    """
    require_paths(paths, _EXPECTED)
    labels = _LabelLists()
    table = SegmentTable("audioset", vocabulary())
    bad: list[BadRow] = []
    for path in paths:
        split, subset = _kind(path)
        table.begin_file(str(path), split, subset)
        for row in _rows(path, labels):
            if isinstance(row, BadRow):
                bad.append(row)
            else:
                table.add(*row)
        require_usable(path, table.file_rows, bad, _EXPECTED)
    clips, repeated = table.finish()
    return Annotations(ArrowClips(clips), bad_rows=[*bad, *repeated], table=clips)


def _kind(path: Path) -> tuple[str, str]:
    """Split and subset of a file, from its name, else from the count that it announces."""
    for name, (split, subset, _) in _FILES.items():
        if name in path.name or path.stem.startswith(subset):
            return split, subset
    for line in read_lines(path):
        if isinstance(line, BadRow) or not line.text.startswith("#"):
            break
        announced = _ANNOUNCED.search(line.text)
        for split, subset, count in _FILES.values():
            if announced and int(announced[1]) == count:
                return split, subset
    raise AnnotationError(
        f"annotation file {path}: which AudioSet list is this? Name it as it is published: "
        + ", ".join(f"{name}_segments.csv" for name in _FILES)
    )


class _LabelLists:
    """Label lists as tuples of ids; the same few hundred thousand strings come again and again."""

    def __init__(self) -> None:
        self._names = Names((str(label.mid), label) for label in vocabulary())
        self._known: dict[str, tuple[int, ...]] = {}

    def ids(self, text: str) -> tuple[int, ...]:
        """Ids in the list's order, each once. Raises RowError."""
        found = self._known.get(text)
        if found is None:
            mids = [mid.strip() for mid in text.split(",")]
            found = tuple(dict.fromkeys(self._names.require(mid).label_id for mid in mids))
            self._known[text] = found
        return found


def _rows(
    path: Path, labels: _LabelLists
) -> Iterator[tuple[int, str, float, float, tuple[int, ...]] | BadRow]:
    """(row number, id, start, end, label ids) of each row; at the end, whether rows are missing."""
    announced: tuple[int, Line] | None = None
    rows = 0
    for line in read_lines(path):
        if isinstance(line, BadRow):
            rows += 1
            yield line
            continue
        if line.text.startswith(("#", "YTID")):
            if found := _ANNOUNCED.search(line.text):
                announced = int(found[1]), line
            continue
        rows += 1
        try:
            yield line.row, *_segment(line, labels)
        except RowError as error:
            yield line.bad(str(error))
    if announced and announced[0] > rows:
        yield announced[1].bad(
            f"the file announces {announced[0]} segments and has {rows}; it may be cut off: "
            "download it again"
        )


def _segment(line: Line, labels: _LabelLists) -> tuple[str, float, float, tuple[int, ...]]:
    usual = _USUAL.fullmatch(line.text)
    if usual:
        youtube_id, start_text, end_text, quoted, bare = usual.groups()
        start, end = float(start_text), float(end_text)
        listed = quoted or bare
    else:
        row = fields_of(line)
        if len(row) != 4:
            raise RowError(
                f"{len(row)} columns; 4 are wanted (YTID, start_seconds, end_seconds, "
                "positive_labels), and several labels in quotes"
            )
        youtube_id, listed = require_id(row[0]), row[3]
        start, end = second(row[1], "start"), second(row[2], "end")
    if end <= start:
        raise RowError(f"end {end:g} is not after start {start:g}")
    return youtube_id, start, end, labels.ids(listed)


def media_names(clip: Clip) -> tuple[MediaName, ...]:
    """File stems in which AudioSet is passed around, best first; the bare id is a whole video."""
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
