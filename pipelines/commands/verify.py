"""avstore verify: is the store what its manifest says?"""

from typing import Annotated

import typer

from manifests.catalogue import open_read
from manifests.store import find_store
from manifests.verify import verify
from pipelines.commands.options import DEFAULT_STORE, ExitCode, StoreOption
from pipelines.progress import bar, console


def run(
    store: StoreOption = DEFAULT_STORE,
    checksums: Annotated[
        bool, typer.Option(help="Read every shard whole and compare its sha256.")
    ] = True,
) -> None:
    """Hold every shard against its checksum, sidecar and rows. Exit code 1: something differs."""
    out = console()
    found = find_store(store)
    with open_read(found) as con:
        counted = con.execute("SELECT count(*), coalesce(sum(clips), 0) FROM shards").fetchone()
        shards, clips = counted or (0, 0)
        with bar(out, "verify", int(shards), "shards") as advance:
            problems = list(verify(con, found, checksums, advance))
    for problem in problems:
        out.print(f"[red]{problem.where}[/red] {problem.what}")
    if problems:
        out.print(f"{len(problems)} problems in {shards} shards")
        raise typer.Exit(ExitCode.PROBLEM)
    out.print(f"{shards} shards with {clips} clips: all as the manifest says")
