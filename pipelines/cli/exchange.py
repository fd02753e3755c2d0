"""avstore exchange: lists, folders and metadata in the formats of others, and back."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avstore.datasets import registry
from avstore.manifests.library import OpenStore, open_store
from avstore.manifests.store import Store, StoreError, write_text
from avstore.pipelines.cli.options import DEFAULT_STORE, ExitCode, StoreOption
from avstore.pipelines.cli.progress import bar, console
from avstore.pipelines.interchange.croissant import write_croissant
from avstore.pipelines.interchange.data_card import hugging_face_card
from avstore.pipelines.interchange.export_clips import export_clips
from avstore.pipelines.interchange.foreign_lists import is_foreign_list, with_foreign_lists
from avstore.pipelines.interchange.foreign_media import read_items
from avstore.pipelines.interchange.importer import ImportResult, import_items
from avstore.pipelines.interchange.layouts import FolderLayout, write_media
from avstore.pipelines.interchange.lists import LISTS

app = typer.Typer(no_args_is_help=True, help="Formats of others: to, describe, from.")


class To(StrEnum):
    """Whose lists."""

    STELLA = "stella"
    CAVMAE = "cavmae"
    UAVM = "uavm"
    LLP = "llp"


class Audio(StrEnum):
    """As what the audio is written."""

    FLAC = "flac"
    WAV = "wav"
    MP3 = "mp3"


_AUDIO = {To.STELLA: Audio.MP3, To.CAVMAE: Audio.FLAC, To.UAVM: Audio.FLAC, To.LLP: Audio.WAV}


@app.command("to")
def export_to(
    form: Annotated[To, typer.Argument(help="stella (FLAVA too), cavmae, uavm or llp (AVVP).")],
    sql: Annotated[str, typer.Option("--sql", help="A query with a column clip_id (and task).")],
    out: Annotated[Path, typer.Option("--out", help="A folder.")],
    store: StoreOption = DEFAULT_STORE,
    name: Annotated[str, typer.Option(help="Of the list.")] = "clips",
    media: Annotated[
        bool, typer.Option("--media", help="Frames and audio as well, in their layout.")
    ] = False,
    audio: Annotated[Audio | None, typer.Option(help="Default: what their code reads.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Where several have the clips.")] = None,
) -> None:
    """Write a query's clips as the lists that published code reads, and their media."""
    chosen = (audio or _AUDIO[form]).value
    progress = console()
    with open_store(str(store)) as opened:
        clips = export_clips(opened, sql)
        written = LISTS[form.value](opened, clips, out, name, chosen)
        if media:
            kind = "cavmae" if form is To.UAVM else form.value
            with bar(progress, "media", len(clips)) as advance:
                files = write_media(opened, clips, out, FolderLayout(kind, chosen), recipe, advance)
            progress.print(f"{files} media files of {len(clips)} clips in {out}")
    for path in written:
        progress.print(str(path), markup=False)


@app.command("describe")
def describe(
    dataset: Annotated[str, typer.Argument(help="vggsound, audioset, …")],
    store: StoreOption = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option("--out", help="Default: the store's root.")] = None,
) -> None:
    """Write Croissant metadata and a Hugging Face dataset card of a dataset's stored clips."""
    spec = registry.get(dataset)
    with open_store(str(store)) as opened:
        _require_stored(opened, dataset)
        written = write_croissant(opened, spec, out or store)
        written.append(write_text((out or store) / "README.md", hugging_face_card(opened, spec)))
    for path in written:
        console().print(str(path), markup=False)


def _require_stored(opened: OpenStore, dataset: str) -> None:
    found = opened.query("SELECT 1 FROM shards WHERE dataset = $d LIMIT 1", {"d": dataset})
    if not found.table.num_rows:
        raise StoreError(f"the store has no shard of {dataset}; build it first")


@app.command("from")
def import_from(
    source: Annotated[Path, typer.Argument(help="A tar, or a folder of tars or of media.")],
    dataset: Annotated[str, typer.Option(help="Whose clips these are.")],
    annotations: Annotated[
        list[Path] | None,
        typer.Option(help="Published files, or a list of CAV-MAE or STELLA (repeat)."),
    ] = None,
    split: Annotated[str, typer.Option(help="Of a list that does not say it.")] = "train",
    store: StoreOption = DEFAULT_STORE,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another writer.")] = 0.0,
    shard_clips: Annotated[int | None, typer.Option(min=1, help="Clips a shard.")] = None,
) -> None:
    """Take extracted frames and audio into a store: a WebDataset, or the folder layouts."""
    spec = registry.get(dataset)
    paths: Sequence[Path] = annotations or ()
    if paths and all(is_foreign_list(path) for path in paths):
        spec = with_foreign_lists(spec, split)
    done = import_items(Store(store), spec, read_items(source), paths, wait, shard_clips)
    _say(done)
    if not done.stored and not done.known:
        raise typer.Exit(ExitCode.PROBLEM)


def _say(done: ImportResult) -> None:
    out = console()
    out.print(
        f"{done.stored} clips stored in {done.shards} shards, {done.rejected} rejected, "
        f"{done.known} there already, {len(done.unknown)} of no published clip"
    )
    for name in done.unknown[:5]:
        out.print(f"  not published: {name}", markup=False)
