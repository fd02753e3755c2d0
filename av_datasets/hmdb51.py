"""HMDB51: 6,766 video files of 51 actions, with three divisions into train and test.

Source: Kuehne, Jhuang, Garrote, Poggio, Serre, "HMDB: A Large Video Database for Human Motion
Recognition", ICCV 2011.
Published as: `hmdb51_org.rar` with a rar of videos for each class (`<class>/<file>.avi`), and
`test_train_splits.rar` with 153 lists, `<class>_test_split<1, 2 or 3>.txt`, of rows `<file> <0, 1
or 2>`: 1 is train (70 files a class and fold, 3,570 in all), 2 is test (30; 1,530), 0 is unused
(1,666). Unpack all: avstore reads no rar. Pass the folder of the lists as ANNOTATIONS.

Splits: `split` is that of fold 1, `subsets` has all (`fold1_train`, `fold2_test`). A clip that fold
1 does not use has the split `unassigned`; 395 clips are used by no fold. A clip may be trained on
in one fold and tested in another, so select by one fold's subsets. Label ids count from 0 in
alphabetical order.

Keys: file names have up to 116 characters, also ones that no key may have (`!#&()+;@[]~`). A key is
the file's name with `-` for these; one of more than 64 characters is cut and ends in 8 digits of
the name's sha256. `extra.filename` has the name wherever it differs from the key.
Licence: CC BY 4.0 for the database; the clips come from films and YouTube.
Known defects: most files have no sound, so the recipe stores none.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from avstore.datasets.folds import UNASSIGNED, FoldedClips, FoldRow
from avstore.datasets.lines import Line, RowError, parse_rows, require_paths
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

_EXPECTED = "rows '<file>.avi <0, 1 or 2>'"
_LIST = re.compile(r"(?P<label>.+)_test_split(?P<fold>[1-9])")
_ROW = re.compile(r"(?P<name>[^\s./\\]{1,200})\.avi\s+(?P<role>[012])\s*")
_ROLES = {"0": None, "1": "train", "2": "test"}
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_-]")
_KEY_CHARACTERS = 64  # with the suffix of a member below the 100 that a tar header holds
_DIGITS = 8


def vocabulary() -> tuple[Label, ...]:
    """Return the 51 actions in alphabetical order."""
    return load_vocabulary("hmdb51_classes.csv")


def parse(paths: Sequence[Path]) -> Annotations:
    """Read the lists of any classes and folds; their names say which.

    Raises:
        AnnotationError: A file cannot be read, has no usable row or another name than the published
            one.
    """
    require_paths(paths, f"<class>_test_split<fold>.txt of {_EXPECTED}")
    lookup = LabelLookup((label.label, label) for label in vocabulary())
    folded = FoldedClips()
    for path in paths:
        folded.add_file(path, _rows(path, lookup), _EXPECTED)
    return Annotations(folded.clips, folded.bad_rows)


def _rows(path: Path, lookup: LabelLookup) -> Iterable[tuple[FoldRow, Line] | BadRow]:
    name = _LIST.fullmatch(path.stem)
    label = lookup.get(name["label"]) if name else None
    if not name or not label:
        raise AnnotationError(
            f"annotation file {path} has an unknown name; use the published one, such as "
            "brush_hair_test_split1.txt, and leave out other files"
        )
    fold = int(name["fold"])
    return parse_rows(path, lambda line: _row(line, label, fold))


def _row(line: Line, label: Label, fold: int) -> FoldRow:
    match = _ROW.fullmatch(line.text)
    if not match:
        raise RowError(f"not a row of a list; expected {_EXPECTED}")
    return FoldRow(_clip(match["name"], label), fold, _ROLES[match["role"]])


def _clip(name: str, label: Label) -> Clip:
    key = _key(name)
    return Clip(
        dataset="hmdb51",
        key=key,
        source_id=name,
        start_s=None,
        end_s=None,
        split=UNASSIGNED,
        labels=(label.label,),
        label_ids=(label.label_id,),
        extra={} if key == name else {"filename": name},
    )


def _key(name: str) -> str:
    key = _NOT_IN_KEYS.sub("-", name)
    if len(key) <= _KEY_CHARACTERS:
        return key
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
    return f"{key[: _KEY_CHARACTERS - _DIGITS - 1]}-{digest}"


def media_names(clip: Clip) -> tuple[MediaName, ...]:
    """Return the published file's stem."""
    return (MediaName(clip.source_id),)


HMDB51 = DatasetSpec(
    name="hmdb51",
    title="HMDB51",
    version="2011",
    licence="CC BY 4.0 for the database; clips come from films and YouTube",
    homepage="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
    annotation_urls=(),
    parse=parse,
    vocabulary=vocabulary,
    media_names=media_names,
    clip_seconds=0.0,
    recipe="action",
    training="avsa_hmdb51",
    streams=("hmdb51-fold1", "hmdb51-fold2", "hmdb51-fold3"),
)
