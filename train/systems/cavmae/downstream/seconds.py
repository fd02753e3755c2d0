"""One second of sound as AVE and AVS see it (spec 2.1): 98 frames in the middle of silence."""

import torch
from torch import Tensor
from torch.nn import functional as F

FRAMES = 98  # fbank frames of one second: windows of 25 ms every 10 ms that fit into it


def starts(seconds: int, frames: int, where: str) -> list[int]:
    """First fbank frame (10 ms each) of each second of a clip of so many frames.

    "seconds": second k is from k to k + 1. "published": spread evenly up to 1.1 s before the end,
    so that they drift from the picture's seconds by up to 0.1 s; rounded to whole frames.
    """
    if where == "published":
        last = frames / 100 - 1.1
        return [round(100 * float(x)) for x in torch.linspace(0, last, seconds)]
    return [100 * second for second in range(seconds)]


def one_second(audio: Tensor, start: int, length: int, silence: float) -> Tensor:
    """Frames [start, start + 98) of fbank [B, 1, N, mels], with silence on both sides: [B, 1,
    length, mels].

    Cut from the clip's fbank, which is the same as the fbank of the second alone: windows lie
    within it, and the offset of each window is removed.
    """
    own = audio[:, :, start : start + FRAMES]
    own = F.pad(own, (0, 0, 0, FRAMES - own.shape[2]), value=silence)[:, :, :length]
    before = (length - own.shape[2]) // 2
    after = length - own.shape[2] - before
    return F.pad(own, (0, 0, before, after), value=silence)
