"""ConvNeXt-Base, of pictures and of spectrograms, as UAVM's two feature extractors."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.store import StoreError
from avstore.pipelines.features import pixels
from avstore.pipelines.features.extractor import Batch
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.torch_run import batch_of
from avstore.pipelines.features.weights import (
    OnlyFile,
    Place,
    UrlPlace,
    Weights,
    fit,
    read_state,
    seeded,
    without_prefix,
)

STEM = "features.0.0.weight"


@dataclass(frozen=True)
class ConvNextVisual:
    """(frames, 1024) float16: the trunk's output, mean over its positions, every stored frame.

    For shards of recipe `uavm`: 3 frames a second, short side 224, no crop; whatever size is
    stored goes in as it is. Neither the classifier's norm nor an L2 norm is applied.
    Gong et al., UAVM, 2022; YuanGongND/uavm at b3120c7, visual feature extraction.
    """

    name: ClassVar[str] = "convnext-visual"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchvision")
    weights: ClassVar[Place | None] = UrlPlace(
        "https://download.pytorch.org/models/convnext_base-6075fbad.pth"
    )
    batch_size: ClassVar[int] = 64
    shape: ClassVar[tuple[int | None, ...]] = (None, 1024)
    dtype: ClassVar[str] = "float16"

    def items(self, clip: StoredClip) -> NDArray[Any]:
        return np.stack(clip.frames())

    def load(self, weights: Weights, device: str) -> Batch:
        model = _trunk(weights, one_channel=False)

        def forward(pictures: Any) -> Any:
            ready = pixels.normalise(pixels.to_unit(pictures), pixels.IMAGENET, eps=1e-8)
            return model(ready).mean((2, 3))

        return batch_of(model, device, forward)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        return outputs.astype(np.float16)


@dataclass(frozen=True)
class ConvNextAudio:
    """(tokens, 1024) float32: the trunk's output, mean over its 4 frequency positions.

    The filter bank is cut to `length` frames, or filled with zeros at the end, and normalised by
    `mean` and `std`: (30, 1024) with 990 frames. Defaults are VGGSound's; AudioSet's are length
    1000 (31 tokens), mean -4.2677, std 4.5690. The first layer has one channel: ImageNet's summed
    over RGB where the weights have three. YuanGongND/uavm at b3120c7, audio feature extraction.
    """

    name: ClassVar[str] = "convnext-audio"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("fbank",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchvision")
    weights: ClassVar[Place | None] = OnlyFile(
        "the UAVM authors' page (vgg_audio_feat.pth, as_audio_feat.pth)"
    )
    batch_size: ClassVar[int] = 32
    dtype: ClassVar[str] = "float32"

    length: int = 990
    mean: float = -5.081
    std: float = 4.4849

    @property
    def shape(self) -> tuple[int | None, ...]:
        tokens = self.length // 4
        for _ in range(3):
            tokens //= 2
        return (tokens, 1024)

    def items(self, clip: StoredClip) -> NDArray[Any]:
        return self.prepare(clip.fbank())[None]

    def prepare(self, fbank: NDArray[np.float32]) -> NDArray[np.float32]:
        """(frames, 128) to (length, 128): cut or filled with zeros, then normalised."""
        if fbank.shape[1] != 128:
            raise StoreError(
                f"{self.name} needs 128 mel bands, and the recipe has {fbank.shape[1]}"
            )
        cut = fbank[: self.length]
        filled = np.pad(cut, ((0, self.length - len(cut)), (0, 0)))
        return ((filled - self.mean) / self.std).astype(np.float32)

    def load(self, weights: Weights, device: str) -> Batch:
        model = _trunk(weights, one_channel=True)

        def forward(spectra: Any) -> Any:
            return model(spectra.transpose(1, 2)[:, None]).mean(2).transpose(1, 2)

        return batch_of(model, device, forward)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        only: NDArray[Any] = outputs[0]
        return only


def _trunk(weights: Weights, one_channel: bool) -> Any:
    """ConvNeXt-Base without pool and classifier."""
    import torch  # noqa: PLC0415 -- heavy
    from torchvision.models import convnext_base  # noqa: PLC0415 -- heavy

    with seeded(weights.seed):
        model = convnext_base()
    state = dict(model.state_dict())
    if weights.path:
        state = without_prefix(read_state(weights.local), STEM)
    if one_channel:
        model.features[0][0] = torch.nn.Conv2d(1, 128, kernel_size=4, stride=4)
        state[STEM] = state[STEM].sum(1, keepdim=True)
    trunk = model.features
    fit(
        trunk,
        {k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")},
    )
    return trunk
