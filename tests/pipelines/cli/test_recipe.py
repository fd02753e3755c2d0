"""`avstore recipe` as a person uses it."""

import pytest
from typer.testing import CliRunner

from avstore.pipelines.cli.recipe import app
from avstore.pipelines.extract.recipe import RECIPES, load_recipe, recipe_names
from tests.pipelines.cli.test_build import avstore

run = CliRunner().invoke


def test_list_names_every_recipe_with_its_fingerprint():
    done = run(app, ["list"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    for name in recipe_names():
        assert name in done.output
        assert load_recipe(name).fp8 in done.output


@pytest.mark.parametrize("name", recipe_names())
def test_show_gives_source_and_settings(name):
    done = run(app, ["show", name])
    assert done.exit_code == 0
    assert load_recipe(name).source in done.output
    assert "min_fraction = " in done.output


def test_check_of_good_and_bad_files(tmp_path):
    good = tmp_path / "good.toml"
    good.write_text((RECIPES / "stella.toml").read_text())
    assert run(app, ["check", str(good)]).exit_code == 0
    bad = tmp_path / "bad.toml"
    bad.write_text(good.read_text().replace("count = 80", "count = 0"))
    done = avstore("recipe", "check", bad, check=False)
    assert done.returncode == 2
    assert "frames.count = 0" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
