"""AVSA's encoders: an R(2+1)D of video and a plain convolutional network of spectra.

Both are without biases, and pool by the maximum. They are not torchvision's R(2+1)D: the middle
channels of a block are as many as those that come out, the shortcut has no normalisation, and the
sum has.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avstore.train.systems.avsa.model_config import CHANNELS, AVSAConfig

Triple = tuple[int, int, int]


class VideoBlock(nn.Module):
    """Two pairs of a convolution over the picture and one over time, beside a shortcut.

    Args:
        inputs: Channels that come in.
        outputs: Channels that come out.
        stride: Of time, height and width.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.space1 = _convolution(inputs, outputs, (1, 3, 3), (1, stride, stride))
        self.space1_norm = nn.BatchNorm3d(outputs)
        self.time1 = _convolution(outputs, outputs, (3, 1, 1), (stride, 1, 1))
        self.time1_norm = nn.BatchNorm3d(outputs)
        self.space2 = _convolution(outputs, outputs, (1, 3, 3))
        self.space2_norm = nn.BatchNorm3d(outputs)
        self.time2 = _convolution(outputs, outputs, (3, 1, 1))
        self.norm = nn.BatchNorm3d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = _convolution(inputs, outputs, (1, 1, 1), (stride,) * 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, outputs, T', H', W'] of [N, inputs, T, H, W]."""
        y = F.relu(self.space1_norm(self.space1(x)))
        y = F.relu(self.time1_norm(self.time1(y)))
        y = F.relu(self.space2_norm(self.space2(y)))
        return F.relu(self.norm(self.time2(y) + self.shortcut(x)))


class VideoEncoder(nn.Module):
    """Frames to an embedding, and to the outputs of its stages."""

    def __init__(self, config: AVSAConfig) -> None:
        super().__init__()
        c = config
        self.stem = nn.Sequential(
            _convolution(3, c.stem, (3, 7, 7), (1, 2, 2)), nn.BatchNorm3d(c.stem), nn.ReLU()
        )
        self.stages = nn.ModuleList()
        inputs = c.stem
        for number, outputs in enumerate(c.widths):
            first = VideoBlock(inputs, outputs, stride=2 if number else 1)
            rest = [VideoBlock(outputs, outputs) for _ in range(c.blocks - 1)]
            self.stages.append(nn.Sequential(first, *rest))
            inputs = outputs

    def forward(self, frames: Tensor) -> Tensor:
        """Return embeddings [N, width] of frames [N, 3, T, S, S], normalised."""
        return pooled(self.maps(frames)[-1])

    def maps(self, frames: Tensor) -> list[Tensor]:
        """Return what each stage gives, [N, C, T', S', S'].

        8 frames of 112 pixels give 8 x 56 x 56, 4 x 28 x 28, 2 x 14 x 14 and 1 x 7 x 7.
        """
        x, found = self.stem(frames), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class AudioBlock(nn.Module):
    """Two convolutions of 3 x 3, without a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, outputs, T', F'] of [N, inputs, T, F]."""
        out: Tensor = self.layers(x)
        return out


class AudioEncoder(nn.Module):
    """Log-mel spectra of four channels to an embedding."""

    def __init__(self, config: AVSAConfig) -> None:
        super().__init__()
        c = config
        self.stem = nn.Sequential(
            nn.Conv2d(CHANNELS, c.stem, 7, 2, 3, bias=False), nn.BatchNorm2d(c.stem), nn.ReLU()
        )
        inputs = (c.stem, *c.widths[:-1])
        sizes = zip(inputs, c.widths, (1, 2, 2, 1), strict=True)
        self.blocks = nn.Sequential(*(AudioBlock(*size) for size in sizes))

    def forward(self, spectra: Tensor) -> Tensor:
        """Return embeddings [N, width] of spectra [N, 4, frames, mels]."""
        return pooled(self.blocks(self.stem(spectra)))


def pooled(x: Tensor) -> Tensor:
    """Return the maximum over all but rows and channels [N, C]."""
    return torch.amax(x, dim=tuple(range(2, x.dim())))


def _convolution(
    inputs: int, outputs: int, size: Triple, stride: Sequence[int] = (1, 1, 1)
) -> nn.Conv3d:
    padding = tuple(side // 2 for side in size)
    return nn.Conv3d(inputs, outputs, size, tuple(stride), padding, bias=False)  # type: ignore[arg-type]
