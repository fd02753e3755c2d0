"""Load models of Hugging Face transformers from a folder, a file, or a random seed.

Checkpoints of laion-clap have the same values as transformers' ClapModel under other names, with
query, key and value in one tensor; `rename_laion_tensors` converts them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests import commands
from avstore.pipelines.features.checkpoint import load_state, read_state, seeded
from avstore.pipelines.features.weights import Weights, WeightsError

Tokenise = Callable[[Sequence[str]], NDArray[np.int64]]
"""Convert B sentences to int64 (B, 2, T): token ids, and a mask that is 1 at tokens."""

_BYTE_VOCABULARY = 259  # of the tokenizer for random weights: 256 bytes and special tokens

_LAION_DROPPED = re.compile(
    r"(audio|text)_transform\.|audio_branch\.(spectrogram_extractor|logmel_extractor|tscam_conv|head)"
    r"|.*(attn_mask|num_batches_tracked|position_ids|relative_position_index)$"
)
"""Tensors that ClapModel lacks or computes: spectrogram and mel weights, heads, index tables."""

_LAION_NAMES = (
    (r"^text_branch\.", "text_model."),
    (r"^audio_branch\.", "audio_model.audio_encoder."),
    (r"\.bn0\.", ".batch_norm."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.relative", ".attention.self.relative"),
    (r"_projection\.0\.", "_projection.linear1."),
    (r"_projection\.2\.", "_projection.linear2."),
)


def transformers() -> Any:
    """Import transformers, which the extra `features` installs.

    Raises:
        WeightsError: It is not installed.
    """
    try:
        import transformers as library  # noqa: PLC0415 -- optional and heavy
    except ImportError as error:
        raise WeightsError(
            f"this feature needs transformers; to install it, run {commands.pip('features')}"
        ) from error
    return library


def clip_config(model: str) -> dict[str, Any]:
    """Return the settings of CLIPConfig.

    Args:
        model: `vit-l-14` (openai/clip-vit-large-patch14), or `tiny` for trials.

    Raises:
        WeightsError: Another model.
    """
    if model == "tiny":
        tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
        heads = {"num_attention_heads": 2}
        return {
            "text_config": {**tower, **heads, "vocab_size": 2 * 256 + 2, **_CLIP_TOKENS},
            "vision_config": {**tower, **heads, "image_size": 32, "patch_size": 8},
            "projection_dim": 16,
        }
    if model != "vit-l-14":
        raise WeightsError(f"model={model!r} is not a CLIP model; use vit-l-14, or tiny for trials")
    return {
        "text_config": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        },
        "vision_config": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 224,
            "patch_size": 14,
        },
        "projection_dim": 768,
    }


_CLIP_TOKENS = {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}


def clap_config(model: str) -> dict[str, Any]:
    """Return the settings of ClapConfig.

    Args:
        model: `htsat-fused` (laion/clap-htsat-fused), or `tiny` for trials.

    Raises:
        WeightsError: Another model.
    """
    fused = {"enable_fusion": True, "fusion_type": "aff_2d"}
    if model == "tiny":
        return {
            "audio_config": {
                **fused,
                "patch_embeds_hidden_size": 8,
                "depths": [1, 1, 1, 1],
                "num_attention_heads": [1, 1, 2, 2],
                "hidden_size": 64,
            },
            "text_config": {
                "vocab_size": _BYTE_VOCABULARY + 1,
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
            },
            "projection_dim": 16,
        }
    if model != "htsat-fused":
        raise WeightsError(
            f"model={model!r} is not a CLAP model; use htsat-fused, or tiny for trials"
        )
    return {"audio_config": fused, "text_config": {}, "projection_dim": 512}


def panoptic_config(model: str) -> dict[str, Any]:
    """Return the settings of Mask2FormerConfig for COCO's 133 panoptic classes.

    Args:
        model: `swin-tiny` (facebook/mask2former-swin-tiny-coco-panoptic), or `tiny` for trials.

    Raises:
        WeightsError: Another model.
    """
    stages = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
    if model == "tiny":
        swin = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], **stages}
        widths = ("feature_size", "mask_feature_size", "hidden_dim", "encoder_feedforward_dim")
        return {
            "backbone_config": {"model_type": "swin", "window_size": 4, **swin},
            **dict.fromkeys((*widths, "dim_feedforward"), 32),
            **{"num_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 2},
            **{"num_queries": 5, "num_labels": 133},
        }
    if model != "swin-tiny":
        raise WeightsError(
            f"model={model!r} is not a Mask2Former model; use swin-tiny, or tiny for trials; "
            "--weights FOLDER takes other sizes"
        )
    swin = {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], **stages}
    return {
        "backbone_config": {"model_type": "swin", "window_size": 7, **swin},
        "num_labels": 133,
    }


def load_model(kind: str, settings: dict[str, Any], weights: Weights) -> Any:
    """Load a model on the CPU in float32.

    Args:
        kind: `CLIPModel`, `ClapModel`, `Mask2FormerForUniversalSegmentation` or
            `MaskFormerForInstanceSegmentation`.
        settings: Size of the model, for random weights and checkpoint files.
        weights: Random, a checkpoint file, or a folder with a model as `save_pretrained` writes
            it or with one checkpoint (and a tokenizer).

    Raises:
        WeightsError: The weights are not of this model.
    """
    library = transformers()
    maker = getattr(library, kind)
    if weights.path and (Path(weights.path) / "config.json").is_file():
        try:
            return maker.from_pretrained(weights.path, local_files_only=True, dtype="float32")
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(f"{weights.path} does not hold a {kind}: {error}") from error
    with seeded(weights.seed):
        config = re.sub(r"(Model|For[A-Z]\w+)$", "Config", kind)
        model = maker(getattr(library, config)(**settings))
    if weights.path:
        state = read_state(_checkpoint(weights.local))
        load_state(model, rename_laion_tensors(state) if kind == "ClapModel" else state)
    return model.float()


def _checkpoint(path: Path) -> Path:
    """Return the file itself, or a folder's only checkpoint."""
    if not path.is_dir():
        return path
    endings = (".pt", ".pth", ".bin", ".safetensors")
    found = [file for file in sorted(path.iterdir()) if file.suffix in endings]
    if len(found) != 1:
        raise WeightsError(
            f"{path} must hold config.json or one checkpoint, and holds {len(found)}"
        )
    return found[0]


def load_tokenizer(weights: Weights, random: Callable[[], Any]) -> Tokenise:
    """Load the tokenizer in the weights' folder.

    Args:
        weights: The model's weights.
        random: Builds the tokenizer for random weights.

    Raises:
        WeightsError: The weights are a file, without a tokenizer.
    """
    if weights.kind == "random":
        tokenizer = random()
    elif weights.path and Path(weights.path).is_dir():
        tokenizer = transformers().AutoTokenizer.from_pretrained(
            weights.path, local_files_only=True
        )
    else:
        raise WeightsError(
            f"{weights.path} has no tokenizer; text features need --weights FOLDER with one"
        )

    def tokenise(sentences: Sequence[str]) -> NDArray[np.int64]:
        found = tokenizer(list(sentences), padding=True, return_tensors="np")
        return np.stack([found["input_ids"], found["attention_mask"]], axis=1).astype(np.int64)

    return tokenise


def byte_clip_tokenizer() -> Any:
    """Build CLIP's tokenizer without merges: every byte is a token."""
    letters = _byte_letters()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return transformers().CLIPTokenizer(vocab=vocabulary, merges=[])


def byte_roberta_tokenizer() -> Any:
    """Build RoBERTa's tokenizer without merges: every byte is a token."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *_byte_letters()]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    return transformers().RobertaTokenizer(vocab=vocabulary, merges=[])


def _byte_letters() -> list[str]:
    """Return the 256 letters as which byte-level tokenizers write bytes."""
    from tokenizers.pre_tokenizers import ByteLevel  # noqa: PLC0415 -- optional

    return sorted(ByteLevel.alphabet())


def rename_laion_tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a laion-clap state dict for ClapModel; one with ClapModel's names is unchanged."""
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if not any(name.startswith("audio_branch.") for name in plain):
        return dict(state)
    return dict(pair for name, tensor in plain.items() for pair in _renamed(name, tensor))


def _renamed(name: str, tensor: Any) -> Iterator[tuple[str, Any]]:
    """Yield a tensor's names and parts in ClapModel; nothing for a dropped one."""
    if _LAION_DROPPED.match(name):
        return
    if ".attn.qkv." in name:
        for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
            yield from _renamed(name.replace(".attn.qkv.", f".attention.self.{part}."), third)
        return
    for old, new in _LAION_NAMES:
        name = re.sub(old, new, name)
    yield name, tensor


def embed_text(model: Any, tokens: Any) -> Any:
    """Compute text features of length 1, (B, width), of token ids and mask (B, 2, T)."""
    features = model.get_text_features(input_ids=tokens[:, 0], attention_mask=tokens[:, 1])
    return unit_length(features.pooler_output)


def unit_length(vectors: Any) -> Any:
    """Scale the rows of a tensor (B, width) to length 1."""
    return vectors / vectors.norm(dim=-1, keepdim=True)
