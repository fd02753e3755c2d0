"""avstore status: where every published clip is."""

from typing import Annotated

import typer

from manifests.account import accounts, reasons
from manifests.catalogue import open_read
from manifests.store import find_store
from pipelines.commands.options import DEFAULT_STORE, StoreOption
from pipelines.progress import console
from pipelines.words import sentence


def run(
    dataset: Annotated[str | None, typer.Argument(help="One dataset; all else.")] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """The closed account of every dataset and stage, and why clips are missing."""
    out = console()
    with open_read(find_store(store)) as con:
        found = accounts(con, dataset)
        if not found:
            out.print(f"nothing is known of {dataset or 'any dataset'} in {store}")
        for account in found:
            out.print(f"[bold]{account.dataset}[/bold] {account.stage}: {sentence(account)}")
            for status, verdict, clips in reasons(con, account.dataset, account.stage):
                out.print(f"  {clips:>7} {verdict:<16} {status}")
