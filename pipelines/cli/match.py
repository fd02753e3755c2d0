"""avstore match: show which files belong to which clips, before building."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avstore.manifests.terminal import console, plural
from avstore.pipelines.cli.options import (
    DEFAULT_STORE,
    DatasetOrListArgument,
    ExitCode,
    JsonOption,
    NamesOption,
    StoreOption,
)
from avstore.pipelines.cli.tables import print_json

if TYPE_CHECKING:
    from rich.console import Console

    from avstore.datasets.spec import Annotations, BadRow, DatasetSpec
    from avstore.pipelines.fetch.match_report import Group, MatchReport

app = typer.Typer(add_completion=False)


@app.command(
    "match",
    epilog="Example: avstore match vggsound --source videos --annotations vggsound.csv",
)
def run(
    dataset: DatasetOrListArgument,
    source: Annotated[
        str | None,
        typer.Option(help="Videos: folder, archive or address (default: your list's folder)."),
    ] = None,
    annotations: Annotated[
        list[str] | None,
        typer.Option(
            help="Annotation files or their folder, separated by commas (default: those fetched "
            "to the store)."
        ),
    ] = None,
    names: NamesOption = None,
    store: StoreOption = DEFAULT_STORE,
    examples: Annotated[int, typer.Option(min=0, help="Examples of each group.")] = 3,
    fetch_option: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE for the source (repeatable; see docs/fetching.md)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which files belong to which clips, before building.

    Nothing is fetched and nothing is written. Exit code 1 if no clip has a file.
    """
    from avstore.pipelines.cli.fetch_options import parse_fetch_options
    from avstore.pipelines.fetch.match_report import report_matches
    from avstore.pipelines.fetch.open_source import open_source
    from avstore.pipelines.fetch.requests import clip_request

    spec, place, parsed = _clips(dataset, source, annotations, store)
    options = parse_fetch_options(fetch_option or [])
    options = replace(options, names=names or options.names)
    opened = open_source(place, options, Path(store) / "raw" / spec.name)
    requests = [clip_request(spec, clip) for clip in parsed.clips]
    report = report_matches(opened, requests, options.names, examples)
    out = console()
    if as_json:
        print_json([asdict(report)])
    else:
        _print(report, out)
        _print_bad_rows(parsed.bad_rows, out)
    if not report.found:
        raise typer.Exit(ExitCode.PROBLEM)


def _clips(
    dataset: str, source: str | None, annotations: list[str] | None, store: Path
) -> tuple["DatasetSpec", str, "Annotations"]:
    """Return the dataset, where its videos are, and its clips, of a list of the user's own too."""
    from tempfile import TemporaryDirectory

    from avstore.datasets import registry
    from avstore.manifests.store import Store, StoreError
    from avstore.pipelines.build.annotations import annotation_files
    from avstore.pipelines.build.own_data import OwnOptions
    from avstore.pipelines.cli.build import annotation_paths
    from avstore.pipelines.cli.own_data import is_own_data, own_inputs

    if not is_own_data(dataset):
        spec = registry.get(dataset)
        if source is None:
            raise StoreError("the videos are missing; add --source /path/to/videos")
        files = annotation_files(annotation_paths(annotations))
        return spec, source, spec.parse(files or _fetched(spec, store))
    if annotations:
        raise StoreError(f"{dataset} is the list of the clips; --annotations is not needed")
    with TemporaryDirectory() as folder:  # match leaves no trace in the store
        own = own_inputs(dataset, OwnOptions(source=source), Store(Path(folder)), console())
        return own.spec, own.source, own.spec.parse(own.annotations)


def _fetched(spec: "DatasetSpec", store: Path) -> Sequence[Path]:
    """Return the annotation files that were fetched to the store."""
    from avstore.manifests.store import StoreError
    from avstore.pipelines.build.annotation_files import fetched_files

    files = fetched_files(store, spec.name)
    if not files:
        fetch = f", or run avstore annotations fetch {spec.name}" if spec.annotation_urls else ""
        raise StoreError(f"no annotation file is given; add --annotations /path/to/file{fetch}")
    return files


def _print(report: "MatchReport", out: "Console") -> None:
    found = sum(group.count for group in report.found)
    clips, files = plural(report.clips, "clip"), plural(report.files, "media file")
    out.print(f"{clips}, {files}: {plural(found, 'clip has', 'clips have')} a file")
    _print_groups(report.found, out)
    missing = sum(group.count for group in report.missing)
    if missing:
        out.print(f"{plural(missing, 'clip has', 'clips have')} no file")
        _print_groups(report.missing, out)
    unmatched = sum(group.count for group in report.unmatched)
    if unmatched:
        out.print(f"{plural(unmatched, 'file belongs', 'files belong')} to no clip")
        _print_groups(report.unmatched, out)
    if report.spare.count:
        spare = plural(report.spare.count, "further file")
        out.print(f"not used: {spare} of clips that have one")
        _print_examples(report.spare, out)
    if report.skipped.count:
        out.print(
            f"not searched: {plural(report.skipped.count, 'folder or file', 'folders or files')}"
        )
        _print_examples(report.skipped, out)


def _print_bad_rows(bad_rows: "Sequence[BadRow]", out: "Console") -> None:
    if not bad_rows:
        return
    out.print(f"{plural(len(bad_rows), 'annotation row')} could not be used")
    for bad in bad_rows[:3]:
        out.print(f"          {bad.file} row {bad.row}: {bad.reason}", soft_wrap=True)


def _print_groups(groups: "Sequence[Group]", out: "Console") -> None:
    for group in groups:
        out.print(f"  {group.count:>7} {group.name}", soft_wrap=True)
        _print_examples(group, out)


def _print_examples(group: "Group", out: "Console") -> None:
    for example in group.examples:
        out.print(f"          {example}", soft_wrap=True)
