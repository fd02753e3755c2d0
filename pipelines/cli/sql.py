"""avstore sql: query the manifest."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.measure import Measurement
from rich.table import Table

from avstore.manifests.store import StoreError, find_store
from avstore.pipelines.cli.options import DEFAULT_STORE, ManifestOption
from avstore.pipelines.cli.progress import console

if TYPE_CHECKING:
    import duckdb

app = typer.Typer(add_completion=False)
_MAX_TABLE_WIDTH = 100_000


class RowFormat(StrEnum):
    """Output format of a query's rows."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.command("sql", epilog='Example: avstore sql "FROM coverage LIMIT 5" --format csv')
def run(
    query: Annotated[str, typer.Argument(help="SQL over the manifest's tables and views.")],
    store: ManifestOption = DEFAULT_STORE,
    output: Annotated[RowFormat, typer.Option("--format", help="Output format.")] = RowFormat.TABLE,
    limit: Annotated[int, typer.Option(help="Rows of a table to print; 0 prints all.")] = 100,
) -> None:
    """Run a SQL query against the manifest, read-only."""
    import duckdb

    from avstore.manifests.catalogue import open_read

    if not query.strip():
        raise StoreError("the query is empty; write one, such as FROM trainable LIMIT 5")
    with open_read(find_store(store)) as con:
        try:
            result = con.sql(query)
            if result is None:  # a statement without rows
                return
            if output is RowFormat.TABLE:
                _print_table(result, limit)
            else:
                _write(result, output)
        except duckdb.Error as error:
            raise StoreError(f"the query failed: {error}") from error


def _print_table(result: "duckdb.DuckDBPyRelation", limit: int) -> None:
    rows = (result.limit(limit + 1) if limit else result).fetchall()
    shown = rows[:limit] if limit else rows
    columns: list[str] = list(result.columns)
    table = Table(*columns, box=None, header_style="bold")
    for row in shown:
        table.add_row(*("" if value is None else str(value) for value in row))
    out = console()
    options = out.options.update(max_width=_MAX_TABLE_WIDTH)
    if Measurement.get(out, options, table).maximum > out.width:
        _print_records(shown, columns)
    else:
        out.print(table)
    if len(rows) > len(shown):
        out.print(f"… the first {limit} rows (--limit 0 prints all)")


def _print_records(rows: list[tuple[Any, ...]], columns: list[str]) -> None:
    """Print rows that are too wide for the terminal with one value per line, cut to its width."""
    name_width = max(map(len, columns))
    out = console()
    for number, row in enumerate(rows, start=1):
        out.print(f"[bold]row {number}[/bold]")
        for name, value in zip(columns, row, strict=True):
            text = "" if value is None else str(value)
            width = max(out.width - name_width - 4, 20)
            short = text if len(text) <= width else f"{text[: width - 1]}…"
            out.print(f"  {name:<{name_width}}  {short}", markup=False, soft_wrap=True)


def _write(result: "duckdb.DuckDBPyRelation", output: RowFormat) -> None:
    """Write rows as CSV or JSON to standard output."""
    frame = result.to_df()
    if output is RowFormat.CSV:
        frame.to_csv(sys.stdout, index=False)
    else:
        sys.stdout.write(frame.to_json(orient="records", date_format="iso"))
        sys.stdout.write("\n")
