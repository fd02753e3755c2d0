"""CLIP: image features of frames, text features of a label vocabulary."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features import pixels
from avstore.pipelines.features.extractor import Batch
from avstore.pipelines.features.extractors import valor_prompts as valor_words
from avstore.pipelines.features.huggingface import (
    byte_clip_tokenizer,
    clip_config,
    load_model,
    tokenizer_of,
)
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.torch_run import batch_of
from avstore.pipelines.features.weights import HubPlace, Place, Weights

VIT_L_14 = HubPlace("openai/clip-vit-large-patch14")
WIDTHS = {"vit-l-14": 768, "tiny": 16}


@dataclass(frozen=True)
class ClipImage:
    """(frames, 768) float32, projected and of length 1. VALOR's teacher: (10, 768).

    frames: taken by round(linspace(0, n - 1, frames)) over the stored ones.
    fit: `stretch` is VALOR's (bilinear without antialias to a square, aspect lost, no crop;
    Franklin905/VALOR at 2677da9), `crop` OpenAI's (bicubic short side, centre crop).
    model: `vit-l-14`, or `tiny` for trials with random weights.
    """

    name: ClassVar[str] = "clip-vitl14"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    weights: ClassVar[Place | None] = VIT_L_14
    batch_size: ClassVar[int] = 64
    dtype: ClassVar[str] = "float32"

    frames: int = 10
    fit: str = "stretch"
    model: str = "vit-l-14"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (self.frames, WIDTHS[self.model])

    def items(self, clip: StoredClip) -> NDArray[Any]:
        return np.stack(clip.evenly(self.frames))

    def load(self, weights: Weights, device: str) -> Batch:
        model = load_model("CLIPModel", clip_config(self.model), weights)
        return batch_of(model, device, lambda pictures: self.embed(model, pictures))

    def embed(self, model: Any, pictures: Any) -> Any:
        """uint8 (B, H, W, 3) to features of length 1 (B, width), on the model's device."""
        side = model.config.vision_config.image_size
        found = model.get_image_features(pixel_values=self.prepare(pictures, side))
        return unit(found.pooler_output)

    def prepare(self, pictures: Any, side: int) -> Any:
        """uint8 (B, H, W, 3) to the tower's input (B, 3, side, side)."""
        raw = pixels.to_unit(pictures)
        if self.fit == "stretch":
            ready = pixels.resize(raw, side, side, "bilinear", antialias=False)
        else:
            ready = pixels.centre_crop(pixels.short_side(raw, side, "bicubic"), side)
        return pixels.normalise(ready, pixels.CLIP)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        return outputs


@dataclass(frozen=True)
class ClipText:
    """(768,) float32 a label, projected and of length 1: a feature of the vocabulary.

    prompts: a sentence with {} for the label, or `valor`, the 25 sentences VALOR uses for LLP.
    """

    name: ClassVar[str] = "clip-vitl14-text"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers")
    weights: ClassVar[Place | None] = VIT_L_14
    batch_size: ClassVar[int] = 64
    dtype: ClassVar[str] = "float32"

    prompts: str = "A photo of {}."
    model: str = "vit-l-14"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (WIDTHS[self.model],)

    def items(self, clip: StoredClip) -> NDArray[Any]:
        return np.array([valor_words.sentence(clip.text, self.prompts, valor_words.CLIP)])

    def load(self, weights: Weights, device: str) -> Batch:
        model = load_model("CLIPModel", clip_config(self.model), weights)
        tokenise = tokenizer_of(weights, byte_clip_tokenizer)
        ids = batch_of(model, device, lambda given: embed_text(model, given))
        return lambda sentences: ids(tokenise([str(text) for text in sentences]))

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        only: NDArray[Any] = outputs[0]
        return only


def embed_text(model: Any, given: Any) -> Any:
    """Token ids and mask (B, 2, T) to features of length 1 (B, width)."""
    found = model.get_text_features(input_ids=given[:, 0], attention_mask=given[:, 1])
    return unit(found.pooler_output)


def unit(vectors: Any) -> Any:
    """Rows scaled to length 1."""
    return vectors / vectors.norm(dim=-1, keepdim=True)
