"""Compute CLAP's audio features, by segment and as a map, and text features of a vocabulary."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features.batching import torch_batch_function
from avstore.pipelines.features.extractor import BatchFunction
from avstore.pipelines.features.extractors.valor_prompts import CLAP_PROMPTS, text_prompt
from avstore.pipelines.features.huggingface import (
    byte_roberta_tokenizer,
    clap_config,
    embed_text,
    load_model,
    load_tokenizer,
    unit_length,
)
from avstore.pipelines.features.sound import CLAP_RATE, CLAP_SAMPLES, clap_mel, quantise, repeat_pad
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import HubWeights, Weights, WeightsSource

HTSAT_FUSED = HubWeights("laion/clap-htsat-fused")
"""VALOR's thresholds hold for another training, laion-clap's 630k-fusion-best.pt.

`--weights` takes that file unchanged.
"""

CLAP_WIDTHS = {"htsat-fused": 512, "tiny": 16}
CLAP_MAP_WIDTHS = {"htsat-fused": 768, "tiny": 64}


@dataclass(frozen=True)
class ClapSegments:
    """Compute CLAP's projected audio features by segment, as VALOR's label path.

    Of N samples at 48 kHz, chunk i starts at round(linspace(0, N, segments + 1))[i] and is
    N // segments long. Each chunk is quantised to 16 bits, repeated and zero-padded to ten seconds.

    Weights: laion/clap-htsat-fused. Input: stored audio (recipe `valor`; other rates are
    resampled). Output: float32 (segments, 512), rows of length 1. Source: Wu et al., Large-scale
    contrastive language-audio pretraining, ICASSP 2023; Franklin905/VALOR at 2677da9 with
    laion-clap 1.1.4.

    Attributes:
        segments: Number of chunks of a clip.
        model: `htsat-fused`, or `tiny` for trials with random weights.
    """

    name: ClassVar[str] = "clap-segments"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("waveform",)
    bases: ClassVar[tuple[str, ...]] = ("valor", "valor_published")
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchaudio", "transformers")
    weights: ClassVar[WeightsSource | None] = HTSAT_FUSED
    batch_size: ClassVar[int] = 32
    dtype: ClassVar[str] = "float32"

    segments: int = 10
    model: str = "htsat-fused"

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Return the shape of one clip's value."""
        return (self.segments, CLAP_WIDTHS[self.model])

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """Return the chunks at 48 kHz, float32 (segments, N // segments)."""
        samples = quantise(clip.waveform(CLAP_RATE))
        length = len(samples) // self.segments
        starts = np.rint(np.linspace(0, len(samples), self.segments + 1)).astype(int)[:-1]
        return np.stack([samples[at : at + length] for at in starts])

    def load(self, weights: Weights, device: str) -> BatchFunction:
        """Load the model and return its batch function."""
        model = load_model("ClapModel", clap_config(self.model), weights)
        return torch_batch_function(model, device, lambda chunks: embed_audio(model, chunks))

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """Return the rows as the clip's value."""
        return outputs


@dataclass(frozen=True)
class ClapMap:
    """Compute the last tokens of CLAP's audio model, as VALOR++'s audio feature.

    The whole clip is resampled by nearest index to exactly 480,000 samples, which stretches the
    time of clips that are not ten seconds long. Token 32 g + t is frequency group g at time t.

    Weights: laion/clap-htsat-fused. Input: stored audio (recipe `valor`; other rates are
    resampled). Output: float32 (64, 768), not normalised. Source: Lai et al., VALOR, NeurIPS 2023;
    Franklin905/VALOR at 2677da9.

    Attributes:
        model: `htsat-fused`, or `tiny` for trials with random weights.
    """

    name: ClassVar[str] = "clap-map"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("waveform",)
    bases: ClassVar[tuple[str, ...]] = ("valor", "valor_published")
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchaudio", "transformers")
    weights: ClassVar[WeightsSource | None] = HTSAT_FUSED
    batch_size: ClassVar[int] = 16
    dtype: ClassVar[str] = "float32"

    model: str = "htsat-fused"

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Return the shape of one clip's value."""
        return (64, CLAP_MAP_WIDTHS[self.model])

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """Return the stretched waveform, float32 (1, 480000)."""
        samples = clip.waveform(CLAP_RATE)
        at = np.rint(np.linspace(0, len(samples) - 1, CLAP_SAMPLES)).astype(int)
        return quantise(samples[at])[None]

    def load(self, weights: Weights, device: str) -> BatchFunction:
        """Load the model and return its batch function."""
        model = load_model("ClapModel", clap_config(self.model), weights)

        def forward(waves: Any) -> Any:
            encoded = model.audio_model(input_features=clap_mel(waves), is_longer=_short(waves))
            return encoded.last_hidden_state.flatten(2).transpose(1, 2)

        return torch_batch_function(model, device, forward)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """Return the clip's tokens."""
        row: NDArray[Any] = outputs[0]
        return row


@dataclass(frozen=True)
class ClapText:
    """Compute CLAP's projected text features, one per label of the vocabulary.

    Weights: laion/clap-htsat-fused, with its tokenizer. Input: the dataset's labels. Output:
    float32 (512,) of length 1 per label. Source: Wu et al., ICASSP 2023.

    Attributes:
        prompts: A sentence with {} for the label, or `valor`, VALOR's 25 sentences for LLP.
        model: `htsat-fused`, or `tiny` for trials with random weights.
    """

    name: ClassVar[str] = "clap-text"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers")
    weights: ClassVar[WeightsSource | None] = HTSAT_FUSED
    batch_size: ClassVar[int] = 64
    dtype: ClassVar[str] = "float32"

    prompts: str = "This is a sound of {}"
    model: str = "htsat-fused"

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Return the shape of one clip's value."""
        return (CLAP_WIDTHS[self.model],)

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """Return the sentence of a label, (1,)."""
        return np.array([text_prompt(clip.text, self.prompts, CLAP_PROMPTS)])

    def load(self, weights: Weights, device: str) -> BatchFunction:
        """Load the model and return its batch function."""
        model = load_model("ClapModel", clap_config(self.model), weights)
        tokenise = load_tokenizer(weights, byte_roberta_tokenizer)
        ids = torch_batch_function(model, device, lambda tokens: embed_text(model, tokens))
        return lambda sentences: ids(tokenise([str(text) for text in sentences]))

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """Return the label's feature."""
        row: NDArray[Any] = outputs[0]
        return row


def embed_audio(model: Any, chunks: Any) -> Any:
    """Compute features of length 1, (B, width), of 48 kHz waveforms (B, n) up to ten seconds."""
    mel = clap_mel(repeat_pad(chunks))
    features = model.get_audio_features(input_features=mel, is_longer=_short(chunks))
    return unit_length(features.pooler_output)


def _short(waves: Any) -> Any:
    """Mark every waveform as short: none exceeds ten seconds, so fusion uses it whole."""
    return waves.new_zeros((len(waves), 1)).bool()
