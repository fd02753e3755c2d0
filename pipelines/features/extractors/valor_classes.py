"""Read the sentences and thresholds that a teacher uses instead of the published ones."""

import csv
import json
import math
from pathlib import Path

from avstore.manifests.nearest import did_you_mean
from avstore.pipelines.features.extractor import FeatureError
from avstore.pipelines.features.extractors.valor_prompts import VALOR_CLASSES

Classes = tuple[tuple[str, float], ...]
"""Sentence and threshold of each of LLP's classes, in order."""


def published_classes(teacher: str) -> Classes:
    """Return the published sentences and thresholds of a teacher, `clip` or `clap`."""
    return tuple(
        (getattr(each, f"{teacher}_prompt"), getattr(each, f"{teacher}_threshold"))
        for each in VALOR_CLASSES
    )


def classes_text(teacher: str, given: str) -> str:
    """Return the classes that differ from the published ones as JSON, which `read_classes` reads.

    Args:
        teacher: `clip` or `clap`.
        given: A CSV file with the columns label and <teacher>_prompt, <teacher>_threshold or both;
            the text itself; or '' for the published ones.

    Raises:
        FeatureError: The file cannot be used.
    """
    if not given or given.startswith("{"):
        return given
    published = dict(zip((x.label for x in VALOR_CLASSES), published_classes(teacher), strict=True))
    changed = {
        label: own
        for label, own in _rows(Path(given).expanduser(), teacher, published).items()
        if own != published[label]
    }
    return json.dumps(changed, sort_keys=True, ensure_ascii=False) if changed else ""


def read_classes(teacher: str, text: str) -> Classes:
    """Return the sentences and thresholds of a text that `classes_text` gave."""
    changed = json.loads(text or "{}")
    return tuple(
        (changed[each.label][0], float(changed[each.label][1])) if each.label in changed else own
        for each, own in zip(VALOR_CLASSES, published_classes(teacher), strict=True)
    )


def _rows(
    path: Path, teacher: str, published: dict[str, tuple[str, float]]
) -> dict[str, tuple[str, float]]:
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
        if label not in published or label in found:
            what = "twice" if label in found else f"not one of LLP's 25{_near(label, published)}"
            raise FeatureError(f"classes={path}, row {number}: the label {label!r} is {what}")
        text, number_text = (row.get(prompt) or "").strip(), (row.get(threshold) or "").strip()
        own = published[label]
        where = f"classes={path}, row {number}: {threshold}"
        found[label] = (text or own[0], _number(number_text, where) if number_text else own[1])
    return found


def _near(label: object, published: dict[str, tuple[str, float]]) -> str:
    return did_you_mean(str(label), published)


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FeatureError(f"{where} {text!r} is not a number")
    return value
