"""The numbers that the released classes gave, and ours.

Franklin905/VALOR at 2677da9 and YapengTian/AVVP-ECCV20 at fde5611, run with the weights, features
and labels of `released.py`, in fp32 on a CPU, without dropout.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from avstore.train.config import load_config
from avstore.train.data import Batch, BatchSpec
from avstore.train.errors import UserError
from avstore.train.optim import make_optimizer
from avstore.train.systems.valor.model import ParsingNet
from avstore.train.systems.valor.objective import ValorObjective
from avstore.train.systems.valor.settings import ValorSettings
from avstore.train.systems.valor.weights import load_weights
from tests.train.systems.valor.released import CONFIGS, features, labels, weights

NUMBERS: dict[str, Any] = json.loads(Path(__file__).with_name("released_numbers.json").read_text())
NAMES = {
    "fc_prob.weight": "event.weight",
    "fc_a.weight": "audio.weight",
    "fc_v.bias": "visual.bias",
    "hat_encoder.layers.0.self_attn.in_proj_weight": "layers.0.self_attention.in_proj_weight",
    "hat_encoder.layers.0.norm2.weight": "layers.0.norm2.weight",
}


def make(name: str, folder: Path) -> ParsingNet:
    """Our network with the released weights, loaded from a file as it was released."""
    path = folder / "checkpoint_best.pt"
    torch.save(weights(CONFIGS[name]), path)
    model = ParsingNet(CONFIGS[name]).eval()
    load_weights(model, path)
    return model


def close(found: Tensor, expected: list[float], atol: float = 1e-5) -> bool:
    return torch.allclose(found.flatten(), torch.tensor(expected), atol=atol)


@pytest.mark.parametrize("name", CONFIGS)
def test_forward_and_parameters(name: str, tmp_path: Path) -> None:
    model, numbers = make(name, tmp_path), NUMBERS[name]
    assert sum(p.numel() for p in model.parameters()) == numbers["parameters"]
    with torch.no_grad():
        parsed = model(*features(CONFIGS[name]))
    assert close(parsed.video, numbers["video"])
    audio, visual = parsed.modalities.unbind(1)
    assert close(audio, numbers["audio_probability"])
    assert close(visual, numbers["visual_probability"])
    assert close(parsed.logits.sigmoid()[0, 3], numbers["seconds"])


@pytest.mark.parametrize("name", CONFIGS)
def test_one_step_without_dropout(name: str, tmp_path: Path) -> None:
    numbers, system = NUMBERS[name], objective(name, tmp_path)
    optim = load_config(name if name in ("han", "valor") else "valor", {}, []).optim
    optimizer = make_optimizer(system, optim)
    out = system.eval()(batch(name))
    for part, value in numbers["losses"].items():
        assert float(out.parts[part].mean()) == pytest.approx(value, abs=1e-6)
    sum(part.mean() for part in out.parts.values()).backward()
    if optim.clip_grad is not None:
        norm = nn.utils.clip_grad_norm_(system.parameters(), optim.clip_grad)
        assert float(norm) == pytest.approx(numbers["norm"], rel=1e-5)
    optimizer.step()
    state = system.weights()
    for theirs, values in numbers["after"].items():
        assert close(state[NAMES[theirs]].flatten()[:6], values, atol=1e-6), theirs


def objective(name: str, folder: Path) -> ValorObjective:
    config = CONFIGS[name]
    wide = config.audio_width == 768
    settings = ValorSettings(
        loss="han" if name == "han" else "valor",
        audio="clap-map" if wide else "vggish",
        visual="clip-vitl14" if wide else "resnet152",
    )
    spec = BatchSpec(2, read=settings.inputs, labels="multi_hot")
    return ValorObjective(make(name, folder), spec, spec, settings)


def batch(name: str) -> Batch:
    config = CONFIGS[name]
    wide = config.audio_width == 768
    audio, visual, motion = features(config)
    weak, heard, seen = labels()
    return Batch(
        video=None,
        audio=None,
        labels=weak,
        clip_ids=["llp/a", "llp/b"],
        step=0,
        slots=torch.full((2,), -1),
        features={
            "clap-map" if wide else "vggish": audio,
            "clip-vitl14" if wide else "resnet152": visual,
            "r2plus1d18": motion,
            "valor-clap-labels": heard.long(),
            "valor-clip-labels": seen.long(),
        },
    )


def test_features_of_another_width_are_named(tmp_path: Path) -> None:
    system, given = objective("valor", tmp_path), batch("valor")
    given.features["vggish"] = torch.zeros(2, 10, 768)
    with pytest.raises(UserError, match=r"vggish has rows of 768 .* set model\.audio_width=768"):
        system(given)
    given = batch("valor")
    given.features["resnet152"] = torch.zeros(2, 20, 2048)
    with pytest.raises(UserError, match="resnet152 has 20 rows"):
        system(given)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_best.pt"
    torch.save(weights(CONFIGS["valor_plus"]), path)
    with pytest.raises(UserError, match="does not fit"):
        load_weights(ParsingNet(CONFIGS["valor"]), path)
    torch.save({**weights(CONFIGS["valor"]), "fc_x.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"keys without a place in the model: fc_x\.weight"):
        load_weights(ParsingNet(CONFIGS["valor"]), path)


def test_unused_parameters_need_not_be_had(tmp_path: Path) -> None:
    path = tmp_path / "MMIL_Net.pt"
    torch.save(weights(CONFIGS["han"]), path)
    used = ParsingNet(CONFIGS["han"].model_copy(update={"unused": "none"}))
    load_weights(used, path)
    assert sum(p.numel() for p in used.parameters()) == 4_569_675
