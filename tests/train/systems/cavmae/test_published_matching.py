"""STELLA's released checkpoints: the names of its code, and what its matching module computes."""

from pathlib import Path

import pytest
import torch

from avstore.train.errors import UserError
from avstore.train.initial_weights import load_initial
from avstore.train.methods import Setup, find_method
from avstore.train.systems.cavmae.matching import AudioVideoMatching
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.model_config import ModelConfig
from avstore.train.systems.cavmae.published_matching import matching_from_stella
from avstore.train.systems.cavmae.weights import load_backbone
from tests.train.released_names import checkpoint, matching
from tests.train.systems.cavmae.objectives import system

D = ModelConfig().width


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of all 420 tensors, as the released trainer of task-free runs saves it."""
    shapes = checkpoint(ModelConfig())
    assert len(shapes) == 420
    path = tmp_path_factory.mktemp("released") / "model_checkpoint_0008.pth"
    state = {name: torch.zeros(shape) + n for n, (name, shape) in enumerate(shapes.items())}
    torch.save({"model": state, "epoch": 3}, path)
    return path


@pytest.mark.slow
def test_a_released_checkpoint_gives_backbone_and_matching_module(released: Path) -> None:
    found = find_method("stella")
    method = found(system(ModelConfig()), found.Options(), Setup())
    load_initial(method, str(released), str(released))
    values = {k: float(v.flatten()[0]) for k, v in torch.load(released)["model"].items()}
    at = "module.backbone.transformer."
    assert (
        float(method.objective.model.joint[1].norm2["video"].bias[0])
        == values[f"{at}blocks_u.1.norm2_v.bias"]
    )
    assert (
        float(method.objective.model.audio.inter_pos[0, 0, 0]) == values[f"{at}inter_pos_embed_a"]
    )
    at = "module.avmatching_module."
    parts = method.avm.qkv_video.weight.reshape(3, D, D)[:, 0, 0].tolist()
    assert parts == [values[f"{at}to_v_{part}.weight"] for part in "qkv"]
    assert float(method.avm.score.bias) == values[f"{at}matching_score.fc.bias"]


@pytest.mark.slow
def test_what_the_backbone_leaves_out_is_said(released: Path) -> None:
    adapted = load_backbone(CAVMAE(ModelConfig()), released)
    assert set(adapted.left_out.values()) == {"the matching module, which avm_init loads"}
    assert len(adapted.left_out) == 14


def test_the_matching_module_computes_what_the_released_one_does() -> None:
    """The numbers are the released class's, of weights and inputs drawn in the same order."""
    draw = torch.Generator().manual_seed(7)
    shapes = dict(sorted(matching(32).items()))
    state = {k: 0.2 * torch.randn(shape, generator=draw) for k, shape in shapes.items()}
    audio, video = torch.randn(3, 6, 32, generator=draw), torch.randn(3, 10, 32, generator=draw)
    module = AudioVideoMatching(32, 4, "published")
    module.load_state_dict(
        matching_from_stella({f"avmatching_module.{k}": v for k, v in state.items()})
    )
    with torch.no_grad():
        logits = module(audio, video)
    assert torch.allclose(logits, torch.tensor([-0.1835417, 0.0745439, 0.0361719]), atol=1e-6)


def test_a_matching_module_that_does_not_fit_is_named(tmp_path: Path) -> None:
    state = {f"module.avmatching_module.{k}": torch.zeros(x) for k, x in matching(32).items()}
    del state["module.avmatching_module.to_a_q.weight"]
    torch.save({"model": state}, tmp_path / "weights.pth")
    config = ModelConfig(
        width=32, heads=2, depth=2, joint_depth=1, decoder_width=16, decoder_depth=1,
        decoder_heads=2, image_size=64, fbank_frames=64,
    )  # fmt: skip
    found = find_method("stella")
    method = found(system(config), found.Options(), Setup())
    with pytest.raises(UserError, match=r"not in the file: qkv_audio\.weight"):
        load_initial(method, None, str(tmp_path / "weights.pth"))
