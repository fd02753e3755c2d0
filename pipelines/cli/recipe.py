"""`avstore recipe`: list the recipes, show one, check a file of one's own."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from avstore.pipelines.extract.recipe import Recipe, RecipeError, load_recipe, recipe_names

app = typer.Typer(no_args_is_help=True, help="List, show and check extraction recipes.")

BAD_RECIPE = 2
NameOrFile = Annotated[str, typer.Argument(help="A recipe's name, or a TOML file.")]


@app.command("list")
def list_recipes() -> None:
    """Every recipe that comes with avstore, with its fingerprint."""
    table = Table("recipe", "fingerprint", "frames", "audio", "of")
    for name in recipe_names():
        recipe = load_recipe(name)
        sound = f"{recipe.audio.rate / 1000:g} kHz, {recipe.fbank.mels} mels"
        table.add_row(name, recipe.fp8, describe_frames(recipe), sound, recipe.title)
    Console().print(table)


@app.command()
def show(recipe: NameOrFile) -> None:
    """One recipe in full: where it is from, and every setting, defaults included."""
    found = _load(recipe)
    typer.echo(f"{found.name}  {found.fingerprint}")
    typer.echo(f"{found.title}\nSource: {found.source}\n{found.notes.strip()}\n")
    for key, value in found.model_dump(exclude={"name", "title", "source", "notes"}).items():
        if isinstance(value, dict):
            typer.echo(f"[{key}]")
            for inner, setting in value.items():
                typer.echo(f"  {inner} = {setting}")
        else:
            typer.echo(f"{key} = {value}")


@app.command()
def check(recipe: NameOrFile) -> None:
    """Whether a recipe can be used. Exit status 2, and what is wrong, where it cannot."""
    found = _load(recipe)
    typer.echo(f"{found.name} {found.fp8}: {describe_frames(found)}, {found.duration_s:g} s")


def describe_frames(recipe: Recipe) -> str:
    """Sampling and size of a recipe's frames in a few words."""
    frames = recipe.frames
    how = {
        "count": f"{frames.count} evenly",
        "rate": f"{frames.rate} a second",
        "times": f"{len(frames.times)} at given times",
    }[frames.sampling]
    size = frames.size
    what = {
        "crop": f"{size} x {size} crop",
        "stretch": f"{size} x {size} stretched",
        "short_side": f"short side {size}",
        "native": "native size",
    }[frames.fit]
    return f"{how}, {what}"


def _load(name_or_file: str) -> Recipe:
    try:
        return load_recipe(name_or_file)
    except RecipeError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(BAD_RECIPE)
