"""avstore verify: is the store what its manifest says?"""

import shlex
from typing import Annotated

import typer
from rich.console import Console

from avstore.manifests.catalogue import open_read
from avstore.manifests.lock import writing
from avstore.manifests.repair import set_aside, unusable_sidecars
from avstore.manifests.store import Store, find_store
from avstore.manifests.verify import verify
from avstore.pipelines.cli.index import index
from avstore.pipelines.cli.options import DEFAULT_STORE, ExitCode, StoreOption
from avstore.pipelines.cli.progress import bar, console


def run(
    store: StoreOption = DEFAULT_STORE,
    checksums: Annotated[
        bool, typer.Option(help="Read every shard whole and compare its sha256.")
    ] = True,
    repair: Annotated[
        bool, typer.Option(help="Move damaged shards away, for the next build to make again.")
    ] = False,
) -> None:
    """Hold every shard against its checksum, sidecar and rows. Exit code 1: something differs.

    --repair moves what is damaged to STORE/damaged and makes the manifest again without it.
    """
    out = console()
    found = find_store(store)
    with open_read(found) as con:
        counted = con.execute("SELECT count(*), coalesce(sum(clips), 0) FROM shards").fetchall()
        shards, clips = counted[0]
        with bar(out, "verify", int(shards), "shards") as advance:
            problems = list(verify(con, found, checksums, advance))
    for problem in problems:
        out.print(f"[red]{problem.where}[/red] {problem.what}")
    if not problems:
        out.print(f"{shards} shards with {clips} clips: all as the manifest says")
        return
    out.print(f"{len(problems)} problems in {shards} shards")
    damaged = sorted({problem.where for problem in problems if problem.where.endswith(".tar")})
    if repair:
        _repair(found, damaged, out)
    elif damaged:
        out.print(
            "Damaged or missing shards are made again, with the same bytes, by\n"
            f"  avstore verify --repair --store {shlex.quote(str(found.root))}\n"
            "and then the same build (of derived features: avstore features build)."
        )
    raise typer.Exit(ExitCode.PROBLEM)


def _repair(store: Store, damaged: list[str], out: Console) -> None:
    """Set the shards aside and make the manifest again."""
    with writing(store):
        folder = set_aside(store, damaged)
        left = unusable_sidecars(store, [*store.sidecars(), *store.feature_sidecars()])
        index(store, left)
    out.print(f"{len(damaged)} shards are in {folder} now, and no longer in the manifest.")
    out.print("Run the same build again (of derived features: avstore features build).")
