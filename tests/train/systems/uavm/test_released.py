"""The numbers that UAVM's released classes gave (YuanGongND/uavm at b3120c7), and ours.

The classes were run with the weights and features of `released.py`, in fp32 on a CPU: logits, mean
tokens of every layer, and one row of each attention map.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from avstore.train.systems.uavm.model import UAVM
from avstore.train.systems.uavm.model_config import MODALITIES, UAVMConfig
from avstore.train.systems.uavm.weights import load_weights
from tests.train.systems.uavm.released import features, weights

CASES = json.loads(Path(__file__).with_name("released_models.json").read_text())
ONE_AT_A_TIME = [name for name in CASES if "cross" not in name]
TRACED = [name for name in ONE_AT_A_TIME if "independent" not in name]


def make(name: str, folder: Path) -> tuple[UAVM, dict[str, Any]]:
    """Our model with the released weights, loaded from a file as it was released."""
    config = UAVMConfig(**CASES[name]["config"])
    path = folder / "best_audio_model.pth"
    torch.save({f"module.{key}": value for key, value in weights(config).items()}, path)
    model = UAVM(config).eval()
    load_weights(model, path)
    return model, CASES[name]["numbers"]


def close(found: torch.Tensor, expected: list[Any]) -> bool:
    return torch.allclose(found, torch.tensor(expected), atol=1e-5)


@pytest.mark.parametrize("name", ONE_AT_A_TIME)
@torch.no_grad()
def test_logits_of_a_modality_and_of_both(name: str, tmp_path: Path) -> None:
    model, numbers = make(name, tmp_path)
    given = dict(zip(MODALITIES, features(model.config), strict=True))
    found = [model(**{modality: given[modality]}) for modality in MODALITIES]
    for modality, logits in zip(MODALITIES, found, strict=True):
        assert close(logits, numbers[f"logits_{modality}"])
    assert torch.allclose(model(**given), (found[0] + found[1]) / 2, atol=1e-6)


@pytest.mark.parametrize("name", TRACED)
@torch.no_grad()
def test_embeddings_of_every_layer(name: str, tmp_path: Path) -> None:
    model, numbers = make(name, tmp_path)
    for modality, x in zip(MODALITIES, features(model.config), strict=True):
        found = model.trace(**{modality: x}).embeddings
        assert len(found) == model.config.depth + 2
        expected = numbers[f"layers_{modality}"]
        assert all(close(f[0, :4], e) for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", TRACED)
@torch.no_grad()
def test_attention_maps_without_the_norm(name: str, tmp_path: Path) -> None:
    model, numbers = make(name, tmp_path)
    for modality, x in zip(MODALITIES, features(model.config), strict=True):
        found = model.trace(**{modality: x}, maps="published").maps
        expected = numbers[f"maps_{modality}"]
        assert all(close(f[0, 0, 0], e) for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", sorted(set(CASES) - set(ONE_AT_A_TIME)))
@torch.no_grad()
def test_cross_attention(name: str, tmp_path: Path) -> None:
    model, numbers = make(name, tmp_path)
    audio, video = features(model.config)
    assert close(model(audio, video), numbers["logits"])
    last = model.trace(audio, video, maps="published").maps[-1]
    assert close(last[0, 0, 0], numbers["maps"][0])
