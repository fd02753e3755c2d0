"""avstore verify: compare the store's shards with its manifest."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from avstore.manifests import commands
from avstore.manifests.problem import FEATURES, INDEX
from avstore.manifests.store import Store, find_store, shard_of
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
        bool, typer.Option(help="Move damaged shards to STORE/damaged and rebuild the manifest.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check every file against its checksum, and every shard against its rows.

    Exit code 1 if anything differs. After --repair, the next build writes the damaged shards again.
    """
    from avstore.manifests.lock import current_writer
    from avstore.manifests.verify import verify_store

    out = console()
    found = find_store(store)
    notes: list[str] = []
    if (writer := current_writer(found)) and not as_json:
        out.print(f"The store is being written by {writer}; what it published is verified.")
    with bar(out, "verify", len(found.sidecars()), "shards") as advance:
        problems = verify_store(found, checksums, advance, notes.append)
    if as_json:
        _print_json(problems, notes)
        if problems and repair:
            _repair(found, _damaged(problems), Console(quiet=True))
        raise typer.Exit(ExitCode.PROBLEM if problems else ExitCode.OK)
    for problem in problems:
        out.print(Text.assemble((problem.where, "red"), f" {problem.what}"))
    for line in notes:
        out.print(line)
    if not problems:
        out.print(_summary(found))
        return
    out.print(plural(len(problems), "problem"))
    damaged = _damaged(problems)
    if repair:
        _repair(found, damaged, out)
    else:
        _print_remedies(found, problems, bool(damaged), out)
    raise typer.Exit(ExitCode.PROBLEM)


def _print_json(problems: "list[Problem]", notes: list[str]) -> None:
    """Print a line per problem and note; a sound store prints nothing else."""
    print_json({"where": p.where, "what": p.what, "remedy": " ".join(p.remedy)} for p in problems)
    print_json({"note": note} for note in notes)


def _damaged(problems: "list[Problem]") -> list[str]:
    """Return the shards with a problem."""
    return sorted({_shard(p.where) for p in problems if _shard(p.where).endswith(".tar")})


def _summary(store: Store) -> str:
    from avstore.manifests.catalogue import open_read

    with open_read(store) as con:
        counts = con.execute("SELECT count(*), coalesce(sum(clips), 0) FROM shards").fetchall()
    shards, clips = counts[0]
    what = f"{plural(shards, 'shard')} with {plural(int(clips), 'clip')}"
    return f"{what}: all match the manifest"


def _print_remedies(store: Store, problems: "list[Problem]", damaged: bool, out: Console) -> None:
    """Print the commands that mend what was found."""
    if damaged:
        repair = commands.avstore("verify", "--repair", store=store.root)
        out.print(
            "To write damaged or missing shards again, with the same bytes, run\n"
            f"  {repair}\n"
            "and then the same build (for derived features, the same features build)."
        )
    for words, what in ((INDEX, "To rebuild the manifest"), (FEATURES, "To list stale features")):
        if any(problem.remedy == words for problem in problems):
            out.print(f"{what}, run\n  {commands.avstore(*words, store=store.root)}")


def _shard(where: str) -> str:
    """Return the shard of a sidecar; any other path as it is."""
    is_sidecar = where.startswith("shards/") and where.endswith(".parquet")
    return str(shard_of(Path(where))) if is_sidecar else where


def _repair(store: Store, damaged: list[str], out: Console) -> None:
    """Move the damaged shards away and rebuild the manifest without them."""
    from avstore.manifests.lock import writing
    from avstore.manifests.repair import set_aside, unusable_sidecars
    from avstore.pipelines.cli.index import rebuild_manifest

    with writing(store):
        folder = set_aside(store, damaged)
        left_out = unusable_sidecars(store, [*store.sidecars(), *store.feature_sidecars()])
        rebuild_manifest(store, left_out)
    out.print(f"{plural(len(damaged), 'shard')} moved to {folder} and removed from the manifest.")
    out.print("Run the same build again (for derived features, the same features build).")
