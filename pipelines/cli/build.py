"""avstore build: turn annotation files and media into shards and a manifest."""

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from avstore.datasets.spec import AnnotationError, DatasetSpec
from avstore.manifests.path_text import text_path
from avstore.manifests.store import Store, StoreError
from avstore.manifests.terminal import console
from avstore.pipelines.cli.completion import recipe_names
from avstore.pipelines.cli.embedded_sample import is_embedded, make_inputs, require_same_origin
from avstore.pipelines.cli.options import (
    DEFAULT_STORE,
    DatasetOrListArgument,
    NamesOption,
    StoreOption,
    WaitOption,
    local_path,
    split_paths,
)
from avstore.pipelines.cli.progress import bar, naming_what_is_kept

if TYPE_CHECKING:
    from avstore.pipelines.build.own_data import OwnOptions

app = typer.Typer(add_completion=False)


@app.command("build", epilog="Example: avstore build ave --source AVE_Dataset.zip --store data")
def run(
    dataset: DatasetOrListArgument,
    store: StoreOption = DEFAULT_STORE,
    source: Annotated[
        str | None,
        typer.Option(
            help="Videos: folder, archive, address, 'youtube', or 'sample' (default: the embedded "
            "sample of VGGSound or YT-360)."
        ),
    ] = None,
    annotations: Annotated[
        list[str] | None,
        typer.Option(
            help="Published annotation files or their folder, separated by commas (repeatable)."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Recipe name or TOML file (default: the dataset's).", autocompletion=recipe_names
        ),
    ] = None,
    shard_clips: Annotated[
        int | None,
        typer.Option(min=1, help="Clips per shard (default: the dataset's)."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes (default: one per core).")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a running Dask scheduler (default: local workers)."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Build only the first N clips.")] = None,
    names: NamesOption = None,
    name: Annotated[
        str | None, typer.Option(help="Own data: its name (default: that of the list or folder).")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Own data: 'folders' labels each video by its folder.")
    ] = None,
    cut: Annotated[
        float | None, typer.Option(help="Own data: cut whole videos into clips of SECONDS.")
    ] = None,
    stride: Annotated[
        float | None, typer.Option(help="Own data: seconds from clip to clip (default: --cut).")
    ] = None,
    annotations_only: Annotated[
        bool,
        typer.Option("--annotations-only", help="Take the lists alone: every clip is pending."),
    ] = False,
    wait: WaitOption = 0.0,
    fetch_option: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE for the source (repeatable; see docs/fetching.md)."),
    ] = None,
) -> None:
    """Build a dataset's shards and manifest.

    Finished shards and extracted clips are kept: run an interrupted build again to continue it.
    """
    from avstore.pipelines.build.driver import BuildOptions, build
    from avstore.pipelines.cli.fetch_options import parse_fetch_options
    from avstore.pipelines.cli.next_steps import print_built
    from avstore.pipelines.cli.own_data import find_spec, is_own_data
    from avstore.pipelines.extract.recipe import load_recipe

    out = console()
    fetch = parse_fetch_options(fetch_option or [])
    if recipe:
        load_recipe(recipe)  # refuse a wrong one before anything is made
    files = annotation_paths(annotations)
    if annotations_only and (source or names or limit or fetch_option):
        raise StoreError(
            "--annotations-only looks for no clip; leave out --source, --names, --limit and "
            "--fetch-option"
        )
    embedded = not annotations_only and is_embedded(dataset, source, files)
    require_same_origin(dataset, embedded, Store(store))
    arguments = _arguments(
        dataset,
        [
            # The sample needs no name, and a folder may be called so.
            ("--source", None if embedded else source and _absolute(source)),
            ("--annotations", ",".join(str(path.absolute()) for path in files)),
            ("--recipe", recipe and _absolute(recipe)),
            ("--shard-clips", shard_clips),
            ("--limit", limit),
            ("--names", names),
            ("--name", name),
            ("--labels", labels),
            ("--cut", cut),
            ("--stride", stride),
            *(("--fetch-option", option) for option in fetch_option or ()),
        ],
    )
    arguments += ("--annotations-only",) if annotations_only else ()
    own = _own_options(name, source, labels, cut, stride)
    if annotations_only and not is_own_data(dataset):
        spec, source = find_spec(dataset, Store(store)), ""
        files = files or _published_files(spec, store, out)
    else:
        spec, source, files = _inputs(dataset, store, source, files, own, wait, out)
    if names and spec.own_data is not None:
        raise StoreError(f"--names is not for your own data: the list of {spec.name} names files")
    options = BuildOptions(
        store=store,
        source=source,
        annotations=files,
        shard_clips=shard_clips,
        workers=workers,
        scheduler=scheduler,
        wait_s=wait,
        limit=limit,
        annotations_only=annotations_only,
        fetch=replace(fetch, names=names or fetch.names),
        arguments=arguments,
    )
    with naming_what_is_kept(Store(store), out):
        built = build(spec, load_recipe(recipe or spec.recipe), options, partial(bar, out))
    print_built(spec, options, built, out)


def _arguments(dataset: str, options: Iterable[tuple[str, object]]) -> tuple[str, ...]:
    """Return the words of this command that decide its result, to be run from any folder."""
    from avstore.pipelines.cli.own_data import is_own_data

    words = (word for pair in options if pair[1] for word in map(str, pair))
    return ("build", _absolute(dataset) if is_own_data(dataset) else dataset, *words)


def _absolute(name: str) -> str:
    """Return a path that exists as an absolute one, and any other name as it is."""
    return str(Path(name).absolute()) if os.path.exists(name) else name


def annotation_paths(annotations: list[str] | None) -> tuple[Path, ...]:
    """Return the files of the option --annotations: repeated, or separated by commas."""
    listed = [part for value in annotations or [] for part in split_paths(value)]
    return tuple(local_path(part) for part in listed)


def _own_options(
    name: str | None,
    source: str | None,
    labels: str | None,
    cut: float | None,
    stride: float | None,
) -> "OwnOptions":
    from avstore.pipelines.build.own_data import OwnOptions

    if labels not in (None, "folders"):
        raise StoreError(f"--labels {labels!r} is not 'folders'; a list has a column labels")
    if stride is not None and cut is None:
        raise StoreError(f"--stride {stride:g} needs --cut, the length of the clips in seconds")
    return OwnOptions(name, source, labels is not None, cut, stride)


def _inputs(
    dataset: str,
    store: Path,
    source: str | None,
    files: tuple[Path, ...],
    own: "OwnOptions",
    wait: float,
    out: Console,
) -> tuple[DatasetSpec, str, tuple[Path, ...]]:
    """Return the dataset, its media and its annotation files; without any, the embedded sample."""
    from avstore.pipelines.cli.own_data import find_spec, is_own_data, own_inputs

    if is_own_data(dataset):
        if files:
            raise StoreError(f"{dataset} is the list of the clips; --annotations is not needed")
        opened = own_inputs(dataset, own, Store(store), out)
        return opened.spec, opened.source, opened.annotations
    if own.name or own.label_folders or own.cut_s:
        raise StoreError(
            f"--name, --labels and --cut are for your own data, and {dataset!r} is a name; give "
            "the list or the folder"
        )
    spec = find_spec(dataset, Store(store))
    if spec.own_data is not None and not files:
        return spec, source or text_path(str(spec.own_data["source"])), ()
    if is_embedded(dataset, source, files):
        return make_inputs(dataset, store, wait, out)
    if source is None:
        raise StoreError(
            "annotation files are given, but no videos; add SOURCE=/path/to/videos "
            "(--source), SOURCE=youtube to fetch them, or --annotations-only to take the lists "
            "alone"
        )
    return spec, source, files or _published_files(spec, store, out)


def _published_files(spec: DatasetSpec, store: Path, out: Console) -> tuple[Path, ...]:
    """Return the annotation files, fetched from their official addresses unless present."""
    from avstore.pipelines.build.annotation_files import annotation_folder, fetch_annotations

    if not spec.annotation_urls:
        raise StoreError(
            "videos are given, but no annotation file; add ANNOTATIONS=/path/to/file "
            f"(--annotations); {spec.title} publishes them at {spec.homepage}"
        )
    folder = annotation_folder(store, spec.name)
    try:
        fetched = fetch_annotations(spec, folder)
    except AnnotationError as error:
        raise AnnotationError(
            f"{error}; give the annotation files with ANNOTATIONS=/path/to/file (--annotations)"
        ) from error
    out.print(f"annotations: {len(fetched)} published files in {folder}")
    return tuple(file.path for file in fetched)
