"""Compute CLIP's image features of frames and text features of a label vocabulary."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features import pixels
from avstore.pipelines.features.batching import torch_batch_function
from avstore.pipelines.features.extractor import BatchFunction
from avstore.pipelines.features.extractors.valor_prompts import CLIP_PROMPTS, text_prompt
from avstore.pipelines.features.huggingface import (
    byte_clip_tokenizer,
    clip_config,
    embed_text,
    load_model,
    load_tokenizer,
    unit_length,
)
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import HubWeights, Weights, WeightsSource

VIT_L_14 = HubWeights("openai/clip-vit-large-patch14")
CLIP_WIDTHS = {"vit-l-14": 768, "tiny": 16}


@dataclass(frozen=True)
class ClipImage:
    """Compute CLIP ViT-L/14's projected image features.

    Weights: openai/clip-vit-large-patch14. Input: stored frames (any recipe). Output: float32
    (frames, 768), rows of length 1; (10, 768) by default, as VALOR's teacher. Source: Radford et
    al., CLIP, ICML 2021; Franklin905/VALOR at 2677da9.

    Attributes:
        frames: Number of frames, taken by round(linspace(0, n - 1, frames)) of the stored ones.
        fit: `stretch` is VALOR's (bilinear without antialias to a square, no crop), `crop`
            OpenAI's (bicubic short side, centre crop).
        model: `vit-l-14`, or `tiny` for trials with random weights.
    """

    name: ClassVar[str] = "clip-vitl14"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    weights: ClassVar[WeightsSource | None] = VIT_L_14
    batch_size: ClassVar[int] = 64
    dtype: ClassVar[str] = "float32"

    frames: int = 10
    fit: str = "stretch"
    model: str = "vit-l-14"

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Return the shape of one clip's value."""
        return (self.frames, CLIP_WIDTHS[self.model])

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """Return the selected frames, uint8 (frames, height, width, 3)."""
        return np.stack(clip.evenly(self.frames))

    def load(self, weights: Weights, device: str) -> BatchFunction:
        """Load the model and return its batch function."""
        model = load_model("CLIPModel", clip_config(self.model), weights)
        return torch_batch_function(model, device, lambda pictures: self.embed(model, pictures))

    def embed(self, model: Any, pictures: Any) -> Any:
        """Compute features of length 1, (B, width), of uint8 pictures (B, H, W, 3)."""
        side = model.config.vision_config.image_size
        features = model.get_image_features(pixel_values=self.prepare(pictures, side))
        return unit_length(features.pooler_output)

    def prepare(self, pictures: Any, side: int) -> Any:
        """Convert uint8 pictures (B, H, W, 3) to the model's input (B, 3, side, side)."""
        raw = pixels.to_unit(pictures)
        if self.fit == "stretch":
            ready = pixels.resize_batch(raw, side, side, "bilinear", antialias=False)
        else:
            ready = pixels.centre_crop(pixels.short_side(raw, side, "bicubic"), side)
        return pixels.normalise_rgb(ready, pixels.CLIP_STATISTICS)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """Return the rows as the clip's value."""
        return outputs


@dataclass(frozen=True)
class ClipText:
    """Compute CLIP ViT-L/14's projected text features, one per label of the vocabulary.

    Weights: openai/clip-vit-large-patch14, with its tokenizer. Input: the dataset's labels.
    Output: float32 (768,) of length 1 per label. Source: Radford et al., CLIP, ICML 2021.

    Attributes:
        prompts: A sentence with {} for the label, or `valor`, VALOR's 25 sentences for LLP.
        model: `vit-l-14`, or `tiny` for trials with random weights.
    """

    name: ClassVar[str] = "clip-vitl14-text"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers")
    weights: ClassVar[WeightsSource | None] = VIT_L_14
    batch_size: ClassVar[int] = 64
    dtype: ClassVar[str] = "float32"

    prompts: str = "A photo of {}."
    model: str = "vit-l-14"

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Return the shape of one clip's value."""
        return (CLIP_WIDTHS[self.model],)

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """Return the sentence of a label, (1,)."""
        return np.array([text_prompt(clip.text, self.prompts, CLIP_PROMPTS)])

    def load(self, weights: Weights, device: str) -> BatchFunction:
        """Load the model and return its batch function."""
        model = load_model("CLIPModel", clip_config(self.model), weights)
        tokenise = load_tokenizer(weights, byte_clip_tokenizer)
        ids = torch_batch_function(model, device, lambda tokens: embed_text(model, tokens))
        return lambda sentences: ids(tokenise([str(text) for text in sentences]))

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """Return the label's feature."""
        row: NDArray[Any] = outputs[0]
        return row
