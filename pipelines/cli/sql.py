"""avstore sql: ask the manifest."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import duckdb
import typer
from rich.measure import Measurement
from rich.table import Table

from avstore.manifests.catalogue import open_read
from avstore.manifests.store import StoreError, find_store
from avstore.pipelines.cli.options import DEFAULT_STORE, ManifestOption
from avstore.pipelines.cli.progress import console

_WIDEST = 100_000


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def run(
    query: Annotated[str, typer.Argument(help="SQL over the manifest's tables and views.")],
    store: ManifestOption = DEFAULT_STORE,
    output: Annotated[Format, typer.Option("--format", help="table, csv or json.")] = Format.TABLE,
    limit: Annotated[int, typer.Option(help="Rows of a table to print; 0: all.")] = 100,
) -> None:
    """Answer a question of the manifest, read-only."""
    with open_read(find_store(store)) as con:
        try:
            result = con.sql(query)
        except duckdb.Error as error:
            raise StoreError(f"the query failed: {error}") from error
        if result is None:
            if not query.strip():
                raise StoreError("the query is empty; write one, such as FROM trainable LIMIT 5")
            return
        try:
            if output is Format.TABLE:
                _table(result, limit)
            else:
                _machine(result, output)
        except duckdb.Error as error:
            raise StoreError(f"the query failed: {error}") from error


def _table(result: duckdb.DuckDBPyRelation, limit: int) -> None:
    rows = (result.limit(limit + 1) if limit else result).fetchall()
    columns: list[str] = list(result.columns)
    table = Table(*columns, box=None, header_style="bold")
    for row in rows[:limit] if limit else rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    out = console()
    if Measurement.get(out, out.options.update(max_width=_WIDEST), table).maximum > out.width:
        _records(rows[:limit] if limit else rows, columns)
    else:
        out.print(table)
    if limit and len(rows) > limit:
        out.print(f"… the first {limit} rows (--limit 0: all)")


def _records(rows: list[tuple[Any, ...]], columns: list[str]) -> None:
    """Rows that are too wide for the terminal: a line a value, long ones cut."""
    widest = max(map(len, columns))
    out = console()
    for number, row in enumerate(rows, start=1):
        out.print(f"[bold]row {number}[/bold]")
        for name, value in zip(columns, row, strict=True):
            text = "" if value is None else str(value)
            room = max(out.width - widest - 4, 20)
            short = text if len(text) <= room else f"{text[: room - 1]}…"
            out.print(f"  {name:<{widest}}  {short}", markup=False, soft_wrap=True)


def _machine(result: duckdb.DuckDBPyRelation, output: Format) -> None:
    frame = result.to_df()
    if output is Format.CSV:
        frame.to_csv(sys.stdout, index=False)
    else:
        sys.stdout.write(frame.to_json(orient="records", date_format="iso"))
        sys.stdout.write("\n")
