"""avstore sql: ask the manifest."""

import sys
from enum import StrEnum
from typing import Annotated

import duckdb
import typer
from rich.table import Table

from manifests.catalogue import open_read
from manifests.store import StoreError, find_store
from pipelines.commands.options import DEFAULT_STORE, StoreOption
from pipelines.progress import console


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def run(
    query: Annotated[str, typer.Argument(help="SQL over the manifest's tables and views.")],
    store: StoreOption = DEFAULT_STORE,
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
    out.print(table)
    if limit and len(rows) > limit:
        out.print(f"… the first {limit} rows (--limit 0: all)")


def _machine(result: duckdb.DuckDBPyRelation, output: Format) -> None:
    frame = result.to_df()
    if output is Format.CSV:
        frame.to_csv(sys.stdout, index=False)
    else:
        sys.stdout.write(frame.to_json(orient="records", date_format="iso"))
        sys.stdout.write("\n")
