"""The class list that all exported lists of one folder share, and CSV text."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avstore.manifests.library import OpenStore
from avstore.manifests.store import StoreError, write_text
from avstore.pipelines.interchange.export_clips import ExportClip

_LABELS = """
SELECT label_id, label, coalesce(mid, label_id::VARCHAR) AS mid, category FROM labels
WHERE dataset = $dataset ORDER BY label_id
"""


@dataclass(frozen=True)
class ClassRow:
    """One row of a class list.

    Attributes:
        label_id: Number of the class in the dataset's vocabulary, column `index`.
        mid: Machine id; the label id as text where the dataset has none.
        display_name: Name, with `_` for the commas of VGGSound's names, as in its published list.
        category: The task that trains the class, or its category in the dataset; '' for none.
    """

    label_id: int
    mid: str
    display_name: str
    category: str


def dataset_classes(store: OpenStore, dataset: str) -> list[ClassRow]:
    """Return all classes of a dataset, by label id."""
    return [
        ClassRow(
            row["label_id"],
            row["mid"],
            row["label"].replace(",", "_") if dataset == "vggsound" else row["label"],
            row["category"] or "",
        )
        for row in store.query(_LABELS, {"dataset": dataset}).rows()
    ]


def write_class_list(path: Path, classes: Sequence[ClassRow], categories: bool = False) -> Path:
    """Write `index,mid,display_name[,category]`, which all lists of the folder share.

    Published code takes a class's number from this file, so one export must not change it for
    the lists of another.

    Args:
        path: The file.
        classes: Its rows.
        categories: Whether to write the column `category`.

    Raises:
        StoreError: The file exists with other classes.
    """
    rows = [[each.label_id, each.mid, each.display_name] for each in classes]
    header = ["index", "mid", "display_name"]
    if categories:
        header.append("category")
        rows = [[*row, each.category] for row, each in zip(rows, classes, strict=True)]
    return write_shared(path, csv_text([header, *rows]), f"{len(rows)} classes")


def write_shared(path: Path, text: str, content: str) -> Path:
    """Write a file that several lists of a folder share, unless it exists with the same text.

    Args:
        path: The file.
        text: Its text.
        content: What it holds, such as `171 classes`, for the error message.

    Raises:
        StoreError: The file exists with another text.
    """
    if path.is_file():
        present = path.read_text(encoding="utf-8", errors="replace")
        if present != text:
            rows = max(present.count("\n") - 1, 0)
            raise StoreError(
                f"{path} exists with {rows} other rows, and this export needs {content}; the "
                "lists beside it use it too, so choose another --out folder, or delete it and "
                "export all lists again"
            )
        return path
    return write_text(path, text)


def one_dataset(clips: Sequence[ExportClip]) -> str:
    """Return the dataset of all clips.

    Raises:
        StoreError: They are of several datasets.
    """
    datasets = sorted({clip.dataset for clip in clips})
    if len(datasets) > 1:
        raise StoreError(
            f"the query has clips of {', '.join(datasets)}, and this format has one label list; "
            "export one dataset at a time"
        )
    return datasets[0]


def require_labels(clips: Sequence[ExportClip]) -> None:
    """Raise StoreError if a clip has no label: published code fails at it, or replaces it."""
    without = [clip.clip_id for clip in clips if not clip.mids]
    if without:
        raise StoreError(
            f"{len(without)} clips have no label, for example {without[0]}, and this format needs "
            "one; leave out clips whose labels are empty"
        )


def csv_text(rows: Iterable[Sequence[object]], delimiter: str = ",") -> str:
    """Return rows as CSV with LF line endings and minimal quoting."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue()
