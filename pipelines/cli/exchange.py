"""avstore exchange: import and export third-party formats."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avstore.manifests.terminal import console, plural
from avstore.pipelines.cli.options import (
    DEFAULT_STORE,
    ClipsRecipeOption,
    DatasetArgument,
    ExitCode,
    StoreOption,
    WaitOption,
    local_path,
)
from avstore.pipelines.cli.progress import bar

if TYPE_CHECKING:
    from avstore.manifests.library import OpenStore
    from avstore.pipelines.interchange.export_clips import ExportClip
    from avstore.pipelines.interchange.importer import ImportResult

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Import and export third-party formats."
)


class ListFormat(StrEnum):
    """Formats of clip lists, by the published code that reads them."""

    STELLA = "stella"
    CAVMAE = "cavmae"
    UAVM = "uavm"
    LLP = "llp"


class AudioFormat(StrEnum):
    """Formats of exported audio files."""

    FLAC = "flac"
    WAV = "wav"
    MP3 = "mp3"


_DEFAULT_AUDIO = {
    ListFormat.STELLA: AudioFormat.MP3,
    ListFormat.CAVMAE: AudioFormat.FLAC,
    ListFormat.UAVM: AudioFormat.FLAC,
    ListFormat.LLP: AudioFormat.WAV,
}
_LAYOUTS = {ListFormat.UAVM: "cavmae"}  # other formats: the layout of their name


@app.command(
    "to", epilog='Example: avstore exchange to cavmae --sql "FROM trainable" --out lists --media'
)
def export_to(
    form: Annotated[
        ListFormat,
        typer.Argument(help="Format: stella (also FLAVA), cavmae, uavm, llp (AVVP, VALOR)."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Output folder.")],
    sql: Annotated[
        str | None, typer.Option("--sql", help="Query with a column clip_id: the clips to write.")
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(help="Task stream, by name or TOML file, whose lists to write (stella)."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    name: Annotated[str, typer.Option(help="Name of the list of a query.")] = "clips",
    media: Annotated[
        bool, typer.Option("--media", help="Also write frames and audio in the format's layout.")
    ] = False,
    features: Annotated[
        bool,
        typer.Option("--features", help="Also write the stored features as .npy (uavm, llp)."),
    ] = False,
    audio: Annotated[
        AudioFormat | None, typer.Option(help="Audio format (default: what the code reads).")
    ] = None,
    recipe: ClipsRecipeOption = None,
) -> None:
    """Write a query's or a stream's clips as the lists, and media, that published code reads."""
    from avstore.manifests.library import open_store
    from avstore.pipelines.interchange.layouts import FolderLayout, write_media

    chosen = (audio or _DEFAULT_AUDIO[form]).value
    progress = console()
    with open_store(str(store)) as opened:
        written, clips = _write_lists(opened, form, sql, stream, out, name, chosen)
        if media:
            root = _root(form, clips, stream)
            layout = FolderLayout(_LAYOUTS.get(form, form.value), chosen, root)
            with bar(progress, "media", len(clips)) as advance:
                files = write_media(opened, clips, out, layout, recipe, advance)
            written_files, of = plural(files, "media file"), plural(len(clips), "clip")
            progress.print(f"{written_files} of {of} in {out}")
        if features:
            for feature, count in _write_features(opened, form, clips, out, chosen, recipe).items():
                progress.print(f"{plural(count, 'file')} of {feature} in {out}")
    for path in written:
        progress.print(str(path))


def _write_features(
    opened: "OpenStore",
    form: ListFormat,
    clips: Sequence["ExportClip"],
    out: Path,
    audio: str,
    recipe: str | None,
) -> dict[str, int]:
    """Write the features that the format's code loads; return the files written of each."""
    from avstore.manifests.store import StoreError
    from avstore.pipelines.interchange.feature_files import FEATURE_FOLDERS, write_features
    from avstore.pipelines.interchange.lists import feature_file

    folders = FEATURE_FOLDERS.get(form.value)
    if folders is None:
        formats = ", ".join(FEATURE_FOLDERS)
        raise StoreError(f"--features is for the formats {formats}; {form.value} reads none")
    return write_features(opened, clips, out, folders, feature_file(form.value, audio), recipe)


def _write_lists(
    opened: "OpenStore",
    form: ListFormat,
    sql: str | None,
    stream: str | None,
    out: Path,
    name: str,
    audio: str,
) -> tuple[list[Path], list["ExportClip"]]:
    """Write the lists; return their paths and the clips in them."""
    from avstore.manifests.store import StoreError
    from avstore.pipelines.build.task_streams import load_stream
    from avstore.pipelines.interchange.export_clips import export_clips
    from avstore.pipelines.interchange.lists import LISTS
    from avstore.pipelines.interchange.stella import write_stella_stream

    if stream:
        if form is not ListFormat.STELLA:
            raise StoreError(f"--stream is for the format stella, not {form.value}; pass --sql")
        return write_stella_stream(opened, load_stream(stream), out, audio, sql)
    if not sql:
        raise StoreError(
            "pass the clips to write: --sql QUERY"
            + (", or --stream NAME" if form is ListFormat.STELLA else "")
        )
    clips = export_clips(opened, sql)
    return LISTS[form.value](opened, clips, out, name, audio), clips


def _root(form: ListFormat, clips: Sequence["ExportClip"], stream: str | None) -> str:
    """Return the folder of the media, relative to the output folder; '' for the format's own."""
    from avstore.pipelines.interchange.stella import stella_files

    if form is not ListFormat.STELLA:
        return ""
    return stella_files(clips[0].dataset, stream is not None).root


@app.command("describe", epilog="Example: avstore exchange describe vggsound --store data")
def describe(
    dataset: DatasetArgument,
    store: StoreOption = DEFAULT_STORE,
    out: Annotated[
        Path | None, typer.Option("--out", help="Output folder (default: the store).")
    ] = None,
) -> None:
    """Write Croissant metadata and a Hugging Face dataset card of a dataset's stored clips."""
    from avstore.manifests.library import open_store
    from avstore.manifests.store import Store, write_text
    from avstore.pipelines.cli.own_data import find_spec
    from avstore.pipelines.interchange.croissant import write_croissant
    from avstore.pipelines.interchange.data_card import hugging_face_card

    spec = find_spec(dataset, Store(Path(store)))
    with open_store(str(store)) as opened:
        _require_stored(opened, spec.name)
        written = write_croissant(opened, spec, out or store)
        written.append(write_text((out or store) / "README.md", hugging_face_card(opened, spec)))
    for path in written:
        console().print(str(path))


def _require_stored(opened: "OpenStore", dataset: str) -> None:
    from avstore.manifests.store import StoreError

    found = opened.query("SELECT 1 FROM shards WHERE dataset = $d LIMIT 1", {"d": dataset})
    if not found.table.num_rows:
        raise StoreError(f"the store has no shard of {dataset}; build it first")


@app.command("from", epilog="Example: avstore exchange from shards/ --dataset vggsound")
def import_from(
    source: Annotated[Path, typer.Argument(help="A tar, or a folder of tars or media files.")],
    dataset: Annotated[str, typer.Option(help="Dataset of the clips, a name or module:NAME.")],
    annotations: Annotated[
        list[Path] | None,
        typer.Option(
            help="Published annotation files, or lists of CAV-MAE or STELLA (repeatable)",
            parser=local_path,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the clips of a list without one.")] = "train",
    store: StoreOption = DEFAULT_STORE,
    wait: WaitOption = 0.0,
    shard_clips: Annotated[
        int | None, typer.Option(min=1, help="Clips per shard (default: the dataset's).")
    ] = None,
) -> None:
    """Import extracted frames and audio: a WebDataset, or the layouts of published code."""
    from avstore.datasets import registry
    from avstore.manifests.store import Store
    from avstore.pipelines.interchange.foreign_lists import is_foreign_list, with_foreign_lists
    from avstore.pipelines.interchange.foreign_media import read_items
    from avstore.pipelines.interchange.importer import import_items

    spec = registry.get(dataset)
    paths: Sequence[Path] = annotations or ()
    if paths and all(is_foreign_list(path) for path in paths):
        spec = with_foreign_lists(spec, split)
    files = [word for path in paths for word in ("--annotations", str(path.absolute()))]
    arguments = ["exchange", "from", str(source.absolute()), "--dataset", dataset, *files]
    arguments += ["--split", split, *(["--shard-clips", str(shard_clips)] if shard_clips else [])]
    items = read_items(source)
    done = import_items(
        Store(store), spec, items, paths, wait, shard_clips, arguments=tuple(arguments)
    )
    _print_result(done)
    if not done.stored and not done.known:
        raise typer.Exit(ExitCode.PROBLEM)


def _print_result(done: "ImportResult") -> None:
    out = console()
    out.print(
        f"{plural(done.stored, 'clip')} stored in {plural(done.shards, 'shard')}, "
        f"{done.rejected} rejected, "
        f"{done.known} already stored, {len(done.unknown)} not published"
    )
    for name in done.unknown[:5]:
        out.print(f"  not published: {name}")
