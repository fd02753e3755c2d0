"""Your own data: read a list of files or addresses (CSV, TSV, JSON lines, Parquet) as clips."""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit

from avstore.datasets.lines import RowError
from avstore.datasets.own_table import COLUMNS, field_name, read_table
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

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
RECIPE = "clips"
_EXPECTED = f"columns file or url, and optionally {', '.join(COLUMNS[2:])}"
_KEY_CHARS = 120
_MAX_SECONDS = 999_999
_YOUTUBE = re.compile(r"(?:www\.|m\.)?youtube\.com|youtu\.be")


@dataclass(frozen=True)
class OwnRow:
    """A usable row of a list.

    Attributes:
        row: Its number in the list, from 1 (a header is row 1).
        file: The media file, as the list names it, or None.
        url: The address of the video, or None.
        start_s: First second in the file, or None for its beginning.
        end_s: End in seconds, exclusive, or None for the end of the file.
        labels: Label names.
        split: The split.
        captions: Sentences.
        key: The clip's key, if the list gives one.
        source_id: The column `id`, or None.
        extra: Further columns.
    """

    row: int
    file: str | None
    url: str | None
    start_s: float | None
    end_s: float | None
    labels: tuple[str, ...]
    split: str
    captions: tuple[str, ...]
    key: str | None
    source_id: str | None
    extra: Mapping[str, Any]


@dataclass(frozen=True)
class OwnList:
    """A list of media.

    Attributes:
        path: The list, or the folder that it was made from.
        rows: Its usable rows.
        bad_rows: The others.
        unknown: Names of the columns that are kept in `extra`.
    """

    path: Path
    rows: Sequence[OwnRow]
    bad_rows: Sequence[BadRow] = ()
    unknown: Sequence[str] = ()

    @property
    def on_web(self) -> bool:
        """Whether the rows have addresses; they have files otherwise."""
        return any(row.url for row in self.rows)


def is_list_name(name: str) -> bool:
    """Return whether a name is that of a list of media."""
    return name.lower().endswith(SUFFIXES)


def read_list(path: Path) -> OwnList:
    """Read a list of media.

    Raises:
        AnnotationError: The list cannot be read, has no column file or url, has no usable row, or
            has rows of both kinds.
    """
    columns, records = read_table(path)
    names = _column_names(path, columns)
    rows: list[OwnRow] = []
    bad: list[BadRow] = []
    for number, record in records:
        if isinstance(record, str):
            bad.append(BadRow(str(path), number, record, ""))
            continue
        try:
            rows.append(_row(number, {names.get(k, k): v for k, v in record.items()}))
        except RowError as error:
            text = ", ".join(str(value) for value in record.values())[:200]
            bad.append(BadRow(str(path), number, str(error), text))
    if not rows:
        reason = f"; row {bad[0].row}: {bad[0].reason}" if bad else ""
        raise AnnotationError(f"{path} has no usable row{reason} (expected {_EXPECTED})")
    file = next((row for row in rows if row.file), None)
    url = next((row for row in rows if row.url), None)
    if file and url:
        raise AnnotationError(
            f"{path} has files (row {file.row}) and addresses (row {url.row}); split it into two "
            "lists, each with its own --name"
        )
    unknown = [name for name in columns if names[name] not in COLUMNS]
    return OwnList(path, rows, bad, unknown)


def make_clips(name: str, listed: OwnList, known_labels: Sequence[str] = ()) -> Annotations:
    """Return the rows of a list as clips, each with a key of its own.

    Args:
        name: Name of the dataset.
        listed: The list.
        known_labels: Labels of an earlier build in the order of their ids, which they keep.
    """
    labels = label_ids(listed, known_labels)
    clips: dict[str, tuple[Clip, int]] = {}
    bad = list(listed.bad_rows)
    for row in listed.rows:
        key = row.key or clip_key(row)
        if key in clips:
            reason = (
                f"the key {key!r} is that of row {clips[key][1]}; give both rows their own in a "
                "column key"
            )
            bad.append(BadRow(str(listed.path), row.row, reason, row.file or row.url or ""))
            continue
        clips[key] = _clip(name, key, row, labels), row.row
    return Annotations([clip for clip, _ in clips.values()], bad)


def label_ids(listed: OwnList, known: Sequence[str] = ()) -> dict[str, int]:
    """Return the id of each label: known ones keep theirs, new ones follow in sorted order."""
    found = {label for row in listed.rows for label in row.labels}
    names = [*known, *sorted(found.difference(known))]
    return {label: index for index, label in enumerate(names)}


def own_spec(
    name: str, clips: Annotations, labels: Iterable[str], record: Mapping[str, Any]
) -> DatasetSpec:
    """Return the description of a dataset of your own.

    Args:
        name: Its name.
        clips: Its clips.
        labels: Its labels in the order of their ids.
        record: What the ledger keeps, to build it again without the list.
    """
    vocabulary = tuple(Label(index, label) for index, label in enumerate(labels))
    return DatasetSpec(
        name=name,
        title=name,
        version="own data",
        licence="your own",
        homepage="",
        annotation_urls=(),
        parse=lambda _: clips,
        vocabulary=lambda: vocabulary,
        media_names=media_names,
        clip_seconds=0.0,
        recipe=RECIPE,
        own_data=record,
    )


def media_names(clip: Clip) -> tuple[MediaName, ...]:
    """Return the stem of the clip's file, from which its seconds are cut."""
    stem = PurePosixPath(str(clip.extra.get("file", clip.key))).stem
    return (MediaName(stem, whole_video=True),)


def safe_name(text: str) -> str:
    """Return a text with only the characters of a key.

    Letters lose their accents. A text with other letters gets a checksum, so that two such names
    stay apart.
    """
    plain = unicodedata.normalize("NFKD", text)
    kept = "".join(c for c in plain if not unicodedata.combining(c))
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", kept).strip("_")
    if len(safe) > _KEY_CHARS or not kept.isascii() or not safe:
        digest = hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
        safe = f"{safe[:_KEY_CHARS]}-{digest[:8]}".lstrip("-")
    return safe


def clip_key(row: OwnRow) -> str:
    """Return the key of a row: the file's path, or the address, and the start."""
    if row.source_id:
        name = safe_name(row.source_id)
    elif row.file:
        name = safe_name(row.file.rpartition(".")[0] or row.file)
    else:
        name = safe_name(youtube_id(row.url or "") or _address_name(row.url or ""))
    if row.start_s is None:
        return name
    seconds, ms = divmod(round(row.start_s * 1000), 1000)
    return f"{name}_{seconds:06d}" + (f"-{ms:03d}" if ms else "")


def youtube_id(url: str) -> str | None:
    """Return the id of a YouTube address, or None."""
    parts = urlsplit(url)
    if not _YOUTUBE.fullmatch(parts.hostname or ""):
        return None
    query = parse_qs(parts.query).get("v")
    name = query[0] if query else parts.path.rpartition("/")[2]
    return name if check_key(name) is None else None


def _address_name(url: str) -> str:
    path = urlsplit(url).path.strip("/")
    return path.rpartition(".")[0] or path or urlsplit(url).netloc


def _clip(name: str, key: str, row: OwnRow, labels: Mapping[str, int]) -> Clip:
    place = {"file": row.file} if row.file else {"url": row.url}
    return Clip(
        dataset=name,
        key=key,
        source_id=row.source_id or youtube_id(row.url or "") or row.file or str(row.url),
        start_s=row.start_s,
        end_s=row.end_s,
        split=row.split,
        labels=row.labels,
        label_ids=tuple(labels[label] for label in row.labels),
        category=None,
        captions=row.captions,
        extra={**row.extra, **place},
    )


def _column_names(path: Path, columns: Sequence[str]) -> dict[str, str]:
    """Return the field of each column.

    Raises:
        AnnotationError: There is neither file nor url, or two columns are of one field.
    """
    names = {name: field_name(name) for name in columns}
    for field in COLUMNS:
        same = [name for name in columns if names[name] == field]
        if len(same) > 1 or columns.count(same[0] if same else "") > 1:
            raise AnnotationError(
                f"{path} has the columns {', '.join(same)} for one field, {field}; keep one"
            )
    if not {"file", "url"} & set(names.values()):
        raise AnnotationError(
            f"{path} has no column file or url; its columns are {', '.join(columns) or 'none'} "
            f"(expected {_EXPECTED}); rename the column of the videos"
        )
    return names


def _row(number: int, values: Mapping[str, Any]) -> OwnRow:
    file, url = _text(values.get("file")), _text(values.get("url"))
    if file and url:
        raise RowError("both a file and a url; give one")
    if not file and not url:
        raise RowError("neither a file nor a url")
    if url:
        _check_url(url)
    start = _seconds(values.get("start"), "start")
    end = _seconds(values.get("end"), "end")
    if end is not None and end <= (start or 0.0):
        raise RowError(f"end {end:g} is not after start {start or 0:g}")
    key, split = _text(values.get("key")), _text(values.get("split")) or "train"
    for name, value in (("key", key), ("split", split)):
        if value and check_key(value):
            raise RowError(f"{name} {value!r} may contain only letters, digits, '-' and '_'")
    return OwnRow(
        row=number,
        file=str(PurePosixPath(file)) if file else None,
        url=url,
        start_s=0.0 if start is None and end is not None else start,
        end_s=end,
        labels=tuple(dict.fromkeys(_list(values.get("labels"), "labels", split_at=";|"))),
        split=split,
        captions=tuple(_list(values.get("captions"), "captions", split_at="")),
        key=key,
        source_id=_text(values.get("id")),
        extra={
            name: _plain(value)
            for name, value in values.items()
            if name not in COLUMNS and value not in (None, "")
        },
    )


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise RowError(f"url {url!r} is not an address: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise RowError(f"url {url!r} is not an http(s) address")
    if parts.password is not None:
        raise RowError("the url contains a password, which the store would record; remove it")


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value).strip() or None


def _seconds(value: Any, name: str) -> float | None:
    text = _text(value)
    if text is None or text.lower() in {"nan", "none", "null"}:
        return None
    try:
        seconds = float(text)
    except ValueError as error:
        raise RowError(f"{name} {text!r} is not a number of seconds") from error
    if not 0 <= seconds <= _MAX_SECONDS:
        raise RowError(f"{name} {text} is not from 0 to {_MAX_SECONDS} seconds")
    return seconds


def _list(value: Any, name: str, split_at: str) -> list[str]:
    """Return a list of texts from a list, a JSON list, or a text with separators."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RowError(f"{name} {value!r} is not a JSON list: {error}") from error
    if isinstance(value, (list, tuple)):
        return [text for item in value if (text := _text(item))]
    text = _text(value)
    if text is None:
        return []
    parts = re.split(f"[{re.escape(split_at)}]", text) if split_at else [text]
    return [part.strip() for part in parts if part.strip()]


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, bool, list, dict)) else str(value)


def with_times(row: OwnRow, start_s: float, end_s: float) -> OwnRow:
    """Return a piece of a row."""
    key = None if row.key is None else f"{row.key}_{round(start_s * 1000):09d}"
    return replace(row, start_s=start_s, end_s=end_s, key=key)
