"""Weights of MAE ViT-B, CAV-MAE and STELLA, renamed and reordered to ours.

Each adapter accounts for every key: it is used, or left out with a reason.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.errors import UserError
from avstore.train.systems.cavmae import published_matching
from avstore.train.systems.cavmae.decoder import Decoder
from avstore.train.systems.cavmae.layers import ROUTES
from avstore.train.systems.cavmae.model_config import ModelConfig
from avstore.train.systems.state_dicts import State, some_of


@dataclass
class Adapted:
    """A published state dict in our names.

    Attributes:
        state: Tensors by our names.
        used: Keys of the file that are used.
        left_out: Keys of the file that are not, with the reason.
        kept: Our names that keep their initial values, with the reason.
    """

    state: State = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)


def adapter_of(state: State, path: Path) -> Callable[[State, ModelConfig], Adapted]:
    """Return the adapter for a file's state dict.

    Raises:
        UserError: The state dict is of no known kind.
    """
    if "audio.patch.weight" in state:
        return from_ours
    if all(key.startswith("head.") for key in state):
        raise UserError(
            f"{path} holds a head without its backbone, which was frozen; give the weights that "
            "this run started from (its setting init)"
        )
    if "inter_pos_embed_v" in state:
        return from_stella
    if "pos_embed_a" in state:
        return from_cavmae
    if "pos_embed" in state and "decoder_pos_embed" in state:
        return from_mae
    raise UserError(
        f"{path} is not from MAE ViT (with decoder), CAV-MAE, STELLA or this trainer; its keys "
        f"begin with {some_of(state.keys())}"
    )


def from_ours(state: State, config: ModelConfig) -> Adapted:
    """Adapt a checkpoint of this trainer: nothing changes, but a downstream head is left out."""
    head = {key: "head of a downstream task" for key in state if key.startswith("head.")}
    own = {key: value for key, value in state.items() if key not in head}
    return Adapted(own, set(own), head)


def from_mae(state: State, config: ModelConfig) -> Adapted:
    """Adapt ImageNet MAE with decoder (`mae_pretrain_vit_*_full.pth`) as the released codes do.

    The first blocks become both encoders and the last ones the joint blocks, their norms those of
    all three routes. The patch convolution summed over colours becomes the audio convolution, the
    first rows of the pixel head the audio head; CAV-MAE means them for an fbank of frequency by
    time, STELLA for ours (`audio_pos`). Audio tables stay sines and cosines and modality tokens
    random, or become zeros (`mae_start`).
    """
    out = Adapted()
    c = config
    out.left_out |= {key: "class token" for key in ("cls_token",) if key in state}
    rows = c.audio_patch**2
    weight = state["patch_embed.proj.weight"]
    _give(out, state, "patch_embed.proj.weight", ["video.patch.weight"])
    _give(out, state, "patch_embed.proj.bias", ["video.patch.bias", "audio.patch.bias"])
    audio = weight.sum(1, keepdim=True)
    out.state["audio.patch.weight"] = _resize_kernel(audio, c.audio_patch)
    tables = {"pos_embed": ["video.pos"], "decoder_pos_embed": ["decoder.pos_video"]}
    if c.inter_pos:
        tables["pos_embed"].append("video.inter_pos")
    for theirs, ours in tables.items():
        table = _resize_table(state[theirs][:, 1:], c.video_grid).repeat(1, c.frames, 1)
        out.state |= {name: table.clone() for name in ours}
        out.used.add(theirs)
    _give(out, state, "mask_token", ["decoder.mask_token_audio", "decoder.mask_token_video"])
    for part in ("weight", "bias"):
        _give(out, state, f"decoder_pred.{part}", [f"decoder.head_video.{part}"])
        out.state[f"decoder.head_audio.{part}"] = state[f"decoder_pred.{part}"][:rows].clone()
        _give(out, state, f"norm.{part}", [f"norms.{route}.{part}" for route in ROUTES])
        _give(out, state, f"decoder_embed.{part}", [f"decoder.embed.{part}"])
        _give(out, state, f"decoder_norm.{part}", [f"decoder.norm.{part}"])
    if c.audio_pos == "cavmae":
        turned = ("audio.patch.weight", "decoder.head_audio.weight", "decoder.head_audio.bias")
        out.state |= {name: _reorder(name, out.state[name], c) for name in turned}
    for key in state:
        if match := re.fullmatch(r"blocks\.(\d+)\.(.+)", key):
            _give(out, state, key, _mae_block(int(match[1]), match[2], c))
        elif match := re.fullmatch(r"decoder_blocks\.(.+)", key):
            _give(out, state, key, [f"decoder.blocks.{match[1]}"])
    new = {
        "audio.pos": (c.audio_tokens, c.width),
        "decoder.pos_audio": (c.audio_tokens, c.decoder_width),
    }
    new |= {"audio.inter_pos": (c.audio_tokens, c.width)} if c.inter_pos else {}
    new |= {f"{side}.modality": (1, c.width) for side in ("audio", "video")}
    new |= {f"decoder.modality_{side}": (1, c.decoder_width) for side in ("audio", "video")}
    if c.mae_start == "published":
        out.state |= {name: torch.zeros(1, *shape) for name, shape in new.items()}
    else:
        out.kept |= dict.fromkeys(new, "MAE has no sound and one modality")
    return out


def from_stella(state: State, config: ModelConfig) -> Adapted:
    """Adapt a STELLA checkpoint (`model_checkpoint_*.pth`): names change, values do not."""
    out = Adapted()
    for key in state:
        ours = _rename(
            key,
            {
                "mae_score_audio.decoder": "decoder.head_audio",
                "mae_score_video.decoder": "decoder.head_video",
            },
        )
        if re.match(r"(blocks_[av]|decoder_blocks)\.\d+\.norm[12]_[av]\.", key):
            out.left_out[key] = "a route's norm that these blocks never use"
            continue
        if ours is None:
            if key.startswith(published_matching.PREFIX):
                out.left_out[key] = "the matching module, which avm_init loads"
            elif re.match(r"(vacls_|avm|cross_attn|va_)", key):
                out.left_out[key] = "a head beside the backbone"
            continue
        _give(out, state, key, ours)
    return out


def from_cavmae(state: State, config: ModelConfig) -> Adapted:
    """Adapt a CAV-MAE checkpoint, pre-trained or finetuned (`cav-mae-*.pth`).

    Its audio tokens are frequency-major and ours time-major, so its audio tables are reordered. Its
    fbank is frequency by time and ours time by frequency, so the audio kernel and the audio head's
    pixels are transposed. The tables of its single frame are repeated for every frame. Intermediate
    tables, which it lacks, start at zero. A finetuned one has no decoder; ours keeps its values.

    Raises:
        UserError: It has another number of own or joint blocks than the model (11 + 1 as
            published).
    """
    out = Adapted()
    c = config
    expected = (len(_numbers(state, "blocks_a")), len(_numbers(state, "blocks_u")))
    if expected != (c.depth, c.joint_depth):
        raise UserError(
            f"this CAV-MAE has {expected[0]} own and {expected[1]} joint blocks and the model "
            f"{c.depth} and {c.joint_depth}; set model.depth={expected[0]} and "
            f"model.joint_depth={expected[1]}"
        )
    special = {"decoder_pred_a": "decoder.head_audio", "decoder_pred_v": "decoder.head_video"}
    for key, value in state.items():
        if re.match(r"blocks_[av]\.\d+\.norm[12]_[av]\.", key):
            out.left_out[key] = "a route's norm that own blocks never use"
        elif re.match(r"decoder_blocks\.\d+\.norm[12]_[av]\.", key):
            out.left_out[key] = "a route's norm that the decoder never uses"
        elif key == "mask_token":
            _give(out, state, key, ["decoder.mask_token_audio", "decoder.mask_token_video"])
        elif re.match(r"mlp_head\.", key):
            out.left_out[key] = "a classification head, which its finetuning loads"
        elif (ours := _rename(key, special)) is not None:
            out.used.add(key)
            for name in ours:
                out.state[name] = _reorder(name, value, c)
    if c.inter_pos:
        out.state |= {
            f"{m}.inter_pos": torch.zeros_like(out.state[f"{m}.pos"]) for m in ("audio", "video")
        }
    if "decoder_embed.weight" not in state:
        with torch.device("meta"):
            names = Decoder(c).state_dict().keys()
        out.kept |= {f"decoder.{name}": "a finetuned model has no decoder" for name in names}
    return out


def _give(out: Adapted, state: State, theirs: str, ours: list[str]) -> None:
    for name in ours:
        out.state[name] = state[theirs].clone()
    out.used.add(theirs)


def _mae_block(number: int, rest: str, c: ModelConfig) -> list[str]:
    if number < c.depth:
        return [f"audio.blocks.{number}.{rest}", f"video.blocks.{number}.{rest}"]
    if norm := re.fullmatch(r"(norm[12])\.(weight|bias)", rest):
        routes = ("joint", "audio", "video")
        return [f"joint.{number - c.depth}.{norm[1]}.{route}.{norm[2]}" for route in routes]
    return [f"joint.{number - c.depth}.{rest}"]


_SIDES = {"a": "audio", "v": "video", None: "joint"}


# Patterns of CAV-MAE's and STELLA's keys, and our names; {side} is the word for the letter.
_NAMES: tuple[tuple[str, str], ...] = (
    (r"pos_embed_(?P<side>[av])", "{side}.pos"),
    (r"inter_pos_embed_(?P<side>[av])", "{side}.inter_pos"),
    (r"modality_(?P<side>[av])", "{side}.modality"),
    (r"decoder_pos_embed_(?P<side>[av])", "decoder.pos_{side}"),
    (r"decoder_modality_(?P<side>[av])", "decoder.modality_{side}"),
    (r"mask_token_(?P<side>[av])", "decoder.mask_token_{side}"),
    (r"patch_embed_(?P<side>[av])\.proj\.(?P<rest>.+)", "{side}.patch.{rest}"),
    (r"blocks_(?P<side>[av])\.(?P<rest>.+)", "{side}.blocks.{rest}"),
    (
        r"blocks_u\.(?P<n>\d+)\.(?P<norm>norm[12])(_(?P<side>[av]))?\.(?P<rest>.+)",
        "joint.{n}.{norm}.{side}.{rest}",
    ),
    (r"blocks_u\.(?P<rest>.+)", "joint.{rest}"),
    (r"norm(_(?P<side>[av]))?\.(?P<rest>weight|bias)", "norms.{side}.{rest}"),
    (r"decoder_(?P<part>blocks|norm|embed)\.(?P<rest>.+)", "decoder.{part}.{rest}"),
)


def _rename(key: str, special: dict[str, str]) -> list[str] | None:
    """Return our names of a key of CAV-MAE or STELLA, None if there is none."""
    head, _, rest = key.rpartition(".")
    if head in special:
        return [f"{special[head]}.{rest}"]
    for pattern, ours in _NAMES:
        if match := re.fullmatch(pattern, key):
            found = match.groupdict()
            return [ours.format(**{**found, "side": _SIDES[found.get("side")]})]
    return None


def _reorder(name: str, value: Tensor, c: ModelConfig) -> Tensor:
    """Return a CAV-MAE tensor in our order of tokens and pixels."""
    if name in ("audio.pos", "decoder.pos_audio"):
        by_band = value.reshape(1, c.audio_bands, c.audio_steps, -1)
        return by_band.transpose(1, 2).reshape(value.shape)
    if name in ("video.pos", "decoder.pos_video"):
        return _resize_table(value, c.video_grid).repeat(1, c.frames, 1)
    if name == "audio.patch.weight":
        return value.transpose(2, 3).contiguous()
    if name.startswith("decoder.head_audio"):
        side = c.audio_patch
        return value.reshape(side, side, -1).transpose(0, 1).reshape(value.shape)
    return value.clone()


def _numbers(state: State, name: str) -> set[str]:
    return {key.split(".")[1] for key in state if key.startswith(f"{name}.")}


def _resize_table(table: Tensor, grid: int) -> Tensor:
    """Return a square position table [1, n², D] for another grid, bicubic."""
    side = round(table.shape[1] ** 0.5)
    if side == grid:
        return table
    square = table.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1).reshape(1, grid * grid, -1)


def _resize_kernel(kernel: Tensor, side: int) -> Tensor:
    if kernel.shape[-1] == side:
        return kernel
    return F.interpolate(kernel, size=(side, side), mode="bicubic", align_corners=False)
