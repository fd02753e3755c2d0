"""Compute VALOR's pseudo labels: which of a clip's labels each segment shows or sounds.

Lai et al., VALOR, NeurIPS 2023; Franklin905/VALOR at 2677da9. A segment gets a label of its clip if
the label's logit is above the label's threshold, without softmax, smoothing, or fusion of the two
modalities. It never gets a label that its clip does not have. For AVE, nothing is published.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.store import StoreError
from avstore.pipelines.features.batching import torch_batch_function
from avstore.pipelines.features.extractor import BatchFunction, added
from avstore.pipelines.features.extractors.clap import HTSAT_FUSED, ClapSegments, embed_audio
from avstore.pipelines.features.extractors.clip import VIT_L_14, ClipImage
from avstore.pipelines.features.extractors.valor_classes import (
    class_words,
    classes_text,
    read_classes,
)
from avstore.pipelines.features.extractors.valor_prompts import CLASSES
from avstore.pipelines.features.huggingface import (
    byte_clip_tokenizer,
    byte_roberta_tokenizer,
    clap_config,
    clip_config,
    embed_text,
    load_model,
    load_tokenizer,
)
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import Weights, WeightsSource


@dataclass(frozen=True)
class ValorClipLabels:
    """Compute visual pseudo labels: CLIP's image-text logits of ten frames above thresholds.

    Weights: openai/clip-vit-large-patch14. Input: stored frames (any recipe) and the clip's
    labels. Output: int64 (10, 25), 0 or 1, by segment and class (AVE: 28). Source: VALOR, as above.

    Attributes:
        model: `vit-l-14`, or `tiny` for trials with random weights.
        classes: A CSV file with own sentences and thresholds: label, clip_prompt, clip_threshold.
            Its content is part of the fingerprint; classes that it lacks keep theirs.
        dataset: Whose classes: `llp`, with the published sentences and thresholds, or `ave`, with
            derived ones.
    """

    name: ClassVar[str] = "valor-clip-labels"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("frames", "labels")
    bases: ClassVar[tuple[str, ...]] = ("valor", "valor_published")
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers")
    weights: ClassVar[WeightsSource | None] = VIT_L_14
    batch_size: ClassVar[int] = 64
    dtype: ClassVar[str] = "int64"

    model: str = "vit-l-14"
    classes: str = added("")
    dataset: str = added("llp")

    def __post_init__(self) -> None:
        """Replace the name of a file by what it says, which every worker then knows."""
        object.__setattr__(self, "classes", classes_text(self.dataset, "clip", self.classes))

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Segments and classes."""
        return (10, len(CLASSES[self.dataset]))

    @property
    def _teacher(self) -> ClipImage:
        return ClipImage(model=self.model)

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """Return ten frames, uint8 (10, height, width, 3)."""
        return self._teacher.items(clip)

    def load(self, weights: Weights, device: str) -> BatchFunction:
        """Load the model and return its batch function."""
        model = load_model("CLIPModel", clip_config(self.model), weights)
        tokenise = load_tokenizer(weights, byte_clip_tokenizer)
        embed = torch_batch_function(model, device, lambda ids: embed_text(model, ids))
        classes = read_classes(self.dataset, "clip", self.classes)
        text = embed(tokenise([prompt for prompt, _ in classes]))

        def forward(pictures: Any) -> Any:
            images = self._teacher.embed(model, pictures)
            return model.logit_scale.exp() * images @ images.new_tensor(text).T

        return torch_batch_function(model, device, forward)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """Return the clip's pseudo labels."""
        classes = read_classes(self.dataset, "clip", self.classes)
        return pseudo_labels(outputs, [threshold for _, threshold in classes], clip, self.dataset)


@dataclass(frozen=True)
class ValorClapLabels:
    """Compute audible pseudo labels: CLAP's audio-text logits of ten chunks above thresholds.

    Weights: laion/clap-htsat-fused; VALOR's own teacher is laion-clap's 630k-fusion-best.pt, which
    `--weights` takes. Input: stored audio (recipe `valor`, 48 kHz) and the clip's labels. Output:
    int64 (10, 25), 0 or 1, by segment and class (AVE: 28). Source: VALOR, as above.

    Attributes:
        model: `htsat-fused`, or `tiny` for trials with random weights.
        classes: A CSV file with own sentences and thresholds: label, clap_prompt, clap_threshold.
            Its content is part of the fingerprint; classes that it lacks keep theirs.
        dataset: Whose classes: `llp`, with the published sentences and thresholds, or `ave`, with
            derived ones.
    """

    name: ClassVar[str] = "valor-clap-labels"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("waveform", "labels")
    bases: ClassVar[tuple[str, ...]] = ("valor", "valor_published")
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchaudio", "transformers", "tokenizers")
    weights: ClassVar[WeightsSource | None] = HTSAT_FUSED
    batch_size: ClassVar[int] = 32
    dtype: ClassVar[str] = "int64"

    model: str = "htsat-fused"
    classes: str = added("")
    dataset: str = added("llp")

    def __post_init__(self) -> None:
        """Replace the name of a file by what it says, which every worker then knows."""
        object.__setattr__(self, "classes", classes_text(self.dataset, "clap", self.classes))

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Segments and classes."""
        return (10, len(CLASSES[self.dataset]))

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """Return ten chunks at 48 kHz, float32 (10, N // 10)."""
        return ClapSegments(model=self.model).items(clip)

    def load(self, weights: Weights, device: str) -> BatchFunction:
        """Load the model and return its batch function."""
        model = load_model("ClapModel", clap_config(self.model), weights)
        tokenise = load_tokenizer(weights, byte_roberta_tokenizer)
        embed = torch_batch_function(model, device, lambda ids: embed_text(model, ids))
        classes = read_classes(self.dataset, "clap", self.classes)
        text = embed(tokenise([prompt for prompt, _ in classes]))

        def forward(chunks: Any) -> Any:
            audio = embed_audio(model, chunks)
            return model.logit_scale_a.exp() * audio @ audio.new_tensor(text).T

        return torch_batch_function(model, device, forward)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """Return the clip's pseudo labels."""
        classes = read_classes(self.dataset, "clap", self.classes)
        return pseudo_labels(outputs, [threshold for _, threshold in classes], clip, self.dataset)


def pseudo_labels(
    logits: NDArray[Any], thresholds: list[float], clip: StoredClip, dataset: str = "llp"
) -> NDArray[np.int64]:
    """Return 1 where a label of the clip has a logit strictly above its threshold, else 0.

    Args:
        logits: (10, C), by segment and class.
        thresholds: One per class.
        clip: Its labels are the only ones a segment can have.
        dataset: Whose classes they are.

    Returns:
        int64 (10, C).

    Raises:
        StoreError: The clip has a label that is not one of the classes.
    """
    known, labels = [each.label for each in CLASSES[dataset]], set(clip.labels or ())
    if unknown := sorted(labels - set(known)):
        others = " or ".join(f"dataset={name}" for name in CLASSES if name != dataset)
        raise StoreError(
            f"{clip.clip_id} has the label {unknown[0]!r}, which is not one of "
            f"{class_words(dataset)}; for clips of another dataset, give --set {others}"
        )
    own = np.array([label in labels for label in known])
    above: NDArray[np.bool_] = (logits > np.array(thresholds, np.float32)) & own
    return above.astype(np.int64)
