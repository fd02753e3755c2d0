"""Test loading recipes, error messages, and what a fingerprint depends on."""

import pickle
import tomllib

import pytest

from avstore.pipelines.extract.recipe import (
    RECIPES,
    RecipeError,
    load_recipe,
    parse_recipe,
    recipe_names,
)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_under_its_own_name(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.source
    assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_stella_is_the_published_preparation():
    recipe = load_recipe("stella")
    assert (recipe.frames.count, recipe.frames.size, recipe.frames.fit) == (80, 256, "crop")
    assert (recipe.duration_s, recipe.audio.rate, recipe.fbank.mels) == (10.0, 16000, 128)
    assert recipe.frames.quality == 75


def stella() -> dict:
    return tomllib.loads((RECIPES / "stella.toml").read_text())


def test_fingerprint_is_of_the_settings_alone(tmp_path):
    recipe = load_recipe("stella")
    assert len(recipe.fingerprint) == 64
    assert recipe.fp8 == recipe.fingerprint[:8]
    reworded = parse_recipe(stella() | {"title": "other words", "notes": ""})
    assert reworded.fingerprint == recipe.fingerprint
    changed = stella()
    changed["frames"]["quality"] = 76
    assert parse_recipe(changed).fingerprint != recipe.fingerprint
    banded = stella()
    banded["fbank"] |= {"low_hz": 20.0, "log_offset": 0.0}
    assert parse_recipe(banded).fingerprint == recipe.fingerprint
    banded["fbank"]["high_hz"] = 7500
    assert parse_recipe(banded).fingerprint != recipe.fingerprint
    copy = tmp_path / "mine.toml"
    copy.write_text((RECIPES / "stella.toml").read_text())
    assert load_recipe(copy).fingerprint == recipe.fingerprint


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("frames", "size", 255, "frames.size = 255: must be a multiple of 2"),
        ("frames", "cuont", 3, "unknown key 'frames.cuont'"),
        ("frames", "sampling", "sometimes", "'count', 'rate' or 'times'"),
        ("frames", "rate", 3.0, "sampling = 'count' does not take the key 'rate'"),
        ("frames", "rule", "opencv", "fidelity = 'strict' does not take frames.rule = 'opencv'"),
        ("frames", "rule", "fps_filter", "rule = 'fps_filter' needs sampling = 'rate'"),
        ("audio", "rate", 1, "audio.rate = 1: must be greater than or equal to 8000"),
        ("fbank", "high_hz", 8001, "fbank.high_hz = 8001 is above 8000, half of audio.rate"),
        ("fbank", "low_hz", 8000, "fbank.low_hz = 8000 is not below 8000, the upper edge"),
        ("fbank", "log_offset", -1, "fbank.log_offset = -1: must be greater than or equal to 0"),
        ("quality", "reject", ["loud"], "'silent', 'still' or 'black'"),
        ("quality", "min_fraction", 0, "must be greater than 0"),
    ],
)
def test_an_error_names_the_key_the_value_and_what_is_allowed(section, key, value, message):
    settings = stella()
    settings[section][key] = value
    with pytest.raises(RecipeError) as caught:
        parse_recipe(settings, "mine.toml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("mine.toml: ")


def test_unknown_names_and_files_are_errors(tmp_path):
    with pytest.raises(RecipeError, match=r"no recipe 'stela' .*did you mean 'stella'"):
        load_recipe("stela")
    with pytest.raises(RecipeError, match=r"no recipe file"):
        load_recipe(tmp_path / "nowhere.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(RecipeError, match="not a TOML file"):
        load_recipe(broken)


def test_loading_a_recipe_imports_nothing_heavy():
    import subprocess
    import sys

    code = (
        "import sys; from avstore.pipelines.extract.recipe import load_recipe;"
        "load_recipe('stella');"
        "print([m for m in ('torch', 'av', 'numpy', 'dask') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_published_recipe_names_the_program_that_it_follows():
    published = stella() | {"fidelity": "published"}
    with pytest.raises(RecipeError, match="does not take frames\\.rule"):
        parse_recipe(published)
    for name in recipe_names():
        recipe = load_recipe(name)
        assert (recipe.fidelity == "published") == (recipe.audio.length == "file"), name
