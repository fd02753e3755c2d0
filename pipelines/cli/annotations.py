"""avstore annotations: fetch a dataset's annotation files, and check annotation files."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from avstore.manifests import commands
from avstore.manifests.terminal import console, plural
from avstore.pipelines.cli.options import (
    DEFAULT_STORE,
    DatasetArgument,
    ExitCode,
    JsonOption,
    StoreOption,
    local_path,
)
from avstore.pipelines.cli.tables import print_json

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Fetch and check annotation files."
)


@app.command("fetch", epilog="Example: avstore annotations fetch ave")
def fetch(
    dataset: DatasetArgument,
    store: StoreOption = DEFAULT_STORE,
    to: Annotated[
        Path | None, typer.Option(help="Output folder (default: STORE/annotations/DATASET).")
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Fetch existing files again.")] = False,
    url: Annotated[
        list[str] | None,
        typer.Option(help="Address to fetch instead of the official ones (repeatable)."),
    ] = None,
) -> None:
    """Fetch annotation files from their official addresses, and record sha256 and date."""
    from avstore.datasets import registry
    from avstore.manifests.store import StoreError
    from avstore.pipelines.build.annotation_files import annotation_folder, fetch_annotations

    spec = registry.get(dataset)
    folder = to or annotation_folder(Path(store), spec.name)
    try:
        files = fetch_annotations(spec, folder, refresh, urls=tuple(url) if url else None)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}") from error
    out = console()
    for file in files:
        out.print(f"{file.sha256}  {file.path}  ({file.bytes} bytes, {file.fetched_at})")
        if file.before:
            out.print(f"  changed since the last fetch; sha256 before: {file.before}")
    given = to and (",".join(commands.short_path(file.path) for file in files))
    line = commands.build(dataset, store, "/path/to/videos", given)
    out.print(f"\nNext:\n  {line}")


@app.command("check", epilog="Example: avstore annotations check vggsound vggsound.csv")
def check(
    dataset: DatasetArgument,
    files: Annotated[list[Path], typer.Argument(help="Annotation files.", parser=local_path)],
    limit: Annotated[int, typer.Option(help="Bad rows to print; 0 prints all.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Parse annotation files and count their clips, labels and segments.

    Exit code 1 if rows cannot be used.
    """
    from avstore.datasets import registry

    parsed = registry.get(dataset).parse(files)
    if as_json:
        print_json(asdict(bad) for bad in parsed.bad_rows)
        raise typer.Exit(ExitCode.PROBLEM if parsed.bad_rows else ExitCode.OK)
    out = console()
    splits = Counter(clip.split for clip in parsed.clips)
    subsets = Counter(subset for clip in parsed.clips for subset in clip.subsets)
    labels = {label for clip in parsed.clips for label in clip.labels}
    counted = (("clip", parsed.clips), ("label", labels), ("segment", parsed.segments))
    out.print(", ".join(plural(len(found), noun) for noun, found in counted))
    for name, count in Counter(each.label_set for each in parsed.clip_labels).items():
        out.print(f"{plural(count, 'label')} of the label set {name}")
    for name, counts in (("split", splits), ("subset", subsets)):
        for value, clips in sorted(counts.items()):
            out.print(f"  {name} {value}: {clips}")
    shown = parsed.bad_rows[:limit] if limit else parsed.bad_rows
    for bad in shown:
        out.print(f"{bad.file} row {bad.row}: {bad.reason}")
    if len(parsed.bad_rows) > len(shown):
        out.print(f"… {len(parsed.bad_rows)} bad rows in total (--limit 0 prints all)")
    if parsed.bad_rows:
        raise typer.Exit(ExitCode.PROBLEM)
