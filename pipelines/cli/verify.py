"""avstore verify: compare the store's shards with its manifest."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from avstore.manifests.advice import repair_command
from avstore.manifests.store import Store, StoreError, find_store
from avstore.manifests.terminal import console, plural
from avstore.pipelines.cli.options import DEFAULT_STORE, ExitCode, JsonOption, StoreOption
from avstore.pipelines.cli.progress import bar
from avstore.pipelines.cli.tables import print_json

if TYPE_CHECKING:
    from avstore.manifests.problem import Problem

app = typer.Typer(add_completion=False)


@app.command("verify", epilog="Example: avstore verify --store data --repair")
def run(
    store: StoreOption = DEFAULT_STORE,
    checksums: Annotated[
        bool,
        typer.Option(
            help="Read every file completely and compare it with its checksum, and the "
            "manifest with what a rebuild would give."
        ),
    ] = True,
    repair: Annotated[
        bool, typer.Option(help="Move damaged files to STORE/damaged and rebuild the manifest.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check every file against its checksum, and every shard against its rows.

    Exit code 1 if anything differs. --repair prints the commands that write what is missing again.
    """
    from avstore.manifests.lock import current_writer
    from avstore.manifests.verify import verify_store

    out = console()
    found = find_store(store)
    notes: list[str] = []
    if (writer := current_writer(found)) and not as_json:
        out.print(f"The store is being written by {writer}; what it published is verified.")
    with bar(out, "verify", _shards(found), "shards") as advance:
        problems = verify_store(found, checksums, advance, notes.append)
    damaged = sorted({problem.where for problem in problems})
    if as_json:
        _print_json(problems, notes)
        if problems and repair:
            out.quiet = True
            _repair(found, damaged, out)
        raise typer.Exit(ExitCode.PROBLEM if problems else ExitCode.OK)
    for problem in problems:
        out.print(Text.assemble((problem.where, "red"), f" {problem.what}"))
    for line in notes:
        out.print(line)
    if not problems:
        out.print(_summary(found))
        return
    out.print(plural(len(problems), "problem"))
    if repair:
        _repair(found, damaged, out)
    else:
        out.print(f"To repair the store, run\n  {repair_command(found)}")
    raise typer.Exit(ExitCode.PROBLEM)


def _shards(store: Store) -> int:
    """Return how many shards the manifest names; of a manifest that cannot be read, those found."""
    from avstore.manifests.catalogue import reading

    try:
        with reading(store) as con:
            return int(con.execute("SELECT count(*) FROM shards").fetchall()[0][0])
    except StoreError:
        return len(store.sidecars())


def _summary(store: Store) -> str:
    from avstore.manifests.catalogue import open_read

    with open_read(store) as con:
        counts = con.execute("SELECT count(*), coalesce(sum(clips), 0) FROM shards").fetchall()
        imported = con.execute(
            "SELECT count(DISTINCT shard), count(*) FROM feature_samples WHERE is_imported(shard)"
        ).fetchall()
    (shards, clips), (companions, values) = counts[0], imported[0]
    what = f"{plural(shards, 'shard')} with {plural(int(clips), 'clip')}"
    if companions:
        added = f"{plural(companions, 'imported shard')} with {plural(values, 'value')}"
        what = f"{what}, {added}" if shards else added
    return f"{what}: all match the manifest"


def _print_json(problems: "list[Problem]", notes: list[str]) -> None:
    """Print a line per problem and note; a sound store prints nothing else."""
    print_json({"where": problem.where, "what": problem.what} for problem in problems)
    print_json({"note": note} for note in notes)


def _repair(store: Store, damaged: list[str], out: Console) -> None:
    """Move the damaged files away and rebuild the manifest without them."""
    from avstore.manifests.lock import writing
    from avstore.pipelines.build.repair import repair_store
    from avstore.pipelines.cli.index import print_repaired

    with writing(store):
        done = repair_store(store, damaged)
    print_repaired(store, done, out)
