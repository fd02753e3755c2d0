"""AVSA's head of semantic segmentation: a feature pyramid over the stages of the video encoder.

Source: Kirillov et al., Panoptic Feature Pyramid Networks, CVPR 2019, as AVSA's released code has
it. Time is collapsed by a sum with learnt weights, and embeddings of the clip (of its sound, and
predictions) are put beside the last stage's channels at every place.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PYRAMID, BRANCH, GROUPS = 256, 128, 32
"""Channels of the pyramid and of its branches, and groups of their normalisation."""

_STD = 0.001


class TimeSum(nn.Module):
    """Sum over time with learnt weights, which start as those of the mean.

    Args:
        steps: Length of time.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, 1, steps, 1, 1), 1 / steps))

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C, H, W] of [N, C, T, H, W]."""
        return (x * self.weight).sum(2)


class SegmentationHead(nn.Module):
    """Maps of logits from the outputs of a video encoder's stages.

    Args:
        widths: Channels of each stage.
        steps: Length of time of each stage's output.
        context: Width of what is known of the clip beside its pictures; 0 for nothing.
        classes: Number of classes.
    """

    def __init__(
        self, widths: Sequence[int], steps: Sequence[int], context: int, classes: int
    ) -> None:
        super().__init__()
        inputs = (*widths[:-1], widths[-1] + context)
        self.times = nn.ModuleList(TimeSum(length) for length in steps)
        self.laterals = nn.ModuleList(nn.Conv2d(width, PYRAMID, 1) for width in inputs)
        self.outputs = nn.ModuleList(nn.Conv2d(PYRAMID, PYRAMID, 3, padding=1) for _ in inputs)
        self.branches = nn.ModuleList(_branch(level) for level in range(len(inputs)))
        self.predictor = nn.Conv2d(BRANCH, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, _STD)

    def forward(self, maps: Sequence[Tensor], context: Tensor | None = None) -> Tensor:
        """Return logits [N, classes, H, W], of the size of the first stage's pictures.

        Args:
            maps: Outputs of the stages [N, C, T, H, W], each half as wide as the one before.
            context: What is known of the clips beside it, [N, D].
        """
        last = maps[-1]
        if context is not None:
            everywhere = context[..., None, None, None].expand(-1, -1, *last.shape[2:])
            last = torch.cat([last, everywhere.to(last.dtype)], 1)
        stages = zip(self.laterals, self.times, (*maps[:-1], last), strict=True)
        levels = [lateral(time(x)) for lateral, time, x in stages]
        for level in range(len(levels) - 2, -1, -1):
            levels[level] = levels[level] + F.interpolate(levels[level + 1], scale_factor=2)
        parts = zip(self.branches, self.outputs, levels, strict=True)
        total = sum(branch(output(x)) for branch, output, x in parts)
        out: Tensor = self.predictor(total)
        return out


def _branch(level: int) -> nn.Sequential:
    """Return convolutions that take a level to the first level's size, twice as wide by each."""
    layers: list[nn.Module] = []
    for number in range(max(level, 1)):
        inputs = BRANCH if number else PYRAMID
        layers += [nn.Conv2d(inputs, BRANCH, 3, padding=1, bias=False)]
        layers += [nn.GroupNorm(GROUPS, BRANCH), nn.ReLU()]
        if level:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)
