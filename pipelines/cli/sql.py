"""avstore sql: query the manifest."""

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from rich.text import Text

from avstore.manifests.store import StoreError, committing, find_store
from avstore.manifests.terminal import console, is_quiet, plural
from avstore.pipelines.cli.options import DEFAULT_STORE, JsonOption, ManifestOption
from avstore.pipelines.cli.tables import print_json, print_table

if TYPE_CHECKING:
    import duckdb

app = typer.Typer(add_completion=False)
_LONGEST_VALUE = 300


class RowFormat(StrEnum):
    """Output format of a query's rows."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.command("sql", epilog='Example: avstore sql "FROM coverage LIMIT 5" --format csv')
def run(
    query: Annotated[str, typer.Argument(help="SQL over the manifest's tables and views.")],
    store: ManifestOption = DEFAULT_STORE,
    row_format: Annotated[
        RowFormat, typer.Option("--format", help="Output format.")
    ] = RowFormat.TABLE,
    as_json: JsonOption = False,
    limit: Annotated[int, typer.Option(help="Rows of a table to print; 0 prints all.")] = 100,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="File to write all rows to: .csv, .json or .parquet."),
    ] = None,
    unsafe: Annotated[
        bool,
        typer.Option(
            "--unsafe",
            help="Let the query and the manifest's views read and write files, use the network and "
            "load extensions.",
        ),
    ] = False,
) -> None:
    """Run a SQL query against the manifest, read-only.

    The query reaches the manifest only, no files and no network.
    """
    import duckdb

    from avstore.manifests.catalogue import open_read
    from avstore.manifests.errors import query_error

    if not query.strip():
        raise StoreError("the query is empty; write one, such as FROM trainable LIMIT 5")
    write = _writer_of(output) if output else None
    with open_read(find_store(store), unsafe=unsafe) as con:
        try:
            result = con.sql(query)
            if result is None:  # a statement without rows
                return
            if output and write:
                with committing(output) as file:
                    count = write(result, file)
                if not is_quiet():
                    console().print(f"{output}: {plural(count, 'row')}")
            elif as_json:
                print_json(result.to_arrow_table().to_pylist())
            elif row_format is RowFormat.TABLE:
                _print_table(result, limit)
            else:
                _WRITERS[f".{row_format}"](result, sys.stdout.buffer)
        except duckdb.Error as error:
            raise query_error(error) from error


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
