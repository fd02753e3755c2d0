"""Print a query's rows, or write them to a file."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from rich.text import Text

from avstore.manifests.store import StoreError, committing
from avstore.manifests.terminal import console, is_quiet, plural
from avstore.pipelines.cli.tables import print_json, print_table

if TYPE_CHECKING:
    import duckdb

_LONGEST_VALUE = 300


class RowFormat(StrEnum):
    """Output format of a query's rows."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


QueryArgument = Annotated[str, typer.Argument(help="SQL over the tables and views.")]
FormatOption = Annotated[RowFormat, typer.Option("--format", help="Output format.")]
LimitOption = Annotated[int, typer.Option(help="Rows of a table to print; 0 prints all.")]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", help="File to write all rows to: .csv, .json or .parquet."),
]


@dataclass(frozen=True)
class QueryOutput:
    """Where a query's rows go.

    Attributes:
        row_format: Format on standard output.
        as_json: Whether --json was given.
        limit: Rows of a table; 0 for all.
        output: File to write to instead.
    """

    row_format: RowFormat = RowFormat.TABLE
    as_json: bool = False
    limit: int = 100
    output: Path | None = None

    def __post_init__(self) -> None:
        if self.output is not None:
            _writer_of(self.output)

    def run(self, con: "duckdb.DuckDBPyConnection", query: str) -> None:
        """Run a query and print or write its rows.

        Raises:
            StoreError: The query is empty or fails.
        """
        import duckdb

        from avstore.manifests.errors import query_error

        if not query.strip():
            raise StoreError("the query is empty; write one, such as FROM trainable LIMIT 5")
        try:
            result = con.sql(query)
            if result is not None:  # None: a statement without rows
                self._show(result)
        except duckdb.Error as error:
            raise query_error(error) from error

    def _show(self, result: "duckdb.DuckDBPyRelation") -> None:
        if self.output is not None:
            with committing(self.output) as file:
                count = _writer_of(self.output)(result, file)
            if not is_quiet():
                console().print(f"{self.output}: {plural(count, 'row')}")
        elif self.as_json:
            print_json(result.to_arrow_table().to_pylist())
        elif self.row_format is RowFormat.TABLE:
            _print_table(result, self.limit)
        else:
            _WRITERS[f".{self.row_format}"](result, sys.stdout.buffer)


def _print_table(result: "duckdb.DuckDBPyRelation", limit: int) -> None:
    rows = (result.limit(limit + 1) if limit else result).fetchall()
    shown = rows[:limit] if limit else rows
    columns: list[str] = list(result.columns)
    cells = [["" if value is None else str(value) for value in row] for row in shown]
    out = console()
    widest = max(sum(map(len, row)) + 2 * len(row) for row in [columns, *cells])
    if out.is_terminal and widest > out.width:
        _print_records(cells, columns)
    else:
        print_table(columns, cells)
    if len(rows) > len(shown):
        out.print(f"… the first {limit} rows (--limit 0 prints all)")


def _print_records(rows: list[list[str]], columns: list[str]) -> None:
    """Print rows that are too wide for the terminal with one value per line.

    Long lists are cut to a few lines; ids, paths and messages are whole.
    """
    name_width = max(map(len, columns))
    out = console()
    for number, row in enumerate(rows, start=1):
        out.print(Text(f"row {number}", "bold"))
        for name, text in zip(columns, row, strict=True):
            short = text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
            out.print(f"  {name:<{name_width}}  {short}", soft_wrap=True)


def _writer_of(output: Path) -> "_Write":
    """Return the function that writes rows in the format of a file's suffix.

    Raises:
        StoreError: The suffix is not one of .csv, .json and .parquet.
    """
    if (write := _WRITERS.get(output.suffix.lower())) is None:
        raise StoreError(f"{output} does not end in .csv, .json or .parquet; choose such a name")
    return write


def _write_csv(result: "duckdb.DuckDBPyRelation", file: BinaryIO) -> int:
    rows = result.to_df()
    file.write(rows.to_csv(index=False).encode())
    return len(rows)


def _write_json(result: "duckdb.DuckDBPyRelation", file: BinaryIO) -> int:
    rows = result.to_df()
    file.write(rows.to_json(orient="records", date_format="iso").encode() + b"\n")
    return len(rows)


def _write_parquet(result: "duckdb.DuckDBPyRelation", file: BinaryIO) -> int:
    from avstore.manifests.sealed import parquet_bytes

    rows = result.to_arrow_table()
    file.write(parquet_bytes(rows))
    return int(rows.num_rows)


_Write = Callable[["duckdb.DuckDBPyRelation", BinaryIO], int]  # returns the number of rows
_WRITERS: dict[str, _Write] = {".csv": _write_csv, ".json": _write_json, ".parquet": _write_parquet}
