"""Models and tokenizers of Hugging Face transformers: from a folder, a file, or at random."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features.laion import from_laion
from avstore.pipelines.features.weights import Weights, WeightsError, fit, read_state, seeded

Tokenise = Callable[[Sequence[str]], NDArray[np.int64]]
"""Sentences to (B, 2, T): token ids, and 1 where there is one."""

BYTES = 259  # a tokenizer of single bytes, for random weights: 256 bytes and its special tokens


def transformers() -> Any:
    """The library; it comes with the extra `features`."""
    try:
        import transformers as library  # noqa: PLC0415 -- optional and heavy
    except ImportError as error:
        raise WeightsError(
            "CLIP and CLAP need transformers: pip install 'avstore[features]'"
        ) from error
    return library


def clip_config(model: str) -> dict[str, Any]:
    """Settings of CLIPConfig. vit-l-14: those of openai/clip-vit-large-patch14."""
    if model == "tiny":
        tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
        heads = {"num_attention_heads": 2}
        return {
            "text_config": {**tower, **heads, "vocab_size": 2 * 256 + 2, **_CLIP_TOKENS},
            "vision_config": {**tower, **heads, "image_size": 32, "patch_size": 8},
            "projection_dim": 16,
        }
    if model != "vit-l-14":
        raise WeightsError(f"no CLIP model {model!r}: vit-l-14, or tiny for trials")
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
    """Settings of ClapConfig. htsat-fused: those of laion/clap-htsat-fused."""
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
                "vocab_size": BYTES + 1,
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
            },
            "projection_dim": 16,
        }
    if model != "htsat-fused":
        raise WeightsError(f"no CLAP model {model!r}: htsat-fused, or tiny for trials")
    return {"audio_config": fused, "text_config": {}, "projection_dim": 512}


def load_model(kind: str, settings: dict[str, Any], weights: Weights) -> Any:
    """A CLIPModel or ClapModel with these weights, on the CPU, in float32.

    A folder holds a model as transformers saves it, or one checkpoint (and a tokenizer); a file
    its tensors, of the size `settings`.
    """
    library = transformers()
    maker = getattr(library, kind)
    if weights.path and (Path(weights.path) / "config.json").is_file():
        try:
            return maker.from_pretrained(weights.path, local_files_only=True, dtype="float32")
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(f"{weights.path} holds no {kind}: {error}") from error
    with seeded(weights.seed):
        model = maker(getattr(library, kind.replace("Model", "Config"))(**settings))
    if weights.path:
        state = read_state(_checkpoint(weights.local))
        fit(model, from_laion(state) if kind == "ClapModel" else state)
    return model.float()


def _checkpoint(path: Path) -> Path:
    """The file itself, or a folder's only checkpoint."""
    if not path.is_dir():
        return path
    endings = (".pt", ".pth", ".bin", ".safetensors")
    found = [file for file in sorted(path.iterdir()) if file.suffix in endings]
    if len(found) != 1:
        raise WeightsError(f"{path} must hold config.json or one checkpoint, not {len(found)}")
    return found[0]


def tokenizer_of(weights: Weights, random: Callable[[], Any]) -> Tokenise:
    """The tokenizer beside the weights; for random weights one of single bytes."""
    if weights.kind == "random":
        tokenizer = random()
    elif weights.path and Path(weights.path).is_dir():
        tokenizer = transformers().AutoTokenizer.from_pretrained(
            weights.path, local_files_only=True
        )
    else:
        raise WeightsError(
            f"{weights.path} has no tokenizer: text needs the model's folder (--weights FOLDER)"
        )

    def tokenise(sentences: Sequence[str]) -> NDArray[np.int64]:
        found = tokenizer(list(sentences), padding=True, return_tensors="np")
        return np.stack([found["input_ids"], found["attention_mask"]], axis=1).astype(np.int64)

    return tokenise


def byte_clip_tokenizer() -> Any:
    """CLIP's tokenizer without merges: every byte a token."""
    letters = _byte_letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return transformers().CLIPTokenizer(vocab=vocabulary, merges=[])


def byte_roberta_tokenizer() -> Any:
    """RoBERTa's tokenizer without merges: every byte a token."""
    words = ["<s>", "<pad>", "</s>", "<unk>", *_byte_letters()]
    vocabulary = {word: i for i, word in enumerate(words)}
    return transformers().RobertaTokenizer(vocab=vocabulary, merges=[])


def _byte_letters() -> list[str]:
    """The 256 letters that byte-level tokenizers write bytes as."""
    from tokenizers.pre_tokenizers import ByteLevel  # noqa: PLC0415 -- optional

    return sorted(ByteLevel.alphabet())
