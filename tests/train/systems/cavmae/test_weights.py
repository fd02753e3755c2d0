"""Published weights: every key has a place or a reason, and the model computes the same."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from avstore.train.errors import UserError
from avstore.train.initial_weights import load_initial
from avstore.train.methods import Setup, find_method
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.model_config import ModelConfig
from avstore.train.systems.cavmae.weights import load_backbone, saved_shape
from tests.train.systems.cavmae.objectives import system

D, DEC = 32, 16
CONFIG = ModelConfig(
    width=D, heads=2, depth=2, joint_depth=1, decoder_width=DEC, decoder_depth=1, decoder_heads=2,
    image_size=64, fbank_frames=64,
)  # fmt: skip
State = dict[str, torch.Tensor]


def block(name: str, width: int, routes: tuple[str, ...] = ("",)) -> State:
    shapes: dict[str, tuple[int, ...]] = {
        "attn.qkv.weight": (3 * width, width), "attn.qkv.bias": (3 * width,),
        "attn.proj.weight": (width, width), "attn.proj.bias": (width,),
        "mlp.fc1.weight": (4 * width, width), "mlp.fc1.bias": (4 * width,),
        "mlp.fc2.weight": (width, 4 * width), "mlp.fc2.bias": (width,),
    }  # fmt: skip
    for norm in ("norm1", "norm2"):
        for route in routes:
            shapes |= {f"{norm}{route}.{part}": (width,) for part in ("weight", "bias")}
    return {f"{name}.{key}": 0.1 * torch.randn(shape) for key, shape in shapes.items()}


def pair(name: str, *shape: int) -> State:
    return {f"{name}.weight": torch.randn(shape), f"{name}.bias": torch.randn(shape[0])}


def norm(name: str, width: int) -> State:
    return {f"{name}.weight": torch.randn(width), f"{name}.bias": torch.randn(width)}


def mae() -> State:
    """Names and shapes of `mae_pretrain_vit_*_full.pth`, three blocks, pictures of 48 pixels."""
    torch.manual_seed(0)
    state = {"cls_token": torch.randn(1, 1, D), "pos_embed": torch.randn(1, 10, D)}
    state |= {"mask_token": torch.randn(1, 1, DEC), "decoder_pos_embed": torch.randn(1, 10, DEC)}
    state |= pair("patch_embed.proj", D, 3, 16, 16) | norm("norm", D) | norm("decoder_norm", DEC)
    for number in range(3):
        state |= block(f"blocks.{number}", D)
    state |= pair("decoder_embed", DEC, D) | pair("decoder_pred", 768, DEC)
    return state | block("decoder_blocks.0", DEC)


def cavmae() -> State:
    """Names and shapes of `cav-mae-*.pth`: 11 + 1 blocks are here 2 + 1."""
    torch.manual_seed(1)
    state: State = {}
    for side, channels, tokens in (("a", 1, 32), ("v", 3, 16)):
        state |= pair(f"patch_embed_{side}.proj", D, channels, 16, 16)
        state |= {
            f"modality_{side}": torch.randn(1, 1, D),
            f"pos_embed_{side}": torch.randn(1, tokens, D),
        }
        state |= {f"decoder_modality_{side}": torch.randn(1, 1, DEC)}
        state |= {f"decoder_pos_embed_{side}": torch.randn(1, tokens, DEC)}
        state |= norm(f"norm_{side}", D)
        for number in range(2):
            state |= block(f"blocks_{side}.{number}", D, ("", "_a", "_v"))
    state |= block("blocks_u.0", D, ("", "_a", "_v")) | block(
        "decoder_blocks.0", DEC, ("", "_a", "_v")
    )
    state |= norm("norm", D) | norm("decoder_norm", DEC) | pair("decoder_embed", DEC, D)
    state |= pair("decoder_pred_a", 256, DEC) | pair("decoder_pred_v", 768, DEC)
    return {
        f"module.{key}": value
        for key, value in (state | {"mask_token": torch.randn(1, 1, DEC)}).items()
    }


def stella() -> State:
    """Names and shapes of STELLA's `model_checkpoint_*.pth`, with its matching module beside."""
    state = {key.removeprefix("module."): value for key, value in cavmae().items()}
    state = {key: x for key, x in state.items() if "mask_token" not in key and "_pred_" not in key}
    for side, tokens in (("a", 32), ("v", 64)):
        state |= {f"inter_pos_embed_{side}": torch.randn(1, tokens, D)}
        state |= {f"pos_embed_{side}": torch.randn(1, tokens, D)}
        state |= {f"decoder_pos_embed_{side}": torch.randn(1, tokens, DEC)}
        state |= {f"mask_token_{side}": torch.randn(1, 1, DEC)}
    state |= pair("mae_score_audio.decoder", 256, DEC) | pair("mae_score_video.decoder", 768, DEC)
    return state | pair("avm.proj", 4, 4)


def saved(state: State, folder: Path) -> Path:
    torch.save({"model": state}, folder / "weights.pth")
    return folder / "weights.pth"


def test_mae_is_adapted_as_in_stella(tmp_path: Path) -> None:
    state, model = mae(), CAVMAE(CONFIG)
    sines = model.audio.pos.clone()
    adapted = load_backbone(model, saved(state, tmp_path))
    assert adapted.left_out == {"cls_token": "class token"}
    for number in range(2):
        for side in (model.audio, model.video):
            assert torch.equal(
                side.blocks[number].mlp.fc1.bias, state[f"blocks.{number}.mlp.fc1.bias"]
            )
    for route in ("joint", "audio", "video"):
        assert torch.equal(model.joint[0].norm1[route].weight, state["blocks.2.norm1.weight"])
        assert torch.equal(model.norms[route].bias, state["norm.bias"])
    kernel = state["patch_embed.proj.weight"]
    assert torch.equal(model.video.patch.weight, kernel)
    assert torch.allclose(model.audio.patch.weight, kernel.sum(1, keepdim=True))
    assert torch.equal(model.decoder.head_audio.weight, state["decoder_pred.weight"][:256])
    assert torch.equal(model.audio.pos, sines)  # stays sines and cosines
    # 3 × 3 places become 4 × 4, the same for each of the four frames.
    square = state["pos_embed"][0, 1:].T.reshape(1, D, 3, 3)
    wide = F.interpolate(square, size=(4, 4), mode="bicubic", align_corners=False)
    expected = wide.flatten(2)[0].T
    for table in (model.video.pos, model.video.inter_pos):
        assert torch.allclose(table[0], expected.repeat(4, 1), atol=1e-6)


def test_mae_is_adapted_as_in_cavmae(tmp_path: Path) -> None:
    """Kernel and head see frequency by time there, and time by frequency here."""
    state, model = mae(), CAVMAE(CONFIG.model_copy(update={"audio_pos": "cavmae", "frames": 1}))
    sines = model.audio.pos.clone()
    load_backbone(model, saved(state, tmp_path))
    kernel = state["patch_embed.proj.weight"].sum(1, keepdim=True)
    assert torch.allclose(model.audio.patch.weight, kernel.transpose(2, 3))
    head = model.decoder.head_audio
    for ours, theirs in ((head.weight, "weight"), (head.bias, "bias")):
        square = state[f"decoder_pred.{theirs}"][:256].reshape(16, 16, -1)
        assert torch.equal(ours.reshape(16, 16, -1), square.transpose(0, 1))
    assert torch.equal(model.audio.pos, sines)


def test_mae_leaves_zeros_as_the_released_chain(tmp_path: Path) -> None:
    model = CAVMAE(CONFIG.model_copy(update={"mae_start": "published"}))
    load_backbone(model, saved(mae(), tmp_path))
    zeros = {name for name, value in model.state_dict().items() if not value.any()}
    tables = {"audio.pos", "audio.inter_pos", "decoder.pos_audio"}
    tokens = {f"{side}.modality" for side in ("audio", "video")}
    assert zeros == tables | tokens | {"decoder.modality_audio", "decoder.modality_video"}
    assert torch.equal(model.video.pos, model.video.inter_pos)


def test_cavmae_gives_the_codes_of_the_original(tmp_path: Path) -> None:
    """Ours against its own way: frequency by time, frequency-major, one picture."""
    state = {key.removeprefix("module."): x for key, x in cavmae().items()}
    config = CONFIG.model_copy(update={"frames": 1})
    model = CAVMAE(config)
    adapted = load_backbone(model, saved(cavmae(), tmp_path))
    assert set(adapted.left_out.values()) == {
        "a route's norm that own blocks never use", "a route's norm that the decoder never uses",
    }  # fmt: skip
    torch.manual_seed(3)
    video, audio = torch.randn(2, 1, 3, 64, 64), torch.randn(2, 1, 64, 128)
    ours, _ = model.codes(model.patches(video, audio))
    kernel, bias = state["patch_embed_a.proj.weight"], state["patch_embed_a.proj.bias"]
    x = F.conv2d(audio.transpose(2, 3), kernel, bias, stride=16).flatten(2).transpose(1, 2)
    x = x + state["modality_a"] + state["pos_embed_a"]
    for own in model.audio.blocks:
        x = own(x)
    x = x.reshape(2, 8, 4, D).transpose(1, 2).reshape(2, 32, D)  # frequency- to time-major
    assert torch.allclose(ours, x, atol=1e-4)
    # The head's pixels: a patch's (frequency, time) is our (time, frequency).
    code = torch.randn(DEC)
    theirs = F.linear(code, state["decoder_pred_a.weight"], state["decoder_pred_a.bias"])
    assert torch.allclose(model.decoder.head_audio(code).reshape(16, 16), theirs.reshape(16, 16).T)


def test_stella_keeps_every_value(tmp_path: Path) -> None:
    state, model = stella(), CAVMAE(CONFIG)
    adapted = load_backbone(model, saved(state, tmp_path))
    assert {k for k in adapted.left_out if "norm" not in k} == {"avm.proj.weight", "avm.proj.bias"}
    assert torch.equal(model.video.inter_pos, state["inter_pos_embed_v"])
    assert torch.equal(model.joint[0].norm2["video"].bias, state["blocks_u.0.norm2_v.bias"])
    assert torch.equal(model.decoder.head_video.bias, state["mae_score_video.decoder.bias"])
    assert torch.equal(model.decoder.mask_token_audio, state["mask_token_a"])


def test_a_checkpoint_of_a_run_loads_with_its_shape(tmp_path: Path) -> None:
    model, other = CAVMAE(CONFIG), CAVMAE(CONFIG)
    path = tmp_path / "task-01.pt"
    config = {"model": CONFIG.model_dump(mode="json")}
    torch.save({"config": config, "model": model.state_dict()}, path)
    load_backbone(other, path)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )
    assert ModelConfig.model_validate(saved_shape(path)) == CONFIG
    assert saved_shape(saved(mae(), tmp_path)) is None


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        (mae, {"head.weight": torch.zeros(3)}, "without a place in the model: head.weight"),
        (mae, {"blocks.3.mlp.fc1.bias": torch.zeros(4 * D)}, "not in the model: joint.1"),
        (mae, {"norm.weight": torch.zeros(D + 1)}, "another shape: norms.audio.weight"),
        (cavmae, {"module.blocks_u.1.mlp.fc1.bias": torch.zeros(4 * D)}, "model.joint_depth=2"),
        (stella, {"surprise": torch.zeros(1)}, "without a place in the model: surprise"),
        (lambda: {"fc.weight": torch.zeros(2)}, {}, "is not from MAE"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, make: Callable[[], State], change: State, message: str
) -> None:
    config = CONFIG.model_copy(update={"frames": 1}) if make is cavmae else CONFIG
    with pytest.raises(UserError, match=re.escape(message)):
        load_backbone(CAVMAE(config), saved(make() | change, tmp_path))


def test_missing_keys_and_broken_files_are_named(tmp_path: Path) -> None:
    state = stella()
    del state["norm.weight"]
    with pytest.raises(UserError, match=r"not in the file: norms\.joint\.weight"):
        load_backbone(CAVMAE(CONFIG), saved(state, tmp_path))
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"broken.pth is not a readable checkpoint"):
        load_backbone(CAVMAE(CONFIG), tmp_path / "broken.pth")


def test_matching_weights_are_loaded_beside_the_backbone(tmp_path: Path) -> None:
    found = find_method("avm")
    first = found(system(CONFIG), found.Options(), Setup())
    torch.save({"method": first.state_dict()}, tmp_path / "avm.pt")
    wanted = find_method("stella")
    second = wanted(system(CONFIG), wanted.Options(), Setup())
    load_initial(second, None, str(tmp_path / "avm.pt"))
    assert torch.equal(second.avm.score.weight, first.avm.score.weight)
    er = find_method("er")
    with pytest.raises(UserError, match="no matching module"):
        load_initial(er(system(CONFIG), er.Options(), Setup()), None, str(tmp_path / "avm.pt"))


def test_slow_copies_start_from_the_same_weights(tmp_path: Path) -> None:
    found = find_method("clser")
    method = found(system(CONFIG), found.Options(), Setup())
    load_initial(method, str(saved(stella(), tmp_path)), None)
    for copy in (method.plastic, method.stable):
        assert torch.equal(copy.model.video.pos, method.objective.model.video.pos)
