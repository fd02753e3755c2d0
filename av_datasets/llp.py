"""LLP (Look, Listen and Parse): 11,849 YouTube clips of 10 s with 25 audio-visual events.

Source: Tian, Li, Xu, "Unified Multisensory Perception: Weakly-Supervised Audio-Visual Video
Parsing", ECCV 2020 (AVVP).
Published as: six tab-separated files: `AVVP_train.csv` (10,000 clips), `AVVP_val_pd.csv` (649) and
`AVVP_test_pd.csv` (1,200), together `AVVP_dataset_full.csv`, with the clip's events without
modality or time; and `AVVP_eval_audio.csv` (4,131 rows) and `AVVP_eval_visual.csv` (2,495) with
onset and offset of each event of val and test, in seconds within the clip, half-open. A clip is
`<id>_<start>_<end>`, seconds in the YouTube video; five train clips start at a fraction of a
second, and their keys have `p` in place of the decimal point.
Licence: none stated for the annotations; the repository is GPL-3.0; the videos belong to their
uploaders.
Known defects: each is reported as a bad row. 8 names in the two dense files (25 rows) are in no
list; they are not matched by their first 11 characters, as that would attach one to the wrong
clip. There are 6 empty intervals and 8 duplicate dense rows, and one test row has a label twice.
In 81 of the 1,849 val and test clips the events of the clip are not the union of its dense rows;
both are kept as published.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from avstore.datasets.clips import MergedClips
from avstore.datasets.lines import (
    Line,
    RowError,
    fields_of,
    parse_rows,
    require_paths,
    require_usable,
    spreadsheet_hint,
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
from avstore.datasets.youtube import clip_names

CLIP_SECONDS = 10.0
_SECONDS = r"[0-9]{1,6}(?:\.[0-9]{1,3})?"
_NAME = re.compile(rf"(?P<id>[A-Za-z0-9_-]{{1,64}})_(?P<start>{_SECONDS})_(?P<end>{_SECONDS})")
_WEAK = "tab-separated rows 'filename, event_labels'"
_DENSE = "tab-separated rows 'filename, onset, offset, event_labels'"
_UNASSIGNED = "unassigned"


def vocabulary() -> tuple[Label, ...]:
    """Return the 25 events, in the published index order."""
    return load_vocabulary("llp_classes.csv")


def parse(paths: Sequence[Path]) -> Annotations:
    """Read LLP's weak files (clips) and dense files (segments), identified by their columns.

    The name of a weak file says its split (train, val, test); clips that are only in the full
    list are `unassigned`. The name of a dense file says its modality.

    Raises:
        AnnotationError: A file cannot be read or has no usable row, a dense file's name has no
            modality, or there is no weak file.
    """
    require_paths(paths, f"{_WEAK}, {_DENSE}")
    lookup = LabelLookup((label.label, label) for label in vocabulary())
    weak = [path for path in paths if _modality(path) is None]
    dense = [path for path in paths if path not in weak]
    if not weak:
        raise AnnotationError(
            f"annotation file {paths[0]} has only dense events; pass AVVP_train.csv, "
            "AVVP_val_pd.csv and AVVP_test_pd.csv as well"
        )
    merged = MergedClips()
    for path in sorted(weak, key=lambda path: _split(path) == _UNASSIGNED):
        merged.add_file(path, _clips(path, lookup, merged.bad_rows), _WEAK)
    known = {clip.clip_id for clip in merged.clips}
    segments: list[Segment] = []
    for path in dense:
        segments += _segments(path, lookup, known, merged.bad_rows)
    return Annotations(merged.clips, merged.bad_rows, segments)


def _modality(path: Path) -> str | None:
    """Return audio or visual for a dense file, None for a weak one."""
    header = next((line for line, _ in _lines(path)), [])
    if len(header) != 4:
        return None
    for modality in ("audio", "visual"):
        if modality in path.name.lower():
            return modality
    raise AnnotationError(
        f"annotation file {path} has no modality in its name; use a published name: "
        "AVVP_eval_audio.csv, AVVP_eval_visual.csv"
    )


def _lines(path: Path) -> Iterator[tuple[list[str], Line]]:
    return (row for row in parse_rows(path, _fields) if not isinstance(row, BadRow))


def _fields(line: Line) -> list[str]:
    return fields_of(line, "\t")


def _split(path: Path) -> str:
    words = re.split(r"[^a-z]+", path.stem.lower())
    return next((word for word in ("train", "val", "test") if word in words), _UNASSIGNED)


def _clips(
    path: Path, lookup: LabelLookup, bad: list[BadRow]
) -> Iterable[tuple[Clip, Line] | BadRow]:
    def parse(line: Line) -> Clip | None:
        row = _fields(line)
        if row[0].lower() == "filename":
            return None
        if len(row) != 2:
            raise RowError(f"{len(row)} columns; expected {_WEAK}")
        found = [lookup.require(name.strip()) for name in row[1].split(",")]
        labels = tuple(dict.fromkeys(found))
        if len(labels) < len(found):
            bad.append(line.bad(f"duplicate label in {row[1]!r}; it is kept once"))
        return _clip(row[0], _split(path), labels)

    return parse_rows(path, parse)


def _clip(name: str, split: str, labels: tuple[Label, ...]) -> Clip:
    match = _require_name(name)
    key = _key(name)
    return Clip(
        dataset="llp",
        key=key,
        source_id=match["id"],
        start_s=float(match["start"]),
        end_s=float(match["end"]),
        split=split,
        labels=tuple(label.label for label in labels),
        label_ids=tuple(label.label_id for label in labels),
        extra={} if key == name else {"filename": name},
    )


def _require_name(name: str) -> re.Match[str]:
    match = _NAME.fullmatch(name)
    if not match:
        hint = spreadsheet_hint(name)
        raise RowError(f"filename {name!r} is not '<youtube id>_<start>_<end>'{hint}")
    if float(match["end"]) <= float(match["start"]):
        raise RowError(f"filename {name!r} ends before it starts")
    return match


def _key(name: str) -> str:
    """Return the key of a name: keys have no point, so `101.8` becomes `101p8`."""
    return name.replace(".", "p")


def _segments(
    path: Path, lookup: LabelLookup, known: set[str], bad: list[BadRow]
) -> Iterator[Segment]:
    """Yield the usable events of a dense file; every other row goes to `bad`."""
    modality = str(_modality(path))
    seen: dict[Segment, Line] = {}
    usable = 0
    for row in parse_rows(path, lambda line: _event(line, lookup, modality)):
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        event, line = row
        usable += 1
        if event.clip_id not in known:
            bad.append(line.bad(f"{event.clip_id!r} is in no list of clips"))
        elif event.offset_s <= event.onset_s:
            bad.append(line.bad(f"empty interval {event.onset_s:g} to {event.offset_s:g}"))
        elif event in seen:
            bad.append(line.bad(f"duplicate of row {seen[event].row}"))
        else:
            seen[event] = line
            yield event
    require_usable(path, usable, bad, _DENSE)


def _event(line: Line, lookup: LabelLookup, modality: str) -> Segment | None:
    row = _fields(line)
    if row[0].lower() == "filename":
        return None
    if len(row) != 4:
        raise RowError(f"{len(row)} columns; expected {_DENSE}")
    _require_name(row[0])
    label = lookup.require(row[3])
    onset, offset = (_second(text) for text in row[1:3])
    return Segment(f"llp/{_key(row[0])}", modality, label.label, label.label_id, onset, offset)


def _second(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,2}(?:\.[0-9]{0,6})?", text) or float(text) > CLIP_SECONDS:
        raise RowError(f"{text!r} is not a second from 0 to {CLIP_SECONDS:g}")
    return float(text)


def media_names(clip: Clip) -> tuple[MediaName, ...]:
    """Return the file stems in use for an LLP clip, the best first.

    The clip's own name, the forms of VGGSound and audiosetdl, then the bare YouTube id, which
    here is the cut clip, as the download scripts of AVVP and VALOR write it.
    """
    cut = clip_names(clip.source_id, clip.start_s or 0.0, clip.end_s or CLIP_SECONDS)
    own = MediaName(clip.key)
    rest = [name for name in cut if name.stem not in {own.stem, clip.source_id}]
    return (own, *rest, MediaName(clip.source_id))


LLP = DatasetSpec(
    name="llp",
    title="LLP (Look, Listen and Parse)",
    version="2020",
    licence="annotations without a licence; videos belong to their uploaders",
    homepage="https://github.com/YapengTian/AVVP-ECCV20",
    annotation_urls=tuple(
        f"https://raw.githubusercontent.com/YapengTian/AVVP-ECCV20/master/data/AVVP_{name}.csv"
        for name in ("train", "val_pd", "test_pd", "eval_audio", "eval_visual")
    ),
    parse=parse,
    vocabulary=vocabulary,
    media_names=media_names,
    clip_seconds=CLIP_SECONDS,
    recipe="llp",
    streams=("llp",),
)
