"""avstore status: where every published clip is."""

from typing import Annotated

import typer

from avstore.manifests.account import accounts, reasons
from avstore.manifests.catalogue import open_read
from avstore.manifests.store import StoreError, find_store
from avstore.pipelines.cli.fetching import eta_lines
from avstore.pipelines.cli.options import DEFAULT_STORE, ManifestOption
from avstore.pipelines.cli.progress import console
from avstore.pipelines.cli.summary import sentence


def run(
    dataset: Annotated[str | None, typer.Argument(help="One dataset; all else.")] = None,
    store: ManifestOption = DEFAULT_STORE,
    eta: Annotated[bool, typer.Option("--eta", help="When fetching will end.")] = False,
) -> None:
    """The closed account of every dataset and stage, and why clips are missing."""
    out = console()
    if eta:
        for line in eta_lines(find_store(store), dataset):
            out.print(line, markup=False)
        return
    with open_read(find_store(store)) as con:
        found = accounts(con, dataset)
        if not found and dataset:
            known = [row[0] for row in con.execute("SELECT name FROM datasets").fetchall()]
            raise StoreError(f"{store} holds no {dataset}; it holds: {', '.join(known) or 'none'}")
        if not found:
            out.print(f"nothing is in {store} yet")
        for account in found:
            out.print(f"[bold]{account.dataset}[/bold] {account.stage}: {sentence(account)}")
            for status, verdict, clips in reasons(con, account.dataset, account.stage):
                out.print(f"  {clips:>7} {verdict:<16} {status}")
