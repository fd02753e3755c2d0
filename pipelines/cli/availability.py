"""The commands about fetching: retry, availability; and what `status --eta` prints."""

from pathlib import Path
from typing import Annotated

import typer

from avstore.manifests import ledger
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.lock import writing
from avstore.manifests.store import Store, StoreError, find_store
from avstore.pipelines.build.recovery import recover
from avstore.pipelines.cli.options import DEFAULT_STORE, StoreOption
from avstore.pipelines.cli.progress import console
from avstore.pipelines.fetch.availability import (
    compare_availability,
    describe_comparison,
    export_availability,
)
from avstore.pipelines.fetch.eta import describe_forecast, forecast
from avstore.pipelines.fetch.retry import mark_for_retry, matching_failures

availability_app = typer.Typer(
    no_args_is_help=True, help="Which published clips were to be had, as a file to publish."
)
_SHOWN = 5


def retry(
    dataset: Annotated[str, typer.Argument(help="vggsound, audioset, …")],
    where: Annotated[
        str,
        typer.Option(
            help="SQL over the failed clips: clip_id, key, split, labels, status, class, message, "
            "attempts, not_before, tried_at, tool."
        ),
    ],
    store: StoreOption = DEFAULT_STORE,
    dry_run: Annotated[bool, typer.Option(help="Only say which clips it would be.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another writer.")] = 0.0,
) -> None:
    """Give clips that could not be fetched another chance: the next build tries them again."""
    out = console()
    found_store = find_store(store)
    found = matching_failures(found_store, dataset, where)
    for clip_id, verdict, message in found[:_SHOWN]:
        out.print(f"  {clip_id}  {verdict}  {message}", markup=False)
    if len(found) > _SHOWN:
        out.print(f"  … and {len(found) - _SHOWN:,} more")
    if not found:
        out.print(
            f"no clip of {dataset} that could not be fetched is chosen by: {where}", markup=False
        )
        out.print(
            "(What a file itself is rejected for, such as too_short, another attempt would not "
            "change: mend the file, and build again.)"
        )
        return
    if dry_run:
        out.print(f"{len(found):,} clips would be tried again")
        return
    with writing(found_store, wait), open_write(found_store) as writer:
        recover(writer, found_store)
        mark_for_retry(writer, found_store, dataset, [clip_id for clip_id, _, _ in found])
    out.print(f"{len(found):,} clips will be tried again by the next build of {dataset}")


def eta_lines(store: Store, dataset: str | None) -> list[str]:
    """What `avstore status --eta` says of one dataset, or of each."""
    now, lines = ledger.now(), []
    with open_read(store) as con:
        names = [row[0] for row in con.execute("SELECT name FROM datasets ORDER BY 1").fetchall()]
        if dataset and dataset not in names:
            raise StoreError(
                f"the store holds no dataset {dataset!r}; it holds: {', '.join(names)}"
            )
        for name in [dataset] if dataset else names:
            lines.append(f"{name}:")
            found = describe_forecast(forecast(con, name, now), now)
            lines.extend(f"  {line}" for line in found)
    return lines


@availability_app.command("export")
def export(
    dataset: Annotated[str, typer.Argument(help="vggsound, audioset, …")],
    target: Annotated[Path, typer.Argument(help="The file to write: .csv or .parquet.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write ids, status, date and sha256 of every published clip."""
    with open_read(find_store(store)) as con:
        count = export_availability(con, dataset, target)
    console().print(f"{count:,} clips written to {target}", markup=False)


@availability_app.command("compare")
def compare(
    a: Annotated[Path, typer.Argument(help="An availability manifest.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    classes: Annotated[int, typer.Option(min=0, help="How many classes to list.")] = 10,
) -> None:
    """Say how two labs' clips differ, and what that does to the balance of classes."""
    out = console()
    for line in describe_comparison(compare_availability(a, b), a.name, b.name, classes):
        out.print(line, markup=False)
