"""Test `avstore features build --for`: all features of a config, each from its recipe."""

import json
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import ClassVar

import duckdb
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from avstore.manifests.advice import recipe_build
from avstore.manifests.store import Store, StoreError
from avstore.pipelines.cli.feature_settings import Settings
from avstore.pipelines.cli.features import app
from avstore.pipelines.features import feature_sets, registry
from avstore.pipelines.features.driver import FeatureOptions
from avstore.pipelines.features.extractor import bases_of
from avstore.pipelines.features.registry import make_extractor
from avstore.train.config import load_config
from tests.pipelines.features import media
from tests.pipelines.features.llp_features import CLIPS, imported
from tests.pipelines.features.toy import MeanColour

TOYS = ("mean-colour", "label-count", "picky")


@dataclass(frozen=True)
class Picky(MeanColour):
    """Compute the mean colour of native frames."""

    name: ClassVar[str] = "picky"
    bases: ClassVar[tuple[str, ...]] = ("valor", "valor_published")


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer the toy extractors by name, and two sets of them."""
    where = "tests.pipelines.features"
    values = {
        "mean-colour": f"{where}.toy:MeanColour",
        "label-count": f"{where}.toy:LabelCount",
        "picky": f"{where}.test_feature_sets:Picky",
    }
    points = [EntryPoint(name, value, registry.EXTRACTOR_GROUP) for name, value in values.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints(points))
    sets = {"toys": ("toy", TOYS[:2]), "picky": ("toy", TOYS)}
    monkeypatch.setattr(feature_sets, "FEATURE_SETS", {**feature_sets.FEATURE_SETS, **sets})


def build(store: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["build", *words, "--store", str(store)])


def failure(result: Result) -> str:
    assert isinstance(result.exception, StoreError), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def test_all_features_of_a_set_are_built_counted_and_then_up_to_date(
    store: Store, scheduler: str
) -> None:
    words = ["--for", "toys", "--scheduler", scheduler, "--set", "scale=2"]
    first = build(store.root, "mean-colour", "--scheduler", scheduler, "--set", "scale=2")
    assert first.exit_code == 0, first.output
    result = build(store.root, *words)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert "up to date in shards/toy/toy-12345678/" in lines[0], "kept of the build before"
    assert "7 clips in 3 shards of shards/toy/toy-12345678/" in result.output
    assert [line.split() for line in lines[-4:-1]] == [
        ["feature", "of", "clips", "missing"],
        ["mean-colour", "toy-12345678", "7", "0"],
        ["label-count", "toy-12345678", "7", "0"],
    ]
    assert lines[-1] == "all 2 features of toys: 7 of 7 published clips of toy"
    assert build(store.root, *words).output.count("up to date") == 2
    media.add_clips(store, 9, "r2")
    assert "2 clips in" in build(store.root, *words).output


def test_shards_that_are_missing_are_named_with_their_command_and_the_rest_is_built(
    store: Store, scheduler: str
) -> None:
    result = build(store.root, "--for", "picky", "--scheduler", scheduler)
    assert result.exit_code == 1, result.output
    first, *rest = result.output.splitlines()
    assert first.startswith(
        "not done: the store has no shards of toy by recipe valor, needed by picky"
    )
    assert "build toy --source /path/to/videos --annotations /path/to/annotations" in first
    assert "--recipe valor --store " in first
    assert rest[-2].split() == ["picky", "no", "shards", "of", "recipe", "valor", "0", "7"]
    assert rest[-1] == "all 3 features of picky: 0 of 7 published clips of toy"


def test_an_imported_feature_is_not_computed_and_its_clips_are_counted(tmp_path: Path) -> None:
    values = {name: np.ones((10, 128), np.float32) for name in list(CLIPS)[:2]}
    store = imported(tmp_path, "vggish", values)
    result = build(store, "--for", "han", "--random-weights", "0")
    assert result.exit_code == 1, result.output
    assert "vggish-a5a3ad73: imported; it is not computed" in result.output
    assert "recipe valor, needed by resnet152, r2plus1d18;" in result.output
    assert ["vggish", "imported", "2", "1"] in [line.split() for line in result.output.splitlines()]


def test_a_store_without_any_of_the_shards_is_refused_in_one_line(
    tmp_path: Path, store: Store
) -> None:
    message = failure(build(store.root, "--for", "valor"))
    assert "no shards of llp by recipe llp, needed by vggish;" in message
    assert (
        "no shards of llp by recipe valor, needed by resnet152, r2plus1d18, valor-clap" in message
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--for", "toy"], "did you mean 'toys'.*choose one of han, valor"),
        (["vggish", "--for", "toys"], "--for names the features itself"),
        (["--for", "toys", "--weights", "w.pt"], "--weights FEATURE=w.pt, with one of mean-colour"),
        (["--for", "toys", "--set", "size=2"], "size=… is a parameter of none of mean-colour, "),
        (["--for", "toys", "--set", "vggish.rate=2"], "'vggish' is not one of the features mean-"),
        (["--for", "toys", "--set", "scale"], "--set 'scale' is not NAME=VALUE"),
        (["--for", "toys", "--recipe", "valor"], "no feature is computed from shards of 'valor'"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_computed(
    store: Store, words: list[str], message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        raise build(store.root, *words).exception or AssertionError


def test_weights_of_each_feature_are_found_before_the_first_is_computed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = {"both": ("toy", ("mean-colour", "convnext-audio"))}
    monkeypatch.setattr(feature_sets, "FEATURE_SETS", sets)
    monkeypatch.setattr(feature_sets, "bases_of", lambda extractor: ())
    message = failure(build(store.root, "--for", "both"))
    assert message.startswith("convnext-audio: the weights of")
    assert "--weights convnext-audio=FILE" in message
    missing = build(store.root, "--for", "both", "--weights", "convnext-audio=none.pth")
    assert "convnext-audio: no weights at none.pth" in failure(missing)
    assert not list(store.root.rglob("*mean-colour*"))


@pytest.mark.parametrize("name", [*feature_sets.FEATURE_SETS])
def test_a_set_has_what_the_config_of_its_name_reads(name: str) -> None:
    objective = load_config(name, {}, []).objective
    read = (*objective.inputs, *objective.teachers)
    assert sorted(feature_sets.FEATURE_SETS[name][1]) == sorted(read)


def test_the_teachers_of_a_set_of_ave_have_its_classes() -> None:
    _, features = feature_sets.find_set("valor_ave_weak")
    own = feature_sets.SET_PARAMETERS["valor_ave_weak"]
    given = Settings(own, [], features, is_set=True)
    for feature in ("valor-clap-labels", "valor-clip-labels"):
        options = given.options(feature, FeatureOptions(Path("data")))
        assert make_extractor(feature, options.parameters).shape == (10, 28)


def test_each_feature_takes_the_recipe_that_it_needs() -> None:
    con = duckdb.connect()
    con.execute("CREATE TABLE shards (dataset TEXT, recipe TEXT, fingerprint TEXT)")
    con.execute("CREATE TABLE quality (clip_id TEXT, fingerprint TEXT, seq BIGINT)")
    con.execute(
        "CREATE TABLE features (feature TEXT, fingerprint TEXT, parameters TEXT, "
        "library_versions TEXT)"
    )
    rows = "('llp', 'llp', 'aa'), ('llp', 'valor', 'bb'), ('llp', 'valor_published', 'cc'), "
    rows += "('ave', 'ave', 'dd'), ('ave', 'valor', 'ee')"
    con.execute(f"INSERT INTO shards VALUES {rows}")

    def bases(name: str, recipe: str | None = None) -> dict[str, str]:
        planned = feature_sets.plan_set(con, *feature_sets.FEATURE_SETS[name], recipe)
        return {each.feature: each.source.base for each in planned if each.source}

    taken = bases("valor")
    assert taken.pop("vggish") == "llp"
    assert set(taken.values()) == {"valor"}
    for name in ("valor_plus_plus", "valor_ave", "valor_ave_weak"):
        assert set(bases(name).values()) == {"valor"}
    chosen = bases("valor", "valor_published")
    assert chosen.pop("vggish") == "llp"
    assert set(chosen.values()) == {"valor_published"}
    assert all("llp" not in bases_of(make_extractor(name)) for name in chosen)


def test_the_command_for_missing_shards_repeats_the_last_build_by_another_recipe(
    tmp_path: Path,
) -> None:
    con = duckdb.connect()
    con.execute("CREATE TABLE runs (command TEXT, config JSON, seq BIGINT)")
    words = ["build", "llp", "--source", "/videos", "--recipe", "llp", "--limit", "3"]
    con.execute("INSERT INTO runs VALUES ('build llp', ?, 1)", [json.dumps({"arguments": words})])
    command = recipe_build(con, Store(tmp_path), "llp", "valor")
    assert "build llp --source /videos --limit 3 --recipe valor --store " in command
