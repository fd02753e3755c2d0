"""Compute ConvNeXt-Base features of frames and of spectrograms, as UAVM's two extractors."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.store import StoreError
from avstore.pipelines.features import pixels
from avstore.pipelines.features.batching import torch_batch_function
from avstore.pipelines.features.checkpoint import load_state, read_state, seeded, strip_prefix
from avstore.pipelines.features.extractor import BatchFunction
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import ManualWeights, UrlWeights, Weights, WeightsSource

CONVNEXT_STEM = "features.0.0.weight"


@dataclass(frozen=True)
class ConvNextVisual:
    """Compute ConvNeXt-Base's trunk output of every stored frame, mean over its positions.

    Frames go in at the stored size. Neither the classifier's norm nor an L2 norm is applied.

    Weights: torchvision's ConvNeXt-Base of ImageNet. Input: stored frames (recipe `uavm`: 3 per
    second, short side 224, no crop). Output: float16 (frames, 1024). Source: Gong et al., UAVM,
    2022; YuanGongND/uavm at b3120c7, visual feature extraction.
    """

    name: ClassVar[str] = "convnext-visual"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    bases: ClassVar[tuple[str, ...]] = ("uavm", "uavm_published")
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchvision")
    weights: ClassVar[WeightsSource | None] = UrlWeights(
        "https://download.pytorch.org/models/convnext_base-6075fbad.pth"
    )
    batch_size: ClassVar[int] = 64
    shape: ClassVar[tuple[int | None, ...]] = (None, 1024)
    dtype: ClassVar[str] = "float16"

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """Return all stored frames, uint8 (n, height, width, 3)."""
        return np.stack(clip.frames())

    def load(self, weights: Weights, device: str) -> BatchFunction:
        """Load the model and return its batch function."""
        model = _trunk(weights, one_channel=False)

        def forward(pictures: Any) -> Any:
            ready = pixels.normalise_rgb(
                pixels.to_unit(pictures), pixels.IMAGENET_STATISTICS, eps=1e-8
            )
            return model(ready).mean((2, 3))

        return torch_batch_function(model, device, forward)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """Return one row per frame, float16."""
        return outputs.astype(np.float16)


@dataclass(frozen=True)
class ConvNextAudio:
    """Compute ConvNeXt-Base's trunk output of the fbank, mean over its 4 frequency positions.

    The fbank is cut to `length` frames, or filled with zeros at the end, and normalised. The first
    layer has one channel; weights with three channels are summed over RGB. Defaults are VGGSound's;
    AudioSet's are length 1000 (31 tokens), mean -4.2677, std 4.5690.

    Weights: vgg_audio_feat.pth or as_audio_feat.pth of the UAVM authors, given by `--weights`.
    Input: stored fbank of 128 mels (recipe `uavm`). Output: float32 (tokens, 1024); (30, 1024) with
    990 frames. Source: Gong et al., UAVM, 2022; YuanGongND/uavm at b3120c7, audio feature
    extraction.

    Attributes:
        length: Frames of the fbank that the model sees.
        mean: Mean of the training set's fbank.
        std: Standard deviation of the training set's fbank.
    """

    name: ClassVar[str] = "convnext-audio"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("fbank",)
    bases: ClassVar[tuple[str, ...]] = ("uavm", "uavm_published")
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchvision")
    weights: ClassVar[WeightsSource | None] = ManualWeights(
        "the UAVM authors' page (vgg_audio_feat.pth, as_audio_feat.pth)"
    )
    batch_size: ClassVar[int] = 32
    dtype: ClassVar[str] = "float32"

    length: int = 990
    mean: float = -5.081
    std: float = 4.4849

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Return the shape of one clip's value."""
        tokens = self.length // 4
        for _ in range(3):
            tokens //= 2
        return (tokens, 1024)

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """Return the prepared fbank, float32 (1, length, 128)."""
        return self.prepare(clip.fbank())[None]

    def prepare(self, fbank: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cut or zero-fill an fbank (frames, 128) to (length, 128), then normalise it.

        Raises:
            StoreError: The fbank does not have 128 mel bands.
        """
        if fbank.shape[1] != 128:
            bands = f"needs 128 mel bands, but the recipe has {fbank.shape[1]}"
            raise StoreError(f"{self.name} {bands}; use recipe uavm")
        cut = fbank[: self.length]
        filled = np.pad(cut, ((0, self.length - len(cut)), (0, 0)))
        return ((filled - self.mean) / self.std).astype(np.float32)

    def load(self, weights: Weights, device: str) -> BatchFunction:
        """Load the model and return its batch function."""
        model = _trunk(weights, one_channel=True)

        def forward(spectra: Any) -> Any:
            return model(spectra.transpose(1, 2)[:, None]).mean(2).transpose(1, 2)

        return torch_batch_function(model, device, forward)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """Return the clip's tokens."""
        row: NDArray[Any] = outputs[0]
        return row


def _torchvision_names(state: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint in torchvision's names.

    UAVM's class numbers the model's children: 0 is the trunk, 2 the classifier (norm, flatten,
    linear), in a module that DataParallel wraps.
    """
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if "model.0.0.0.weight" not in plain:
        return state
    words = {"model.0": "features", "model.2": "classifier"}
    names = {name: ".".join(name.split(".")[:2]) for name in plain}
    return {
        name.replace(head, words.get(head, head), 1): plain[name] for name, head in names.items()
    }


def _trunk(weights: Weights, one_channel: bool) -> Any:
    """Load ConvNeXt-Base without pooling and classifier."""
    import torch  # noqa: PLC0415 -- heavy
    from torchvision.models import convnext_base  # noqa: PLC0415 -- heavy

    with seeded(weights.seed):
        model = convnext_base()
    state = dict(model.state_dict())
    if weights.path:
        state = strip_prefix(_torchvision_names(read_state(weights.local)), CONVNEXT_STEM)
    if one_channel:
        model.features[0][0] = torch.nn.Conv2d(1, 128, kernel_size=4, stride=4)
        state[CONVNEXT_STEM] = state[CONVNEXT_STEM].sum(1, keepdim=True)
    trunk = model.features
    load_state(
        trunk,
        {k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")},
    )
    return trunk
