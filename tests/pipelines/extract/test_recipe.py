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


FRAMES = {"sampling": "count", "count": 4, "size": 64}
VIDEO = {"rate": 16, "size": 64}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"members": []}, "must name at least one of frames, video, waveform, fbank"),
        ({"members": ["fbank", "fbank"]}, "each once"),
        ({"members": ["frames"]}, r"members has 'frames', which needs the section \[frames\]"),
        ({"members": ["video"]}, r"members has 'video', which needs the section \[video\]"),
        ({"video": VIDEO}, r"\[video\] needs the member 'video'"),
        ({"members": ["waveform"], "fidelity": "published"}, "needs the member 'frames'"),
        ({"members": ["waveform"], "quality": {"reject": ["black"]}}, "flags of what members"),
        ({"members": ["video"], "video": VIDEO, "decoder": "decord"}, "takes no member 'video'"),
        ({"members": ["video"], "video": {"rate": 16}}, "needs the key 'size'"),
        ({"members": ["video"], "video": VIDEO | {"width": 64}}, "takes no key 'width'"),
        ({"members": ["video"], "video": VIDEO | {"rate": 0.0001}}, "equal to 0.01"),
        ({"members": ["video"], "video": VIDEO | {"codec": "h264", "crf": 60}}, "takes 1 to 51"),
        ({"members": ["video"], "video": VIDEO | {"fit": "crop", "size": 4000}}, "pixels"),
        ({"members": ["video"], "video": VIDEO | {"source_stereo": "top_bottom"}}, "needs proj"),
        ({"members": ["video"], "video": VIDEO | {"projection": "equirectangular"}}, "twice the"),
        ({"audio": {"layout": "foa", "aac_order": [0, 1, 2, 2]}}, "names a channel twice"),
        ({"audio": {"upmix": "copy"}}, "upmix = 'copy' needs layout = 'stereo', not 'mono'"),
        ({"audio": {"layout": "stereo", "downmix": "first"}}, "needs layout = 'mono'"),
    ],
)  # fmt: skip
def test_members_and_sections_that_do_not_agree(settings, message):
    base = {"name": "mine", "title": "", "source": "", "members": ["waveform"]}
    with pytest.raises(RecipeError, match=message):
        parse_recipe(base | settings)


def test_members_are_in_one_order_whatever_the_file_says():
    base = {"name": "mine", "title": "", "source": "", "frames": FRAMES}
    one, two = (
        parse_recipe(base | {"members": members})
        for members in (["fbank", "frames"], ["frames", "fbank"])
    )
    assert one.fingerprint == two.fingerprint
    default = parse_recipe(base)
    named = parse_recipe(base | {"members": ["waveform", "fbank", "frames"]})
    assert named.fingerprint == default.fingerprint


def test_a_long_key_and_many_problems_are_cut():
    base = {"name": "mine", "title": "", "source": "", "members": ["waveform"]}
    with pytest.raises(RecipeError) as failed:
        parse_recipe(base | {f"{'k' * 5000}{number}": 1 for number in range(50)})
    assert len(str(failed.value)) < 2000
    assert "and 40 more" in str(failed.value)
