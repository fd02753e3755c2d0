"""Test that a feature is computed from the recipe that it needs, unless another one is named."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import duckdb
import pytest
from typer.testing import CliRunner

from avstore.manifests.store import Store, StoreError
from avstore.pipelines.cli.features import app
from avstore.pipelines.extract.recipe import load_recipe
from avstore.pipelines.features.base_shards import select_input
from avstore.pipelines.features.driver import FeatureOptions, build_feature
from avstore.pipelines.features.extractor import bases_of
from avstore.pipelines.features.registry import make_extractor
from tests.pipelines.features.toy import MeanColour

NATIVE = ("resnet152", "r2plus1d18", "valor-clip-labels")
SOUND = ("clap-segments", "clap-map", "valor-clap-labels")
UAVM = ("convnext-visual", "convnext-audio")


@dataclass(frozen=True)
class Picky(MeanColour):
    """Compute the mean colour of native frames."""

    bases: ClassVar[tuple[str, ...]] = ("valor", "valor_published")


def test_another_base_is_refused_by_name_and_taken_by_name(store: Store, scheduler: str) -> None:
    picky = f"{__name__}:Picky"
    options = FeatureOptions(store.root, scheduler=scheduler)
    message = "needs shards of recipe valor or valor_published; the store has: toy toy-12345678"
    with pytest.raises(StoreError, match=f"{message}.*--recipe valor, or give --recipe toy"):
        build_feature(picky, options)
    built = build_feature(picky, FeatureOptions(store.root, recipe="toy", scheduler=scheduler))
    assert built.clips == 7


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    """Return the tables of a store that has LLP by two recipes."""
    made = duckdb.connect()
    made.execute("CREATE TABLE shards (dataset TEXT, recipe TEXT, fingerprint TEXT)")
    made.execute("CREATE TABLE quality (clip_id TEXT, fingerprint TEXT, seq BIGINT)")
    made.execute("INSERT INTO shards VALUES ('llp', 'llp', 'aa'), ('llp', 'valor', 'bb')")
    return made


def test_the_needed_recipe_is_selected_among_several(con: duckdb.DuckDBPyConnection) -> None:
    assert select_input(con, "llp", None, ("valor", "valor_published")).base == "valor"
    assert select_input(con, "llp", "llp", ("valor",)).base == "llp"
    with pytest.raises(StoreError, match="choose one with --dataset and --recipe"):
        select_input(con, "llp", None)
    con.execute("INSERT INTO shards VALUES ('llp', 'valor_published', 'cc')")
    with pytest.raises(StoreError, match="choose one with --dataset and --recipe"):
        select_input(con, "llp", None, ("valor", "valor_published"))


def test_shipped_features_name_recipes_that_have_what_they_need() -> None:
    for name in NATIVE:
        for base in bases_of(make_extractor(name)):
            assert load_recipe(base).frames.fit == "native"
    for name in SOUND:
        for base in bases_of(make_extractor(name)):
            assert load_recipe(base).audio.rate == 48000
    for name in UAVM:
        for base in bases_of(make_extractor(name)):
            recipe = load_recipe(base)
            assert (recipe.frames.rate, recipe.frames.fit, recipe.fbank.mels) == (
                *(3.0, "short_side"),
                128,
            )
    assert all(bases_of(make_extractor(name)) for name in (*NATIVE, *SOUND, *UAVM))
    assert bases_of(make_extractor("vggish")) == ()


def test_the_list_shows_what_an_extractor_reads_and_needs(tmp_path: Path) -> None:
    words = ["list", "--store", str(tmp_path)]
    listed = CliRunner().invoke(app, [*words, "--json"])
    assert listed.exit_code == 0, listed.output
    rows = {row["extractor"]: row for row in map(json.loads, listed.output.splitlines())}
    assert {name: row["bases"] for name, row in rows.items()} == {
        name: list(bases_of(make_extractor(name))) for name in rows
    }
    assert rows["clap-segments"]["bases"] == ["valor", "valor_published"]
    assert rows["clap-segments"]["reads"] == ["waveform"]
    assert {what for row in rows.values() for what in row["reads"]} == {
        *("frames", "video", "waveform", "fbank", "labels", "text")
    }
    header, *lines = CliRunner().invoke(app, words).output.splitlines()
    assert header.split() == ["extractor", "version", "reads", "bases", "shape", "parameters"]
    (line,) = [line for line in lines if line.startswith("clap-segments ")]
    assert line.split()[2:5] == ["waveform", "valor,", "valor_published"]
