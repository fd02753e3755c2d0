r"""Convert between paths of the file system and the text that is recorded and printed.

Linux file names are bytes. Python decodes those that are not UTF-8 with lone surrogates, which
JSON, Parquet, DuckDB and terminals refuse. Inside avstore a path is Python's string; where it is
recorded it becomes `path_text`, and where a recorded path is opened, `text_path`:

- a byte that is not UTF-8 is written as `\xe9`, another lone surrogate as `\ud800`;
- a backslash before what looks like either is written as `\x5c`, so that the text is unambiguous;
- all other paths are unchanged.

Other texts (labels, messages) are not converted back: `valid_text` only replaces what cannot be
recorded, and `printable_text` what a terminal or a page would obey instead of show.
"""

import codecs
import io
import re
import sys
from os import PathLike, fspath
from typing import Any

_ESCAPE = r"x5c|x[89a-f][0-9a-f]|ud[89a-f][0-9a-f]{2}"
_AMBIGUOUS = re.compile(rf"\\(?={_ESCAPE})")
_ESCAPED = re.compile(rf"\\({_ESCAPE})")
_UNRECORDABLE = re.compile("[\ud800-\udfff\x00]")
# Control characters but tab and newline, and those that reorder the text around them.
_OBEYED = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_UNPRINTABLE = re.compile(f"[{_OBEYED}\ud800-\udfff]")
_QUOTED_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")  # as repr() writes it


def path_text(path: str | PathLike[str]) -> str:
    r"""Return the text by which a path is recorded; `text_path` converts it back.

    Examples:
        >>> path_text(b"caf\xe9/a.mp4".decode(errors="surrogateescape"))
        'caf\\xe9/a.mp4'
    """
    text = fspath(path)
    if "\\" in text:
        text = _AMBIGUOUS.sub(r"\\x5c", text)
    return valid_text(text)


def text_path(text: str) -> str:
    """Return the path that `path_text` recorded."""
    return _ESCAPED.sub(_unescape, text) if "\\" in text else text


def _unescape(match: re.Match[str]) -> str:
    code = int(match[1][1:], 16)
    return chr(0xDC00 + code) if match[1][0] == "x" and code >= 0x80 else chr(code)


def valid_text(text: str) -> str:
    r"""Return a text with lone surrogates and NUL escaped, as JSON, Parquet and DuckDB need it.

    Examples:
        >>> valid_text("ab\x00")
        'ab\\x00'
    """
    if text.isascii() and "\x00" not in text:
        return text
    return _UNRECORDABLE.sub(lambda match: _escape(ord(match[0])), text)


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


def printable_text(text: str) -> str:
    r"""Return a text with control and bidirectional characters and lone surrogates escaped.

    Newlines and tabs stay. Everything that a person reads passes through it: the console, the error
    line and the report; what a program reads (CSV, JSON, Parquet) does not.

    Examples:
        >>> printable_text("\x1b[31mred \u202e4pm")
        '\\x1b[31mred \\u202e4pm'
    """
    if text.isascii() and text.isprintable() and "\\udc" not in text:
        return text
    text = _UNPRINTABLE.sub(lambda match: _escape(ord(match[0])), text)
    return _QUOTED_BYTE.sub(r"\\x\1", text)


def printable_json(text: str) -> str:
    """Return JSON with the same values in which these characters are escaped as JSON has it."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def valid_value(value: Any) -> Any:
    """Return a JSON-like value with every text in it, keys too, made valid."""
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, dict):
        return {valid_value(key): valid_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [valid_value(item) for item in value]
    return value


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Replace what a stream's encoding lacks: a codec error handler for terminals."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    encoded = valid_text(found).encode(error.encoding, "backslashreplace")
    return encoded.decode(error.encoding), error.end


PRINT_ERRORS = "escape-for-display"
r"""Error handler of streams that print paths: `caf\xe9` instead of an exception."""

codecs.register_error(PRINT_ERRORS, _escape_unencodable)


def escape_output() -> None:
    """Let standard output and error print every text, whatever their encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PRINT_ERRORS)
