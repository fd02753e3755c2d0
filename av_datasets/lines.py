"""Read annotation files as numbered lines and rows; unusable bytes become a row with a reason."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from avstore.datasets.spec import AnnotationError, BadRow, Clip

T = TypeVar("T")

_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_TEXT_KEPT = 200
# What a spreadsheet writes in place of a text that it takes for a formula.
_CELL_ERRORS = ("#NAME?", "#VALUE!", "#REF!", "#DIV/0!", "#N/A", "#NUM!", "#NULL!")
_FIRST_SEPARATOR = re.compile(r'\s*(?:"(?:[^"]|"")*"\s*|[^,;\t]*)([,;\t])')
_CHANGED = (
    (re.compile(r"#[A-Z0-9/]+[?!]?|[=+'].*"), "a formula"),
    (re.compile(r"[0-9][.,][0-9]*E[+-][0-9]+", re.IGNORECASE), "a number"),
    (re.compile(r"[0-9]{1,4}[./][0-9]{1,2}[./][0-9]{1,4}"), "a date"),
)
_UNPACKED_BYTES = 1 << 30  # AudioSet's largest list has 100 MB


class RowError(Exception):
    """A row that cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an annotation file.

    Attributes:
        file: The file.
        row: Line number, from 1.
        text: The line without its line ending.
    """

    file: str
    row: int
    text: str

    def bad(self, reason: str) -> BadRow:
        """Return this line as a row that cannot be used."""
        return BadRow(self.file, self.row, reason, self.text[:_TEXT_KEPT])


def read_bytes(path: Path) -> bytes:
    """Return the file's content as UTF-8, decompressed if it is gzip.

    Raises:
        AnnotationError: The file cannot be read, is a damaged gzip file or is empty.
    """
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                data = file.read(_UNPACKED_BYTES + 1)
            if len(data) > _UNPACKED_BYTES:
                raise AnnotationError(
                    f"annotation file {path} unpacks to more than {_UNPACKED_BYTES >> 30} GiB"
                )
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
    """Yield every line that is not blank, in order; a line that is not UTF-8 as a BadRow.

    Raises:
        AnnotationError: The file cannot be read.
    """
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
    """Return the fields of a line without quotes and outer blanks; a row is always one line.

    A line that was saved with another separator (comma, semicolon, tab) is read with the one that
    ends its first field.

    Args:
        line: The line.
        delimiter: The separator of a line that has only one field.

    Raises:
        RowError: The quotes are wrong.
    """
    first = _FIRST_SEPARATOR.match(line.text)
    used = first[1] if first else delimiter
    try:
        (row,) = csv.reader([line.text], delimiter=used, strict=True, skipinitialspace=True)
    except csv.Error as error:
        raise RowError(f"not a row of fields: {error}") from error
    return [field.strip() for field in row]


def is_comment(line: Line) -> bool:
    """Return whether a line is a comment (`# …`) or a spreadsheet's note of its separator."""
    text = line.text.lstrip('" ')
    return text.lower().startswith("sep=") or (
        text.startswith("#") and not text.startswith(_CELL_ERRORS)
    )


def spreadsheet_hint(text: str) -> str:
    """Return the end of a message on a text that looks as if a spreadsheet had changed it, or ''.

    Example:
        >>> spreadsheet_hint("#NAME?")
        '; a spreadsheet took the text for a formula: use the published file, unopened'
    """
    kind = next((kind for form, kind in _CHANGED if form.fullmatch(text)), None)
    if kind is None:
        return ""
    return f"; a spreadsheet took the text for {kind}: use the published file, unopened"


class FileColumn:
    """The column `file` that a user may add to an annotation file with a header.

    It names each clip's media file, relative to the source. Give every line to `take`, in order.
    """

    def __init__(self) -> None:
        self._index: int | None = None
        self._delimiter = ","
        self._in_header = True

    def take(self, line: Line) -> tuple[Line, str | None]:
        """Return the line without the column, and the file.

        Raises:
            RowError: The quotes are wrong, or the file is not a path below the source.
        """
        if self._in_header:
            self._in_header = is_comment(line)
            self._find(line)
        if self._index is None:
            return line, None
        fields = fields_of(line, self._delimiter)
        if self._index >= len(fields):
            return line, None
        file = fields.pop(self._index)
        text = io.StringIO()
        csv.writer(text, delimiter=self._delimiter, lineterminator="").writerow(fields)
        rest = replace(line, text=text.getvalue())
        if file.lower() == "file" and line.text.lower().lstrip("# ").count("file"):
            return rest, None  # the header itself
        return rest, checked_file(file) if file else None

    def _find(self, line: Line) -> None:
        first = _FIRST_SEPARATOR.match(line.text)
        delimiter = first[1] if first else ","
        names = [name.strip(' "').lower() for name in line.text.lstrip("# ").split(delimiter)]
        if len(names) > 1 and "file" in names and not any(name.isdigit() for name in names):
            self._index, self._delimiter = names.index("file"), delimiter


def checked_file(file: str) -> str:
    """Return a path with forward slashes.

    Raises:
        RowError: It is absolute, or leads out of the source.
    """
    path = PurePosixPath(file.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise RowError(f"file {file!r} is not below SOURCE; write its path relative to SOURCE")
    return str(path)


def parse_rows(path: Path, parse: Callable[[Line], T | None]) -> Iterator[tuple[T, Line] | BadRow]:
    """Parse every line of a file; a column `file` goes to the `extra` of a clip.

    Args:
        path: The annotation file.
        parse: Returns the result of a line, or None for a line without data (a header, a
            comment); raises RowError for a line that cannot be used.

    Yields:
        (result, line), or a BadRow with the reason.

    Raises:
        AnnotationError: The file cannot be read.
    """
    column = FileColumn()
    for line in read_lines(path):
        if isinstance(line, BadRow):
            yield line
            continue
        try:
            rest, file = column.take(line)
            result = parse(rest)
        except RowError as error:
            yield line.bad(str(error))
            continue
        if file and isinstance(result, Clip):
            result = replace(result, extra={**result.extra, "file": file})
        if result is not None:
            yield result, line


def require_paths(paths: Sequence[Path], expected: str) -> None:
    """Raise AnnotationError if no file is given."""
    if not paths:
        raise AnnotationError(f"no annotation file given; expected {expected}")


def usable_rows(
    path: Path, rows: Iterable[T | BadRow], bad: list[BadRow], expected: str
) -> Iterator[T]:
    """Yield the usable rows of a file, and add the others to `bad`.

    Args:
        path: The file.
        rows: Its parsed rows.
        bad: The bad rows so far.
        expected: The format that the file should have.

    Raises:
        AnnotationError: The file has no usable row.
    """
    usable = 0
    for row in rows:
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        usable += 1
        yield row
    require_usable(path, usable, bad, expected)


def require_usable(path: Path, usable: int, bad: Sequence[BadRow], expected: str) -> None:
    """Raise AnnotationError if a file has no usable row.

    Args:
        path: The file.
        usable: The number of its usable rows.
        bad: The bad rows so far; the first one of the file is quoted.
        expected: The format that the file should have.
    """
    if usable:
        return
    first = next((row for row in bad if row.file == str(path)), None)
    reason = f"; row {first.row}: {first.reason}" if first else ""
    raise AnnotationError(f"annotation file {path} has no usable row{reason} (expected {expected})")
