"""Annotation files as numbered lines and rows: hostile bytes in, usable text or a reason out."""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from avstore.datasets.spec import AnnotationError, BadRow

T = TypeVar("T")

_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_TEXT_KEPT = 200


class RowError(Exception):
    """Why a row cannot be used, in words."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an annotation file. row: its 1-based number; text: without its line ending."""

    file: str
    row: int
    text: str

    def bad(self, reason: str) -> BadRow:
        """This line as one that cannot be used."""
        return BadRow(self.file, self.row, reason, self.text[:_TEXT_KEPT])


def read_bytes(path: Path) -> bytes:
    """The file's content, unzipped where it is gzip. Raises AnnotationError."""
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise AnnotationError(f"annotation file {path} is a damaged gzip file: {error}") from error
    except OSError as error:
        reason = error.strerror or error
        raise AnnotationError(f"annotation file {path} cannot be read: {reason}") from error
    if not data.strip(b"\x00 \t\r\n" + _UTF8_BOM):
        raise AnnotationError(f"annotation file {path} is empty; download it again")
    if data.startswith(_UTF16_BOMS):
        data = data.decode("utf-16", errors="replace").encode()
    return data.removeprefix(_UTF8_BOM)


def read_lines(path: Path) -> Iterator[Line | BadRow]:
    """Every line that is not blank, in order; one that is not UTF-8 is a BadRow."""
    data = read_bytes(path)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    file = str(path)
    for row, ended in enumerate(io.BytesIO(data), start=1):
        raw = ended.removesuffix(b"\n")
        if not raw.strip():
            continue
        try:
            yield Line(file, row, raw.decode())
        except UnicodeDecodeError as error:
            reason = f"not UTF-8 text: byte 0x{raw[error.start]:02x} at column {error.start + 1}"
            yield BadRow(file, row, reason, raw.decode(errors="replace")[:_TEXT_KEPT])


def fields_of(line: Line, delimiter: str = ",") -> list[str]:
    """The line's fields, quotes undone and outer blanks dropped; no row reaches over its line."""
    try:
        (row,) = csv.reader([line.text], delimiter=delimiter, strict=True, skipinitialspace=True)
    except csv.Error as error:
        raise RowError(f"not a row of fields: {error}") from error
    return [field.strip() for field in row]


def parse_rows(path: Path, parse: Callable[[Line], T | None]) -> Iterator[tuple[T, Line] | BadRow]:
    """What `parse` makes of each line, or the row with the reason that it raised as RowError.

    `parse` gives None for a line that is no row (a header, a comment).
    """
    for line in read_lines(path):
        if isinstance(line, BadRow):
            yield line
            continue
        try:
            found = parse(line)
        except RowError as error:
            yield line.bad(str(error))
            continue
        if found is not None:
            yield found, line


def require_paths(paths: Sequence[Path], what: str) -> None:
    """Raises AnnotationError where no file is given."""
    if not paths:
        raise AnnotationError(f"no annotation file given: {what}")


def require_usable(path: Path, usable: int, bad: Sequence[BadRow], expected: str) -> None:
    """Raises AnnotationError where nothing of a file could be used."""
    if usable:
        return
    first = next((row for row in bad if row.file == str(path)), None)
    why = f"; row {first.row}: {first.reason}" if first else ""
    raise AnnotationError(f"annotation file {path} has no usable row{why} (expected {expected})")
