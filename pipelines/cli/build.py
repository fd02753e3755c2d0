"""avstore build: from annotation files and media to shards and manifest."""

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from avstore.datasets import registry
from avstore.datasets.sample import SAMPLE, make_sample
from avstore.datasets.spec import AnnotationError, DatasetSpec
from avstore.manifests.catalogue import open_read
from avstore.manifests.store import Store, StoreError
from avstore.pipelines.build.annotation_files import annotation_folder, fetch_annotations
from avstore.pipelines.build.driver import BuildOptions, BuildResult, build
from avstore.pipelines.cli.fetch_options import parse_fetch_options
from avstore.pipelines.cli.options import DEFAULT_STORE, StoreOption
from avstore.pipelines.cli.progress import bar, console
from avstore.pipelines.cli.summary import say
from avstore.pipelines.extract.recipe import load_recipe
from avstore.pipelines.report.page import write_report


def run(
    dataset: Annotated[str, typer.Argument(help="vggsound, audioset, …")],
    store: StoreOption = DEFAULT_STORE,
    source: Annotated[
        str | None,
        typer.Option(help="Folder, archive, address, or 'youtube'. None: the embedded sample."),
    ] = None,
    annotations: Annotated[
        list[str] | None,
        typer.Option(help="Published annotation files (repeat, or separate by commas)."),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe name or TOML file.")] = None,
    shard_clips: Annotated[int | None, typer.Option(min=1, help="Clips a shard.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one a core.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler that exists.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N clips.")] = None,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for another writer; -1: for ever.")
    ] = 0.0,
    fetch_option: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for the source (docs/fetching.md).")
    ] = None,
) -> None:
    """Build a dataset's shards and manifest; what is done already is not done again."""
    out = console()
    files = _paths(annotations)
    _refuse_exchange(dataset, source is None and not files, Store(store))
    spec, source, files = _inputs(dataset, store, source, files, out)
    options = BuildOptions(
        store=store,
        source=source,
        annotations=files,
        shard_clips=shard_clips,
        workers=workers,
        scheduler=scheduler,
        wait_s=wait,
        limit=limit,
        fetch=parse_fetch_options(fetch_option or []),
    )
    built = build(spec, load_recipe(recipe or spec.recipe), options, partial(bar, out))
    _conclude(spec, Store(store), built, out)


def _refuse_exchange(dataset: str, embedded: bool, store: Store) -> None:
    """The embedded sample and the dataset that it is named after do not replace one another."""
    if dataset != SAMPLE.name or not store.manifest.is_file():
        return
    with open_read(store) as con:
        rows = con.execute("SELECT version FROM datasets WHERE name = ?", [dataset]).fetchall()
    names = {True: "the embedded sample", False: f"{dataset} itself"}
    for (version,) in rows:
        held = version == SAMPLE.version
        if held != embedded:
            raise StoreError(
                f"{store.root} holds {names[held]}, and {names[embedded]} would take its place: "
                "build it in another folder (STORE=DIR, or --store DIR)"
            )


def _paths(annotations: list[str] | None) -> tuple[Path, ...]:
    listed = [part for value in annotations or [] for part in value.split(",")]
    return tuple(Path(part.strip()).expanduser() for part in listed if part.strip())


def _inputs(
    dataset: str, store: Path, source: str | None, files: tuple[Path, ...], out: Console
) -> tuple[DatasetSpec, str, tuple[Path, ...]]:
    """The dataset, its media and its annotation files; the embedded sample where none is given."""
    spec = registry.get(dataset)
    if source is None and not files:
        if dataset != SAMPLE.name:
            raise StoreError(
                f"{dataset} has no embedded sample: name its videos and its annotation files "
                f"(make {dataset}-shards SOURCE=… ANNOTATIONS=…, see docs/datasets/{dataset}.md)"
            )
        return _sample(store, out)
    if source is None:
        raise StoreError(
            "annotation files are given and no videos: add SOURCE=/path/to/videos "
            "(--source), or SOURCE=youtube to fetch them"
        )
    return spec, source, files or _published_files(spec, store, out)


def _published_files(spec: DatasetSpec, store: Path, out: Console) -> tuple[Path, ...]:
    """The annotation files from where they are published, unless they came before."""
    if not spec.annotation_urls:
        raise StoreError(
            "videos are given and no annotation file: add ANNOTATIONS=/path/to/file "
            f"(--annotations); {spec.title} publishes its own at {spec.homepage}"
        )
    folder = annotation_folder(store, spec.name)
    try:
        found = fetch_annotations(spec, folder)
    except AnnotationError as error:
        raise AnnotationError(
            f"{error}; give the annotation files with ANNOTATIONS=/path/to/file (--annotations)"
        ) from error
    out.print(f"annotations: {len(found)} published files in {folder}", markup=False)
    return tuple(file.path for file in found)


def _sample(store: Path, out: Console) -> tuple[DatasetSpec, str, tuple[Path, ...]]:
    folder = store / "sample"
    done = 0
    with bar(out, "sample", 100, "percent") as advance:

        def progress(made: int, total: int) -> None:
            nonlocal done
            percent = 100 * made // total
            advance(percent - done)
            done = percent

        try:
            paths = make_sample(folder, progress)
        except OSError as error:
            raise StoreError(
                f"the embedded sample cannot be written to {folder}: {error.strerror or error}; "
                "choose another folder (STORE=DIR, or --store DIR)"
            ) from error
    return SAMPLE, str(paths.videos), (paths.csv,)


def _conclude(spec: DatasetSpec, store: Store, built: BuildResult, out: Console) -> None:
    """The account in words, the report, and what to type next."""
    with open_read(store) as con:
        report = write_report(con, store, spec.name, built.stage)
        say(con, store, spec, built, out)
    where = shlex.quote(str(store.root))
    shards = shlex.quote(str(store.shards))
    out.print("\nNext:")
    out.print(
        f'  avstore sql --store {where} "SELECT label, stored, wanted FROM coverage"\n'
        f"  open {report}\n"
        f"  python train/run.py --shards {shards}"
    )
    if spec is SAMPLE:
        out.print(
            "This was the embedded sample. The real dataset:\n"
            "  make vggsound-shards SOURCE=/path/to/videos ANNOTATIONS=/path/to/vggsound.csv\n"
            "  make vggsound-shards SOURCE=youtube ANNOTATIONS=/path/to/vggsound.csv"
        )
