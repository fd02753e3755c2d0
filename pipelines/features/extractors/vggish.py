"""VGGish: a 128-number embedding for each 0.96 s of sound."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features.extractor import Batch
from avstore.pipelines.features.sound import VGGISH_RATE, vggish_examples
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.torch_run import batch_of
from avstore.pipelines.features.weights import Place, UrlPlace, Weights, fit, read_state, seeded

_CHANNELS = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool")


@dataclass(frozen=True)
class Vggish:
    """(segments, 128) float32; (10, 128) of ten seconds, as LLP and AVE have it.

    segments: examples kept; a shorter clip repeats its last one, a longer one is cut (AVSBench's
    clips of 5 s want 5). hop_frames: 10 ms steps from one example to the next; 96 is the
    published front end, 100 gives one a second. relu: the activation after the last layer, which
    the first release has. No PCA: LLP's scripts for it were not published with the repository.
    Weights: the AudioSet checkpoint as PyTorch tensors, published with torchvggish.
    """

    name: ClassVar[str] = "vggish"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("audio",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "numpy")
    weights: ClassVar[Place | None] = UrlPlace(
        "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth"
    )
    batch_size: ClassVar[int] = 64
    dtype: ClassVar[str] = "float32"

    segments: int = 10
    hop_frames: int = 96
    relu: bool = True

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (self.segments, 128)

    def items(self, clip: StoredClip) -> NDArray[Any]:
        examples = vggish_examples(clip.audio(VGGISH_RATE), self.hop_frames)[: self.segments]
        missing = self.segments - len(examples)
        return np.concatenate([examples, np.repeat(examples[-1:], missing, axis=0)])

    def load(self, weights: Weights, device: str) -> Batch:
        with seeded(weights.seed):
            model = network()
        if weights.path:
            fit(model, read_state(weights.local), ignore=("pproc.",))
        return batch_of(model, device, lambda examples: self._forward(model, examples))

    def _forward(self, model: Any, examples: Any) -> Any:
        maps = model["features"](examples[:, None])
        embedded = model["embeddings"](maps.permute(0, 2, 3, 1).flatten(1))
        return embedded.relu() if self.relu else embedded

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        return outputs


def network() -> Any:
    """The layers, under the names of the published tensors: features.0 … embeddings.4.

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
