"""avstore status: count the clips of every dataset and stage."""

from typing import Annotated

import typer
from rich.text import Text

from avstore.manifests.store import Store, StoreError, find_store
from avstore.manifests.terminal import console
from avstore.pipelines.cli.options import DEFAULT_STORE, ManifestOption

app = typer.Typer(add_completion=False)


@app.command("status", epilog="Example: avstore status vggsound --store data")
def run(
    dataset: Annotated[str | None, typer.Argument(help="Dataset (default: all).")] = None,
    store: ManifestOption = DEFAULT_STORE,
    eta: Annotated[
        bool, typer.Option("--eta", help="Show when fetching will end instead.")
    ] = False,
) -> None:
    """Show how many clips are stored, per dataset and stage, and why others are not.

    Every published clip is counted exactly once in each stage.
    """
    from avstore.manifests.account import accounts, reasons
    from avstore.manifests.catalogue import reading
    from avstore.manifests.lock import current_writer
    from avstore.pipelines.cli.summary import counts_text

    out, found = console(), find_store(store)
    if writer := current_writer(found):
        out.print(f"The store is being written by {writer}; this is what it has published.")
    if eta:
        for line in _eta_lines(found, dataset):
            out.print(line)
        return
    with reading(found) as con:
        stages = accounts(con, dataset)
        if not stages and dataset:
            known = [row[0] for row in con.execute("SELECT name FROM datasets").fetchall()]
            raise StoreError(f"{store} holds no {dataset}; it holds: {', '.join(known) or 'none'}")
        if not stages:
            out.print(f"{store} holds no dataset yet")
        for each in stages:
            counts = f" {each.stage}: {counts_text(each)}"
            out.print(Text.assemble((each.dataset, "bold"), counts))
            for status, reason, clips in reasons(con, each.dataset, each.stage):
                out.print(f"  {clips:>7} {reason:<16} {status}")


def _eta_lines(store: Store, dataset: str | None) -> list[str]:
    """Describe when fetching of one dataset, or of every dataset, will end."""
    from avstore.manifests import ledger
    from avstore.manifests.catalogue import reading
    from avstore.pipelines.fetch.eta import describe_forecast, forecast

    now, lines = ledger.now(), []
    with reading(store) as con:
        names = [row[0] for row in con.execute("SELECT name FROM datasets ORDER BY 1").fetchall()]
        if dataset and dataset not in names:
            raise StoreError(
                f"the store holds no dataset {dataset!r}; it holds: {', '.join(names)}"
            )
        for name in [dataset] if dataset else names:
            lines.append(f"{name}:")
            lines.extend(f"  {line}" for line in describe_forecast(forecast(con, name, now), now))
    return lines
