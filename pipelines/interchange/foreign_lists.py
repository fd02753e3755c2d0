"""Read third-party lists as annotation files: JSON of CAV-MAE and UAVM, CSV of STELLA and FLAVA."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from avstore.datasets.clips import MergedClips
from avstore.datasets.lines import Line, RowError, fields_of, parse_rows, read_bytes, require_paths
from avstore.datasets.spec import AnnotationError, Annotations, BadRow, Clip, DatasetSpec
from avstore.datasets.vocabulary import LabelLookup
from avstore.datasets.youtube import require_id

_SIX_DIGITS = re.compile(r"(?P<id>.+)_(?P<start>[0-9]{6})")
_MILLISECONDS = re.compile(r"(?P<id>.+)_(?P<start>0|[1-9][0-9]*)_(?P<end>[1-9][0-9]*)")
_Row = tuple[tuple[str, str], Line]
_EXPECTED = '{"data": [{"video_id", "labels"}]}, or STELLA\'s rows index, vid, frames, wav, label'


def with_foreign_lists(
    spec: DatasetSpec, split: str, splits: Mapping[Path, str] | None = None
) -> DatasetSpec:
    """Return the dataset with a parser of third-party lists, whose clips get the split given.

    Args:
        spec: The dataset.
        split: Split of the clips of a list.
        splits: Splits of lists that have another one.
    """
    parse = partial(read_lists, spec=spec, split=split, splits=splits or {})
    return replace(spec, parse=parse, streams=())


def is_foreign_list(path: Path) -> bool:
    """Return whether the file is a `{"data": …}` JSON or a STELLA CSV."""
    data = read_bytes(path)
    if path.suffix == ".json":
        return b'"data"' in data[:200]
    first = data.split(b"\n", 1)[0].decode(errors="replace")
    return first.count(",") >= 4 and "/frames/" in first and "/audio/" in first


def read_lists(
    paths: Sequence[Path], spec: DatasetSpec, split: str, splits: Mapping[Path, str] | None = None
) -> Annotations:
    """Read clips and their labels (machine ids) from third-party lists.

    Args:
        paths: The lists.
        spec: The dataset, for vocabulary and clip length.
        split: Split of every clip.
        splits: Splits of lists that have another one.

    Raises:
        AnnotationError: A list cannot be read or has no usable row.
    """
    require_paths(paths, _EXPECTED)
    lookup = LabelLookup((label.mid or str(label.label_id), label) for label in spec.vocabulary())
    clips = MergedClips()
    for path in paths:
        rows: Iterable[_Row | BadRow] = (
            _json_rows(path) if path.suffix == ".json" else parse_rows(path, _stella_row)
        )
        own = (splits or {}).get(path, split)
        clips.add_file(path, _clips(rows, spec, own, lookup), _EXPECTED)
    return Annotations(clips.clips, clips.bad_rows)


def _json_rows(path: Path) -> list[_Row]:
    try:
        entries = json.loads(read_bytes(path))["data"]
        return [
            ((str(entry.get("video_id") or Path(entry["wav"]).stem), str(entry["labels"])), line)
            for number, entry in enumerate(entries, start=1)
            if (line := Line(str(path), number, json.dumps(entry)))
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise AnnotationError(f"annotation file {path} is not {_EXPECTED}: {error}") from error


def _stella_row(line: Line) -> tuple[str, str]:
    row = fields_of(line)
    if len(row) not in {5, 6}:
        raise RowError(f"{len(row)} columns; expected 5 or 6")
    return row[2].rstrip("/").rpartition("/")[2], row[4]  # the column vid has no times


def _clips(
    rows: Iterable[_Row | BadRow], spec: DatasetSpec, split: str, lookup: LabelLookup
) -> Iterator[tuple[Clip, Line] | BadRow]:
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        (name, mids), line = row
        try:
            yield _clip(name, mids, spec, split, lookup), line
        except RowError as error:
            yield line.bad(str(error))


def _clip(name: str, mids: str, spec: DatasetSpec, split: str, lookup: LabelLookup) -> Clip:
    labels = tuple(dict.fromkeys(lookup.require(mid.strip()) for mid in mids.split(",")))
    seconds = _SIX_DIGITS.fullmatch(name)
    milliseconds = _MILLISECONDS.fullmatch(name)
    if milliseconds and int(milliseconds["start"]) < int(milliseconds["end"]):
        source, start = milliseconds["id"], int(milliseconds["start"]) / 1000
        end = int(milliseconds["end"]) / 1000
    elif seconds:
        source, start = seconds["id"], float(seconds["start"])
        end = start + spec.clip_seconds
    else:
        raise RowError(
            f"{name!r} has no start; expected '<id>_<start, 6 digits>' or "
            "'<id>_<start ms>_<end ms>'"
            + ("; pass the segment files of AudioSet" if spec.name == "audioset" else "")
        )
    categories = {label.category for label in labels}
    return Clip(
        dataset=spec.name,
        key=f"{require_id(source)}_{int(start):06d}",
        source_id=source,
        start_s=start,
        end_s=end,
        split=split,
        labels=tuple(label.label for label in labels),
        label_ids=tuple(label.label_id for label in labels),
        category=categories.pop() if len(categories) == 1 else None,
    )
