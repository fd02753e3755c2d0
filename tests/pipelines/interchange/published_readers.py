"""What published Dataset classes make of an exported list: the files they open and their labels.

Written from how each class reads its files; `test_published_readers.py` holds the results to those
that the classes themselves gave on the same lists.
"""

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avstore.datasets.registry import get

Record = list[Any]

_LLP = [label.label for label in get("llp").vocabulary()]  # in the order of the class


def digest(records: Sequence[Record]) -> tuple[int, str]:
    """Return the number of records and the start of a hash over them."""
    text = "\n".join(json.dumps(record) for record in records)
    return len(records), hashlib.sha256(text.encode()).hexdigest()[:16]


def _rows(path: Path, delimiter: str = ",") -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def stella(home: Path, meta: str, file: str, class_list: str | None) -> list[Record]:
    """Return [vid, frames, audio, [classes, class numbers], category] of a list.

    Columns are named from the right: a first one without a name is the index. A class's number is
    its row in the class list. Retrieval lists (no class list) give the category.
    """
    columns = 5 if "20k" in meta else 6
    numbers: dict[str, int] = {}
    if class_list:
        header, *classes = _rows(home / meta / class_list)
        numbers = {row[header.index("mid")]: place for place, row in enumerate(classes)}
    records: list[Record] = []
    for row in _rows(home / meta / file):
        assert len(row) == columns
        hot = sorted({numbers[mid] for mid in row[4].split(",")}) if class_list else None
        labels = [] if hot is None else [len(numbers), *hot]
        records.append([*row[1:4], labels, "" if class_list else row[5]])
    return records


def _entries(folder: Path) -> tuple[list[dict[str, str]], dict[str, int]]:
    header, *classes = _rows(folder / "class_labels_indices.csv")
    mid, index = header.index("mid"), header.index("index")
    weights = (folder / "clips_weight.csv").read_text().split()
    data = json.loads((folder / "clips.json").read_text())["data"]
    assert len(weights) == len(data)
    return data, {row[mid]: int(row[index]) for row in classes}


def _labels(entry: dict[str, str], numbers: dict[str, int]) -> list[int]:
    return [len(numbers), *sorted({numbers[mid] for mid in entry["labels"].split(",")})]


def cavmae(folder: Path, frame: int) -> list[Record]:
    """Return [audio, picture, [classes, class numbers]] of `clips.json`.

    Paths are opened from the current folder. The evaluation takes frame 5, or the next lower one
    that exists.
    """
    data, numbers = _entries(folder)
    return [
        [e["wav"], f"frame_{frame}/{e['video_id']}.jpg", _labels(e, numbers)]
        for e in data
        if e["video_path"] == "."
    ]


def uavm(folder: Path, *files: str) -> list[Record]:
    """Return the files and labels: `wav` of the audio loader, `afeat` and `vfeat` of the other."""
    data, numbers = _entries(folder)
    return [[*(e[name] for name in files), _labels(e, numbers)] for e in data]


def llp(path: Path, valor: bool) -> list[Record]:
    """Return the feature files, by the first 11 characters of the name, and the labels."""
    header, *rows = _rows(path, "\t")
    assert header == ["filename", "event_labels"]
    folders = ["feats/vggish", "feats/res152", "feats/r2plus1d_18"] + ["pa", "pv"] * valor
    return [
        [
            *(f"{folder}/{name[:11]}.npy" for folder in folders),
            [25, *sorted({_LLP.index(label) for label in labels.split(",")})],
            *([name] if valor else []),
        ]
        for name, labels in rows
    ]
