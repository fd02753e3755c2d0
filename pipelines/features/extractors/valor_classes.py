"""Read the sentences and thresholds that a teacher uses instead of its own."""

import csv
import json
import math
from pathlib import Path

from avstore.manifests.nearest import did_you_mean
from avstore.pipelines.features.extractor import FeatureError
from avstore.pipelines.features.extractors.valor_prompts import CLASSES

Classes = tuple[tuple[str, float], ...]
"""Sentence and threshold of each of a dataset's classes, in order."""


def own_classes(dataset: str, teacher: str) -> dict[str, tuple[str, float]]:
    """Return the sentence and threshold of each class that come with a teacher, `clip` or `clap`.

    Raises:
        FeatureError: There are none for the dataset.
    """
    if dataset not in CLASSES:
        raise FeatureError(
            f"dataset={dataset!r} has no sentences and thresholds; choose one of "
            f"{', '.join(CLASSES)}"
        )
    return {
        each.label: (getattr(each, f"{teacher}_prompt"), getattr(each, f"{teacher}_threshold"))
        for each in CLASSES[dataset]
    }


def classes_text(dataset: str, teacher: str, given: str) -> str:
    """Return the classes that differ from the teacher's own as JSON, which `read_classes` reads.

    Args:
        dataset: The dataset, such as `llp`.
        teacher: `clip` or `clap`.
        given: A CSV file with the columns label and <teacher>_prompt, <teacher>_threshold or both;
            the text itself; or '' for the teacher's own.

    Raises:
        FeatureError: The file cannot be used.
    """
    known = own_classes(dataset, teacher)
    if not given or given.startswith("{"):
        return given
    changed = {
        label: row
        for label, row in _rows(Path(given).expanduser(), dataset, teacher).items()
        if row != known[label]
    }
    return json.dumps(changed, sort_keys=True, ensure_ascii=False) if changed else ""


def read_classes(dataset: str, teacher: str, text: str) -> Classes:
    """Return the sentences and thresholds of a text that `classes_text` gave."""
    changed = json.loads(text or "{}")
    pairs = (changed.get(label, own) for label, own in own_classes(dataset, teacher).items())
    return tuple((sentence, float(threshold)) for sentence, threshold in pairs)


def _rows(path: Path, dataset: str, teacher: str) -> dict[str, tuple[str, float]]:
    known = own_classes(dataset, teacher)
    prompt, threshold = f"{teacher}_prompt", f"{teacher}_threshold"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FeatureError(f"classes={path} cannot be read: {error}") from error
    if "label" not in columns or not {prompt, threshold} & set(columns):
        raise FeatureError(
            f"classes={path} has the columns {', '.join(columns) or 'none'}; expected label, and "
            f"{prompt}, {threshold} or both"
        )
    found: dict[str, tuple[str, float]] = {}
    for number, row in enumerate(rows, start=2):
        label = row["label"]
        if label not in known or label in found:
            unknown = f"not one of {class_words(dataset)}{did_you_mean(str(label), known)}"
            what = "twice" if label in found else unknown
            raise FeatureError(f"classes={path}, row {number}: the label {label!r} is {what}")
        text, number_text = (row.get(prompt) or "").strip(), (row.get(threshold) or "").strip()
        own = known[label]
        where = f"classes={path}, row {number}: {threshold}"
        found[label] = (text or own[0], _number(number_text, where) if number_text else own[1])
    return found


def class_words(dataset: str) -> str:
    """Return a dataset's classes in words, for errors: `LLP's 25`."""
    return f"{dataset.upper()}'s {len(CLASSES[dataset])}"


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FeatureError(f"{where} {text!r} is not a number")
    return value
