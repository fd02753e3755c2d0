"""CLAP: audio features by segment and as a map, text features of a label vocabulary."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features.extractor import Batch
from avstore.pipelines.features.extractors import valor_prompts as valor_words
from avstore.pipelines.features.huggingface import (
    byte_roberta_tokenizer,
    clap_config,
    load_model,
    tokenizer_of,
)
from avstore.pipelines.features.sound import CLAP_RATE, CLAP_SAMPLES, clap_mel, quantise, repeat_pad
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.torch_run import batch_of
from avstore.pipelines.features.weights import HubPlace, Place, Weights

HTSAT_FUSED = HubPlace("laion/clap-htsat-fused")
"""Not VALOR's teacher, which is laion-clap's 630k-fusion-best.pt (lukewys/laion_clap): VALOR's
thresholds are for that file, which `--weights` takes as it is."""
WIDTHS = {"htsat-fused": 512, "tiny": 16}
MAP_WIDTHS = {"htsat-fused": 768, "tiny": 64}


@dataclass(frozen=True)
class ClapSegments:
    """(segments, 512) float32, projected and of length 1: VALOR's label path, (10, 512).

    At 48 kHz, N samples: chunk i starts at round(linspace(0, N, segments + 1))[i] and is
    N // segments long; each is cut to 16 bits, repeated and zero-padded to ten seconds.
    Franklin905/VALOR at 2677da9; laion-clap 1.1.4. model: `htsat-fused`, or `tiny` for trials.
    """

    name: ClassVar[str] = "clap-segments"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("audio",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchaudio", "transformers")
    weights: ClassVar[Place | None] = HTSAT_FUSED
    batch_size: ClassVar[int] = 32
    dtype: ClassVar[str] = "float32"

    segments: int = 10
    model: str = "htsat-fused"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (self.segments, WIDTHS[self.model])

    def items(self, clip: StoredClip) -> NDArray[Any]:
        samples = quantise(clip.audio(CLAP_RATE))
        length = len(samples) // self.segments
        starts = np.rint(np.linspace(0, len(samples), self.segments + 1)).astype(int)[:-1]
        return np.stack([samples[at : at + length] for at in starts])

    def load(self, weights: Weights, device: str) -> Batch:
        model = load_model("ClapModel", clap_config(self.model), weights)
        return batch_of(model, device, lambda chunks: embed_audio(model, chunks))

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        return outputs


@dataclass(frozen=True)
class ClapMap:
    """(64, 768) float32: HTSAT's last tokens, not normalised: VALOR++'s audio feature.

    The whole clip, resampled by nearest index to exactly 480,000 samples (which warps the time
    of clips that are not ten seconds); token 32 g + t is frequency group g at time t.
    Franklin905/VALOR at 2677da9.
    """

    name: ClassVar[str] = "clap-map"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("audio",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchaudio", "transformers")
    weights: ClassVar[Place | None] = HTSAT_FUSED
    batch_size: ClassVar[int] = 16
    dtype: ClassVar[str] = "float32"

    model: str = "htsat-fused"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (64, MAP_WIDTHS[self.model])

    def items(self, clip: StoredClip) -> NDArray[Any]:
        samples = clip.audio(CLAP_RATE)
        at = np.rint(np.linspace(0, len(samples) - 1, CLAP_SAMPLES)).astype(int)
        return quantise(samples[at])[None]

    def load(self, weights: Weights, device: str) -> Batch:
        model = load_model("ClapModel", clap_config(self.model), weights)

        def forward(waves: Any) -> Any:
            encoded = model.audio_model(input_features=clap_mel(waves), is_longer=_short(waves))
            return encoded.last_hidden_state.flatten(2).transpose(1, 2)

        return batch_of(model, device, forward)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        only: NDArray[Any] = outputs[0]
        return only


@dataclass(frozen=True)
class ClapText:
    """(512,) float32 a label, projected and of length 1: a feature of the vocabulary.

    prompts: a sentence with {} for the label, or `valor`, the 25 sentences VALOR uses for LLP.
    """

    name: ClassVar[str] = "clap-text"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers")
    weights: ClassVar[Place | None] = HTSAT_FUSED
    batch_size: ClassVar[int] = 64
    dtype: ClassVar[str] = "float32"

    prompts: str = "This is a sound of {}"
    model: str = "htsat-fused"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (WIDTHS[self.model],)

    def items(self, clip: StoredClip) -> NDArray[Any]:
        return np.array([valor_words.sentence(clip.text, self.prompts, valor_words.CLAP)])

    def load(self, weights: Weights, device: str) -> Batch:
        model = load_model("ClapModel", clap_config(self.model), weights)
        tokenise = tokenizer_of(weights, byte_roberta_tokenizer)
        ids = batch_of(model, device, lambda given: embed_text(model, given))
        return lambda sentences: ids(tokenise([str(text) for text in sentences]))

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        only: NDArray[Any] = outputs[0]
        return only


def embed_audio(model: Any, chunks: Any) -> Any:
    """48 kHz waveforms (B, n) of at most ten seconds to features of length 1 (B, width)."""
    mel = clap_mel(repeat_pad(chunks))
    found = model.get_audio_features(input_features=mel, is_longer=_short(chunks))
    return _unit(found.pooler_output)


def embed_text(model: Any, given: Any) -> Any:
    """Token ids and mask (B, 2, T) to features of length 1 (B, width)."""
    found = model.get_text_features(input_ids=given[:, 0], attention_mask=given[:, 1])
    return _unit(found.pooler_output)


def _short(waves: Any) -> Any:
    """No clip is longer than ten seconds, so the fusion looks at the whole alone."""
    return waves.new_zeros((len(waves), 1)).bool()


def _unit(vectors: Any) -> Any:
    return vectors / vectors.norm(dim=-1, keepdim=True)
