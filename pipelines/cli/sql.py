"""avstore sql: query the manifest."""

from typing import Annotated

import typer

from avstore.manifests.store import find_store
from avstore.pipelines.cli.options import DEFAULT_STORE, JsonOption, ManifestOption
from avstore.pipelines.cli.query_output import (
    FormatOption,
    LimitOption,
    OutputOption,
    QueryArgument,
    QueryOutput,
    RowFormat,
)

app = typer.Typer(add_completion=False)


@app.command("sql", epilog='Example: avstore sql "FROM coverage LIMIT 5" --format csv')
def run(
    query: QueryArgument,
    store: ManifestOption = DEFAULT_STORE,
    row_format: FormatOption = RowFormat.TABLE,
    as_json: JsonOption = False,
    limit: LimitOption = 100,
    output: OutputOption = None,
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
    from avstore.manifests.catalogue import open_read

    shown = QueryOutput(row_format, as_json, limit, output)
    with open_read(find_store(store), unsafe=unsafe) as con:
        shown.run(con, query)
