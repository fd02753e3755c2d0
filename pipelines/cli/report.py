"""avstore report: write a dataset's HTML report."""

from typing import Annotated

import typer

from avstore.manifests.terminal import console
from avstore.pipelines.cli.options import DEFAULT_STORE, StoredDatasetArgument, StoreOption

app = typer.Typer(add_completion=False)


@app.command("report", epilog="Example: avstore report vggsound --store data")
def run(
    dataset: StoredDatasetArgument,
    store: StoreOption = DEFAULT_STORE,
    stage: Annotated[
        str | None, typer.Option(help="Recipe and fingerprint (default: the latest).")
    ] = None,
) -> None:
    """Write an HTML report of a dataset: summary, reasons, coverage, samples.

    The page is STORE/reports/DATASET.html: one file of at most 5 MB that needs no server, with
    pictures and sound of up to 24 clips. avstore browse shows all clips.
    """
    from avstore.manifests.account import accounts, require_dataset
    from avstore.manifests.catalogue import reading
    from avstore.manifests.store import StoreError, find_store
    from avstore.pipelines.report.page import write_report

    found = find_store(store)
    with reading(found) as con:
        require_dataset(con, dataset)
        stages = [a.stage for a in accounts(con, dataset) if a.stage != "fetch"]
        if not stages or (stage and stage not in stages):
            missing = f"stage {stage}" if stage else "extraction"
            known = ", ".join(stages) or "none"
            raise StoreError(f"{dataset} has no {missing} in {store}; it has: {known}")
    console().print(str(write_report(found, dataset, stage or stages[-1])))
