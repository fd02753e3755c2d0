"""Check that a recipe's decoder can be used on this machine."""

import importlib.util

from avstore.pipelines.extract.nvdec import gpu_problem
from avstore.pipelines.extract.recipe import Recipe, RecipeError


def require_decoder(recipe: Recipe) -> None:
    """Check that the recipe's decoder is installed, and its device there.

    Raises:
        RecipeError: It is not.
    """
    where = f"recipe '{recipe.name}': decoder = '{recipe.decoder}'"
    if recipe.decoder == "decord" and importlib.util.find_spec("decord") is None:
        raise RecipeError(
            f"{where} needs the package decord, which is not installed (it exists for Linux on "
            "x86-64 only): use decoder = 'pyav'"
        )
    if recipe.decoder == "nvdec" and (problem := gpu_problem()):
        raise RecipeError(
            f"{where} needs an NVIDIA GPU with its driver, which FFmpeg cannot open ({problem}): "
            "use decoder = 'pyav', which gives the same frames"
        )
