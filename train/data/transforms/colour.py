"""Jitter the colours of pictures by factors drawn before, on any device.

The operations are torchvision's for tensors: brightness, contrast, saturation and hue.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avstore.train.data.transforms.frames import IMAGE_MEAN, IMAGE_STD

_GREY = (0.299, 0.587, 0.114)


def draw_jitter(
    strengths: Sequence[float], generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw factors and the order of the operations.

    Args:
        strengths: Of brightness, contrast and saturation, s for factors in [max(0, 1 - s), 1 + s);
            of hue, s for a turn in [-s, s) of the colour circle.
        generator: Random generator.

    Returns:
        Factors, float32 [4], and numbers of the operations in the order of their use, int64 [4].
    """
    *ratios, hue = strengths
    factors = [generator.uniform(max(0.0, 1 - s), 1 + s) for s in ratios]
    factors.append(generator.uniform(-hue, hue))
    return np.array(factors, np.float32), generator.permutation(4)


def jitter_colours(video: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Jitter pictures, all frames of a view alike.

    Values are not rounded between operations, as those of 8-bit pictures are.

    Args:
        video: float32 [..., T, 3, height, width], normalised as `Batch.video` after `Batch.to`.
        factors: float32 [..., 4], such as `batch["jitter"]` of `AugmentViews`.
        order: int64 [..., 4], such as `batch["jitter_order"]`.

    Returns:
        float32 as `video`, normalised likewise.

    Raises:
        ValueError: If the pictures are not floats, or there is not one row of factors for each
            view.

    Example:
        >>> video = torch.zeros(2, 4, 8, 3, 16, 16)  # [B, views, T, 3, height, width]
        >>> none, order = torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.arange(4)
        >>> jittered = jitter_colours(video, none.expand(2, 4, 4), order.expand(2, 4, 4))
        >>> tuple(jittered.shape)
        (2, 4, 8, 3, 16, 16)
    """
    if not video.is_floating_point():
        raise ValueError(
            f"pictures are {video.dtype}, not normalised: pass the video of batch.to(device)"
        )
    if not factors.shape == order.shape == (*video.shape[:-4], 4):
        raise ValueError(
            f"factors {list(factors.shape)} and order {list(order.shape)} do not fit pictures "
            f"{list(video.shape)}: one row of four for each view is expected"
        )
    mean, std = (
        torch.tensor(x, device=video.device).view(3, 1, 1) for x in (IMAGE_MEAN, IMAGE_STD)
    )
    views = (video * std + mean).view(-1, *video.shape[-4:])
    factors = factors.to(views).reshape(-1, 4)
    # On the CPU, so that a GPU is waited for once and not for each operation.
    places = order.reshape(-1, 4).cpu()
    for place in range(4):
        for number, operation in enumerate(_OPERATIONS):
            rows = (places[:, place] == number).nonzero()[:, 0].to(views.device)
            if len(rows):
                factor = factors[rows, number].view(-1, 1, 1, 1, 1)
                views[rows] = operation(views[rows], factor)
    return views.view(video.shape).sub_(mean).div_(std)


def _brightness(views: Tensor, factor: Tensor) -> Tensor:
    return (views * factor).clamp_(0, 1)


def _contrast(views: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(_grey(views).mean((-2, -1), keepdim=True), views, factor).clamp_(0, 1)


def _saturation(views: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(_grey(views), views, factor).clamp_(0, 1)


def _grey(views: Tensor) -> Tensor:
    weights = torch.tensor(_GREY, device=views.device).view(3, 1, 1)
    return (views * weights).sum(-3, keepdim=True)


def _hue(views: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue, by hue, saturation and value."""
    value, least = views.amax(-3, keepdim=True), views.amin(-3, keepdim=True)
    spread = value - least
    red, green, blue = views.unbind(-3)
    safe = torch.where(spread == 0, 1, spread).squeeze(-3)
    top = value.squeeze(-3)
    sixth = torch.where(
        top == red,
        (green - blue) / safe,
        torch.where(top == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    ).unsqueeze(-3)
    # Red, green and blue fall from the value where their distance around the circle, from 5, 3
    # and 1 sixths, is least.
    offsets = torch.tensor((5.0, 3.0, 1.0), device=views.device).view(3, 1, 1)
    around = (offsets + sixth + 6 * turn) % 6
    return value - spread * torch.minimum(around, 4 - around).clamp_(0, 1)


_OPERATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    _brightness,
    _contrast,
    _saturation,
    _hue,
)
