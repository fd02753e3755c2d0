"""avstore recipe: list, show and check extraction recipes."""

from typing import TYPE_CHECKING, Annotated

import typer

from avstore.pipelines.cli.completion import recipe_names
from avstore.pipelines.cli.options import JsonOption
from avstore.pipelines.cli.tables import print_json, print_rows

if TYPE_CHECKING:
    from avstore.pipelines.extract.recipe import Recipe
    from avstore.pipelines.extract.recipe_sections import FrameSettings, VideoSettings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="List, show and check extraction recipes."
)
_NameOrFile = Annotated[
    str, typer.Argument(help="Recipe name, or TOML file.", autocompletion=recipe_names)
]


@app.command("list", epilog="Example: avstore recipe list")
def list_recipes(as_json: JsonOption = False) -> None:
    """List the shipped recipes with their fingerprints."""
    from avstore.pipelines.extract.recipe import load_recipe, recipe_names

    columns = ("recipe", "fingerprint", "frames", "video", "audio", "title")
    rows = []
    for name in recipe_names():
        recipe = load_recipe(name)
        parts = (_frames_text(recipe), _video_text(recipe), _audio_text(recipe))
        values = (name, recipe.fp8, *parts, recipe.title)
        rows.append(dict(zip(columns, values, strict=True)))
    print_rows(rows, columns, as_json)


@app.command("show", epilog="Example: avstore recipe show stella")
def show(recipe: _NameOrFile, as_json: JsonOption = False) -> None:
    """Print a recipe: its source, and every setting, defaults included."""
    from avstore.pipelines.extract.recipe import load_recipe

    found = load_recipe(recipe)
    if as_json:
        print_json([{"fingerprint": found.fingerprint, **found.model_dump(mode="json")}])
        return
    typer.echo(f"{found.name}  {found.fingerprint}")
    typer.echo(f"{found.title}\nSource: {found.source}\n{found.notes.strip()}\n")
    for key, value in found.model_dump(exclude={"name", "title", "source", "notes"}).items():
        if isinstance(value, dict):
            typer.echo(f"[{key}]")
            for inner, setting in value.items():
                typer.echo(f"  {inner} = {setting}")
        else:
            typer.echo(f"{key} = {value}")


@app.command("check", epilog="Example: avstore recipe check mine.toml")
def check(recipe: _NameOrFile) -> None:
    """Check a recipe; exit code 2 and the reason if it is not valid."""
    from avstore.pipelines.extract.recipe import load_recipe

    found = load_recipe(recipe)
    parts = (_frames_text(found), _video_text(found), _audio_text(found))
    described = "; ".join(part for part in parts if part)
    typer.echo(f"{found.name} {found.fp8}: {described}; {found.duration_s:g} s")


def _frames_text(recipe: "Recipe") -> str:
    """Describe the stored frames in a few words; '' without any."""
    frames = recipe.frames
    if frames is None:
        return ""
    sampling = {
        "count": f"{frames.count} evenly spaced",
        "rate": f"{frames.rate} per second",
        "times": f"{len(frames.times)} at given times",
    }[frames.sampling]
    return f"{sampling}, {_size_text(frames)}"


def _video_text(recipe: "Recipe") -> str:
    """Describe the stored moving pictures in a few words; '' without any."""
    video = recipe.video
    if video is None:
        return ""
    view = "" if video.projection == "flat" else f", {video.projection}"
    return f"{video.codec.upper()} {video.rate:g} per second, {_size_text(video)}{view}"


def _size_text(settings: "FrameSettings | VideoSettings") -> str:
    width, height = settings.target
    return {
        "crop": f"{width} x {height} crop",
        "stretch": f"{width} x {height} stretched",
        "short_side": f"short side {height}",
        "native": "native size",
    }[settings.fit]


def _audio_text(recipe: "Recipe") -> str:
    """Describe the stored sound in a few words; '' without any."""
    parts = []
    if recipe.has_sound:
        layout = "" if recipe.audio.layout == "mono" else f" {recipe.audio.layout}"
        parts.append(f"{recipe.audio.rate / 1000:g} kHz{layout}")
    if "waveform" not in recipe.members and parts:
        parts.append("not stored")
    if "fbank" in recipe.members:
        parts.append(f"{recipe.fbank.mels} mels")
    return ", ".join(parts)
