"""UCF101: 13,320 video files of 101 actions, with three divisions into train and test.

Source: Soomro, Zamir, Shah, "UCF101: A Dataset of 101 Human Actions Classes From Videos in The
Wild", CRCV-TR-12-01, 2012.
Published as: `UCF101.rar` with the videos (`UCF-101/<Class>/v_<Class>_g<group>_c<clip>.avi`, 320 x
240 at 25 pictures a second) and a zip of seven lists: `classInd.txt` (`<number> <Class>`, numbered
from 1), and for each fold `trainlist0N.txt` (`<Class>/<file> <number>`) and `testlist0N.txt`
(`<Class>/<file>`): 9,537 + 3,783, 9,586 + 3,734 and 9,624 + 3,696 files. Unpack both: avstore reads
no rar.

Splits: `split` is that of fold 1, `subsets` has all (`fold1_train`, `fold2_test`). Every clip is in
all three folds, so select by one fold's subsets. Clips of one group come from one video, and no
fold divides a group. Label ids count from 0 in the order of `classInd.txt`, which is alphabetical
without regard to case: Hammering is before HammerThrow.
Licence: none stated; the videos come from YouTube and belong to their uploaders.
Known defects: files of class HandstandPushups are named HandStandPushups; both spellings are found.
Half of the videos have no sound.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from avstore.datasets.folds import UNASSIGNED, FoldedClips, FoldRow
from avstore.datasets.lines import Line, RowError, parse_rows, require_paths, require_usable
from avstore.datasets.spec import (
    AnnotationError,
    Annotations,
    BadRow,
    Clip,
    DatasetSpec,
    Label,
    MediaName,
    check_key,
)
from avstore.datasets.vocabulary import LabelLookup, load_vocabulary

_FOLD = "rows '<Class>/<file>.avi [number]'"
_CLASSES = "rows '<number> <Class>'"
_LIST = re.compile(r"(train|test)list0?([1-9])")
_FILE = re.compile(r"([^/\s]+)/([^/\s]+)\.avi")
_GROUP = re.compile(r"_g([0-9]+)_c[0-9]+")


def vocabulary() -> tuple[Label, ...]:
    """Return the 101 actions, in the order of `classInd.txt`."""
    return load_vocabulary("ucf101_classes.csv")


def parse(paths: Sequence[Path]) -> Annotations:
    """Read the lists of any folds; `classInd.txt` is compared with the vocabulary.

    Raises:
        AnnotationError: A file cannot be read, has no usable row or another name than the published
            one, or there is no list of a fold.
    """
    require_paths(paths, f"trainlist01.txt, testlist01.txt, … of {_FOLD}")
    lookup = LabelLookup((label.label, label) for label in vocabulary())
    folded = FoldedClips()
    lists = [path for path in paths if not _is_class_list(path)]
    for path in paths:
        if _is_class_list(path):
            _check_classes(path, lookup, folded.bad_rows)
        else:
            folded.add_file(path, _rows(path, lookup), _FOLD)
    if not lists:
        raise AnnotationError(
            f"annotation file {paths[0]} has classes only; pass trainlist01.txt and "
            "testlist01.txt as well"
        )
    return Annotations(folded.clips, folded.bad_rows)


def _is_class_list(path: Path) -> bool:
    return path.stem.lower() == "classind"


def _check_classes(path: Path, lookup: LabelLookup, bad: list[BadRow]) -> None:
    """Add the rows of `classInd.txt` that differ from the vocabulary to `bad`."""
    usable = 0
    for row in parse_rows(path, lambda line: _class(line, lookup)):
        if isinstance(row, BadRow):
            bad.append(row)
        else:
            usable += 1
    require_usable(path, usable, bad, _CLASSES)


def _class(line: Line, lookup: LabelLookup) -> Label:
    words = line.text.split()
    if len(words) != 2:
        raise RowError(f"{len(words)} columns; expected {_CLASSES}")
    return _numbered(lookup.require(words[1]), words[0])


def _numbered(label: Label, number: str) -> Label:
    if number != str(label.label_id + 1):
        raise RowError(f"class {label.label} has number {number!r}; expected {label.label_id + 1}")
    return label


def _rows(path: Path, lookup: LabelLookup) -> Iterable[tuple[FoldRow, Line] | BadRow]:
    name = _LIST.match(path.stem.lower())
    if not name:
        raise AnnotationError(
            f"annotation file {path} has an unknown name; use the published one: trainlist01.txt "
            "to testlist03.txt, classInd.txt"
        )
    role, fold = name[1], int(name[2])
    return parse_rows(path, lambda line: FoldRow(_clip(line, lookup), fold, role))


def _clip(line: Line, lookup: LabelLookup) -> Clip:
    file, *number = line.text.split()
    match = _FILE.fullmatch(file)
    if not match or len(number) > 1:
        raise RowError(f"not a row of a list; expected {_FOLD}")
    label = lookup.require(match[1])
    if number:
        _numbered(label, number[0])
    if reason := check_key(match[2]):
        raise RowError(reason)
    group = _GROUP.search(match[2])
    return Clip(
        dataset="ucf101",
        key=match[2],
        source_id=match[2],
        start_s=None,
        end_s=None,
        split=UNASSIGNED,
        labels=(label.label,),
        label_ids=(label.label_id,),
        extra={"group": int(group[1])} if group else {},
    )


def media_names(clip: Clip) -> tuple[MediaName, ...]:
    """Return the published file's stem, then the one with the class as the folder spells it."""
    place = _GROUP.search(clip.key)
    folder = f"v_{clip.labels[0]}{place[0]}" if place else clip.key
    return tuple(MediaName(stem) for stem in dict.fromkeys((clip.key, folder)))


UCF101 = DatasetSpec(
    name="ucf101",
    title="UCF101",
    version="2012",
    licence="none stated; videos belong to their uploaders",
    homepage="https://www.crcv.ucf.edu/research/data-sets/ucf101/",
    annotation_urls=(),
    parse=parse,
    vocabulary=vocabulary,
    media_names=media_names,
    clip_seconds=0.0,
    recipe="action",
    training="avsa_ucf101",
    streams=("ucf101-fold1", "ucf101-fold2", "ucf101-fold3", "ucf101-10"),
)
