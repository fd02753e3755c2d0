"""Compute VGGish embeddings, one for each 0.96 s of audio."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features.batching import torch_batch_function
from avstore.pipelines.features.checkpoint import load_state, read_state, seeded
from avstore.pipelines.features.extractor import BatchFunction
from avstore.pipelines.features.sound import VGGISH_RATE, vggish_examples
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import UrlWeights, Weights, WeightsSource

_CHANNELS = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool")


@dataclass(frozen=True)
class Vggish:
    """Compute VGGish's embeddings, without PCA: LLP's scripts for it are not published.

    Weights: the AudioSet checkpoint as PyTorch tensors, as torchvggish publishes it. Input: stored
    audio (any recipe; resampled to 16 kHz). Output: float32 (segments, 128), at least 0 with
    `relu`; (10, 128) of ten seconds, as for LLP and AVE. Source: Hershey et al., CNN architectures
    for large-scale audio classification, ICASSP 2017.

    Attributes:
        segments: Number of examples; a shorter clip repeats its last one, a longer one is cut
            (use 5 for AVSBench's clips of 5 s).
        hop_frames: Steps of 10 ms from one example to the next: 96 in the published front end,
            100 for one example per second.
        relu: Apply the activation after the last layer, as the first release does.
    """

    name: ClassVar[str] = "vggish"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("waveform",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "numpy")
    weights: ClassVar[WeightsSource | None] = UrlWeights(
        "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth"
    )
    batch_size: ClassVar[int] = 64
    dtype: ClassVar[str] = "float32"

    segments: int = 10
    hop_frames: int = 96
    relu: bool = True

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Return the shape of one clip's value."""
        return (self.segments, 128)

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """Return the log-mel examples, float32 (segments, 96, 64)."""
        examples = vggish_examples(clip.waveform(VGGISH_RATE), self.hop_frames)[: self.segments]
        missing = self.segments - len(examples)
        return np.concatenate([examples, np.repeat(examples[-1:], missing, axis=0)])

    def load(self, weights: Weights, device: str) -> BatchFunction:
        """Load the model and return its batch function."""
        with seeded(weights.seed):
            model = vggish_network()
        if weights.path:
            load_state(model, read_state(weights.local), ignore=("pproc.",))
        return torch_batch_function(model, device, lambda examples: self._forward(model, examples))

    def _forward(self, model: Any, examples: Any) -> Any:
        maps = model["features"](examples[:, None])
        embedded = model["embeddings"](maps.permute(0, 2, 3, 1).flatten(1))
        return embedded.relu() if self.relu else embedded

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """Return the rows as the clip's value."""
        return outputs


def vggish_network() -> Any:
    """Build the layers under the names of the published tensors: features.0 … embeddings.4.

    3 x 3 convolutions of 64, 128, 256, 256, 512, 512 channels with 2 x 2 pools (VGG's
    configuration A without its last group), then 4096, 4096, 128.
    """
    from torch import nn  # noqa: PLC0415 -- heavy

    layers: list[Any] = []
    width = 1
    for channels in _CHANNELS:
        if isinstance(channels, int):
            layers += [nn.Conv2d(width, channels, kernel_size=3, padding=1), nn.ReLU()]
            width = channels
        else:
            layers.append(nn.MaxPool2d(2))
    dense = [nn.Linear(512 * 6 * 4, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]
    return nn.ModuleDict(
        {
            "features": nn.Sequential(*layers),
            "embeddings": nn.Sequential(*dense, nn.Linear(4096, 128)),
        }
    )
