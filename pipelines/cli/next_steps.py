"""Print the result of a build, and commands to run next: each works when it is copied."""

from typing import TYPE_CHECKING

from rich.console import Console

from avstore.datasets.spec import DatasetSpec
from avstore.manifests import commands
from avstore.manifests.store import Store
from avstore.manifests.terminal import is_quiet

if TYPE_CHECKING:
    import duckdb

    from avstore.pipelines.build.driver import BuildOptions, BuildResult

_COVERAGE = "SELECT label, split, stored, wanted FROM coverage"


def print_built(
    spec: DatasetSpec, options: "BuildOptions", built: "BuildResult", out: Console
) -> None:
    """Write the report; print the summary and the next commands."""
    from avstore.manifests.catalogue import open_read
    from avstore.pipelines.cli.summary import print_summary
    from avstore.pipelines.report.page import write_report

    store = Store(options.store)
    report = write_report(store, spec.name, built.stage)
    with open_read(store) as con:
        print_summary(con, store, spec, built, out, match_command(spec, options))
        training = training_command(con, store, spec)
    out.print(f"report {report}")
    if not is_quiet():
        _print_next(spec, store, options, training, out)


def _print_next(
    spec: DatasetSpec, store: Store, options: "BuildOptions", training: str | None, out: Console
) -> None:
    from avstore.datasets.sample import SAMPLES

    out.print("\nNext:")
    out.print(f"  {commands.avstore('sql', _COVERAGE, store=store.root)}")
    if options.annotations_only:
        rows = ",".join(str(path) for path in options.annotations) or None
        out.print(f"  {commands.build(spec.name, store.root, '/path/to/videos', rows)}")
    elif training:
        out.print(f"  {training}")
    else:
        out.print("No stored clip is in the split train, so there is nothing to train on yet.")
    sample = SAMPLES.get(spec.name)
    if sample and spec is sample.spec:
        out.print("This was the embedded sample. To build the real dataset, in another folder:")
        place, videos, rows = "/path/to/store", "/path/to/videos", sample.lists
        out.print(f"  {commands.build(spec.name, place, videos, rows)}")
        out.print(f"  {commands.build(spec.name, place, 'youtube', rows)}")


def training_command(
    con: "duckdb.DuckDBPyConnection", store: Store, spec: DatasetSpec, *words: str
) -> str | None:
    """Return the line that trains on a dataset; None if it has no stored training clip.

    Args:
        con: The manifest.
        store: The store.
        spec: The dataset.
        words: Further options.
    """
    from avstore.manifests.filled_streams import trainable_stream

    stream = trainable_stream(con, spec.streams, spec.name)
    config = ("--config", spec.training) if spec.training else ()
    return stream and commands.train(store.shards, *config, "--stream", stream, *words)


def match_command(spec: DatasetSpec, options: "BuildOptions") -> str | None:
    """Return the line that shows which files a build matched; None for a user's own list."""
    if spec.own_data is not None:
        return None
    words: list[commands.Word] = ["--source", commands.short_path(options.source)]
    for path in options.annotations:
        words += ["--annotations", path]
    words += ["--names", options.fetch.names] if options.fetch.names else []
    return commands.avstore("match", spec.name, *words, store=options.store)
