"""VALOR's pseudo labels: which of a clip's own labels each segment shows, and which it sounds.

Lai et al., VALOR, NeurIPS 2023; Franklin905/VALOR at 2677da9. No softmax, no smoothing, no
fusion of the two: a segment has a label of the clip where its logit is above that label's
threshold, and no other label ever.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.store import StoreError
from avstore.pipelines.features.extractor import Batch
from avstore.pipelines.features.extractors import clap
from avstore.pipelines.features.extractors import clip as clips
from avstore.pipelines.features.extractors import valor_prompts as valor_words
from avstore.pipelines.features.huggingface import (
    byte_clip_tokenizer,
    byte_roberta_tokenizer,
    clap_config,
    clip_config,
    load_model,
    tokenizer_of,
)
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.torch_run import batch_of
from avstore.pipelines.features.weights import Place, Weights

CLASSES = len(valor_words.ROWS)


@dataclass(frozen=True)
class ValorClipLabels:
    """(10, 25) int64, visual: CLIP's image-text logits of ten frames against the thresholds."""

    name: ClassVar[str] = "valor-clip-labels"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("frames", "labels")
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers")
    weights: ClassVar[Place | None] = clips.VIT_L_14
    batch_size: ClassVar[int] = 64
    dtype: ClassVar[str] = "int64"
    shape: ClassVar[tuple[int | None, ...]] = (10, CLASSES)

    model: str = "vit-l-14"

    @property
    def _teacher(self) -> clips.ClipImage:
        return clips.ClipImage(model=self.model)

    def items(self, clip: StoredClip) -> NDArray[Any]:
        return self._teacher.items(clip)

    def load(self, weights: Weights, device: str) -> Batch:
        model = load_model("CLIPModel", clip_config(self.model), weights)
        tokenise = tokenizer_of(weights, byte_clip_tokenizer)
        embed = batch_of(model, device, lambda ids: clips.embed_text(model, ids))
        text = embed(tokenise([row.photo for row in valor_words.ROWS]))

        def forward(pictures: Any) -> Any:
            seen = self._teacher.embed(model, pictures)
            return model.logit_scale.exp() * seen @ seen.new_tensor(text).T

        return batch_of(model, device, forward)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        return pseudo_labels(outputs, [row.seen for row in valor_words.ROWS], clip)


@dataclass(frozen=True)
class ValorClapLabels:
    """(10, 25) int64, audible: CLAP's audio-text logits of ten chunks against the thresholds."""

    name: ClassVar[str] = "valor-clap-labels"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("audio", "labels")
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchaudio", "transformers", "tokenizers")
    weights: ClassVar[Place | None] = clap.HTSAT_FUSED
    batch_size: ClassVar[int] = 32
    dtype: ClassVar[str] = "int64"
    shape: ClassVar[tuple[int | None, ...]] = (10, CLASSES)

    model: str = "htsat-fused"

    def items(self, clip: StoredClip) -> NDArray[Any]:
        return clap.ClapSegments(model=self.model).items(clip)

    def load(self, weights: Weights, device: str) -> Batch:
        model = load_model("ClapModel", clap_config(self.model), weights)
        tokenise = tokenizer_of(weights, byte_roberta_tokenizer)
        embed = batch_of(model, device, lambda ids: clap.embed_text(model, ids))
        text = embed(tokenise([row.sound for row in valor_words.ROWS]))

        def forward(chunks: Any) -> Any:
            heard = clap.embed_audio(model, chunks)
            return model.logit_scale_a.exp() * heard @ heard.new_tensor(text).T

        return batch_of(model, device, forward)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        return pseudo_labels(outputs, [row.heard for row in valor_words.ROWS], clip)


def pseudo_labels(
    logits: NDArray[Any], thresholds: list[float], clip: StoredClip
) -> NDArray[np.int64]:
    """1 where a clip's own label has a logit strictly above its threshold. logits: (10, 25).

    Raises StoreError where the clip has a label that is not one of LLP's.
    """
    labels = set(clip.labels or ())
    if foreign := sorted(labels - set(valor_words.LABELS)):
        raise StoreError(
            f"{clip.clip_id} has the label {foreign[0]!r}, which is not one of LLP's 25"
        )
    weak = np.array([label in labels for label in valor_words.LABELS])
    found: NDArray[np.bool_] = (logits > np.array(thresholds, np.float32)) & weak
    return found.astype(np.int64)
