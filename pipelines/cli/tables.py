"""Print rows: as a table whose cells are never cut, or as one JSON object per line."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from avstore.manifests.path_text import printable_json, printable_text, valid_value
from avstore.manifests.terminal import console

Row = Mapping[str, Any]


def print_rows(
    rows: Iterable[Row], columns: Mapping[str, str] | Sequence[str], as_json: bool = False
) -> None:
    """Print rows.

    Args:
        rows: Values by key.
        columns: Header by key, or the keys if they are the headers; a table shows these.
        as_json: Whether to print all keys, as JSON, instead of a table.
    """
    if as_json:
        print_json(rows)
        return
    headers = columns if isinstance(columns, Mapping) else {key: key for key in columns}
    cells = [[_text(row[key]) for key in headers] for row in rows]
    print_table([*headers.values()], cells)


def print_json(rows: Iterable[Row]) -> None:
    """Print one JSON object per line."""
    out = console()
    for row in rows:
        text = json.dumps(valid_value(row), default=str, ensure_ascii=False)
        out.print(printable_json(text), soft_wrap=True)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; a line that is wider than the terminal is continued on the next one.

    Newlines in a cell are escaped, so that each row is one line.
    """
    table = [
        [printable_text(cell).replace("\n", "\\n") for cell in row] for row in (headers, *rows)
    ]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    out = console()
    for number, row in enumerate(table):
        cells = (
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        )
        line = Text("  ".join(cells).rstrip(), "" if number else "bold")
        out.print(line, soft_wrap=True)


def _text(value: Any) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
