"""avstore report: a dataset on one page."""

from typing import Annotated

import typer

from avstore.manifests.account import accounts
from avstore.manifests.catalogue import open_read
from avstore.manifests.store import StoreError, find_store
from avstore.pipelines.cli.options import DEFAULT_STORE, StoreOption
from avstore.pipelines.cli.progress import console
from avstore.pipelines.report.page import write_report


def run(
    dataset: Annotated[str, typer.Argument(help="vggsound, audioset, …")],
    store: StoreOption = DEFAULT_STORE,
    stage: Annotated[str | None, typer.Option(help="<recipe>-<fp8>; the latest else.")] = None,
) -> None:
    """Write STORE/reports/DATASET.html: account, reasons, coverage, and a look at the clips."""
    found = find_store(store)
    with open_read(found) as con:
        held = [row[0] for row in con.execute("SELECT name FROM datasets").fetchall()]
        if dataset not in held:
            raise StoreError(f"{store} holds no {dataset}; it holds: {', '.join(held) or 'none'}")
        stages = [a.stage for a in accounts(con, dataset) if a.stage != "fetch"]
        if not stages or (stage and stage not in stages):
            asked = f"stage {stage}" if stage else "extraction"
            known = ", ".join(stages) or "none"
            raise StoreError(f"{dataset} has no {asked} in {store}; it has: {known}")
        console().print(str(write_report(con, found, dataset, stage or stages[-1])))
