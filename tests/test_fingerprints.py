"""The fingerprints of everything that is shipped stay the same until a version is raised.

tests/fingerprints.json keeps them by version. When one moves although its results do not, mark the
new key with `avstore.manifests.fingerprint.AddedWith`. When results change on purpose, raise
EXTRACTOR_VERSION or TRAINER_VERSION and add the new fingerprints under the new version.
"""

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any

import pytest

from avstore.manifests.fingerprint import AddedWith
from avstore.pipelines.extract import recipe as extraction
from avstore.pipelines.extract import recipe_sections
from avstore.train import config as training
from avstore.train.experiment import check_options
from avstore.train.methods import find_method
from avstore.train.systems.cavmae.downstream import config as downstream

KEPT = json.loads((Path(__file__).parent / "fingerprints.json").read_text())


def test_extraction_recipes() -> None:
    found = {name: extraction.load_recipe(name).fingerprint for name in extraction.recipe_names()}
    assert found == KEPT[f"extractor {extraction.EXTRACTOR_VERSION}"]


def test_training_configs() -> None:
    found = {name: training.load_config(name, {}, []).fingerprint for name in names()}
    assert found == KEPT[f"trainer {training.TRAINER_VERSION}"]


def test_what_a_resumed_run_compares() -> None:
    """With the method's options filled in and the stream named, as a checkpoint keeps it."""
    found = {}
    for name in names():
        config = training.load_config(name, {}, [])
        options = check_options(find_method(config.method), config)
        update = {"stream": config.stream or "first", "options": options}
        found[name] = config.model_copy(update=update).fingerprint
    assert found == KEPT[f"trainer {training.TRAINER_VERSION}, run"]


def test_downstream_configs() -> None:
    found = {
        name: downstream.load_downstream(name, {}, []).fingerprint
        for name in downstream.downstream_names()
    }
    assert found == KEPT[f"trainer {training.TRAINER_VERSION}, downstream"]


def names() -> list[str]:
    return training.config_names()


class LaterAudio(recipe_sections.AudioSettings):
    dither: Annotated[str, AddedWith("none")] = "none"


class LaterRecipe(extraction.Recipe):
    audio: LaterAudio = LaterAudio()
    depth: Annotated[str | None, AddedWith(None)] = None


def test_a_new_recipe_key_moves_no_fingerprint_and_its_other_values_do() -> None:
    for name in extraction.recipe_names():
        settings = tomllib.loads((extraction.RECIPES / f"{name}.toml").read_text())
        before = extraction.load_recipe(name).fingerprint
        assert LaterRecipe.model_validate(settings).fingerprint == before
        changed: dict[str, Any] = {
            **settings,
            "audio": {**settings.get("audio", {}), "dither": "high"},
        }
        assert LaterRecipe.model_validate(changed).fingerprint != before
        assert LaterRecipe.model_validate({**settings, "depth": "z16"}).fingerprint != before


class LaterOptim(training.OptimConfig):
    average: Annotated[int, AddedWith(0)] = 0


class LaterConfig(training.Config):
    optim: LaterOptim = LaterOptim()
    sampling: Annotated[str, AddedWith("plain")] = "plain"


def test_a_new_training_key_moves_no_fingerprint_and_its_other_values_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configs = [training.load_config(name, {}, []) for name in names()]
    monkeypatch.setattr(training, "Config", LaterConfig)
    for config in configs:
        table = config.model_dump(mode="json")
        assert training.parse_config(table).fingerprint == config.fingerprint
        other = training.parse_config({**table, "sampling": "x"})
        assert other.fingerprint != config.fingerprint
        table["optim"]["average"] = 3
        assert training.parse_config(table).fingerprint != config.fingerprint


def test_a_new_option_of_a_method_moves_no_fingerprint() -> None:
    config = training.load_config("er", {}, [])
    options = find_method("er").Options

    class LaterOptions(options):  # type: ignore[misc, valid-type]
        share: Annotated[float, AddedWith(0.5)] = 0.5

    prints = [
        config.model_copy(update={"options": own}).fingerprint
        for own in (options(), LaterOptions(), LaterOptions(share=0.4))
    ]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize("version", ["EXTRACTOR_VERSION", "TRAINER_VERSION"])
def test_a_raised_version_moves_every_fingerprint(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction if version.startswith("E") else training, version, "2")
    if version.startswith("E"):
        assert extraction.load_recipe("stella").fingerprint != KEPT["extractor 1"]["stella"]
    else:
        assert training.load_config("er", {}, []).fingerprint != KEPT["trainer 1"]["er"]
        found = downstream.load_downstream("ave", {}, []).fingerprint
        assert found != KEPT["trainer 1, downstream"]["ave"]
