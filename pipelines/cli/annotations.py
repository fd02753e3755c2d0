"""avstore annotations: fetch a dataset's annotation files, and check those that one has."""

import shlex
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from avstore.datasets import registry
from avstore.manifests.store import StoreError
from avstore.pipelines.build.annotation_files import annotation_folder, fetch_annotations
from avstore.pipelines.cli.options import DEFAULT_STORE, ExitCode, StoreOption
from avstore.pipelines.cli.progress import console

app = typer.Typer(no_args_is_help=True, help="Annotation files: fetch, check.")
DatasetArgument = Annotated[str, typer.Argument(help="vggsound, audioset, …")]


@app.command("fetch")
def fetch(
    dataset: DatasetArgument,
    store: StoreOption = DEFAULT_STORE,
    to: Annotated[
        Path | None, typer.Option(help="Folder (default: STORE/annotations/DATASET).")
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Fetch what is there again.")] = False,
    url: Annotated[
        list[str] | None, typer.Option(help="Another address than the official one (repeat).")
    ] = None,
) -> None:
    """Fetch annotation files from their official addresses; sha256 and date are recorded."""
    spec = registry.get(dataset)
    folder = to or annotation_folder(Path(store), spec.name)
    try:
        found = fetch_annotations(spec, folder, refresh, urls=tuple(url) if url else None)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}") from error
    out = console()
    for file in found:
        out.print(f"{file.sha256}  {file.path}  ({file.bytes} bytes, {file.fetched_at})")
        if file.before:
            out.print(f"  changed since the last time: it was {file.before}")
    names = ",".join(shlex.quote(str(file.path)) for file in found)
    out.print(f"\nNext:\n  make {dataset}-shards SOURCE=/path/to/videos ANNOTATIONS={names}")


@app.command("check")
def check(
    dataset: DatasetArgument,
    files: Annotated[list[Path], typer.Argument(help="Annotation files.")],
    limit: Annotated[int, typer.Option(help="Bad rows to print; 0: all.")] = 20,
) -> None:
    """Read annotation files and say what is in them. Exit code 1 where rows cannot be used."""
    found = registry.get(dataset).parse(files)
    out = console()
    splits = Counter(clip.split for clip in found.clips)
    subsets = Counter(subset for clip in found.clips for subset in clip.subsets)
    labels = {label for clip in found.clips for label in clip.labels}
    out.print(f"{len(found.clips)} clips, {len(labels)} labels, {len(found.segments)} segments")
    for name, counts in (("split", splits), ("subset", subsets)):
        for value, clips in sorted(counts.items()):
            out.print(f"  {name} {value}: {clips}")
    shown = found.bad_rows[:limit] if limit else found.bad_rows
    for bad in shown:
        out.print(f"{bad.file} row {bad.row}: {bad.reason}", markup=False)
    if len(found.bad_rows) > len(shown):
        out.print(f"… {len(found.bad_rows)} bad rows in all (--limit 0)")
    if found.bad_rows:
        raise typer.Exit(ExitCode.PROBLEM)
