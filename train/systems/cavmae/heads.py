"""Heads on pooled features: one label a clip, or one a second."""

import torch
from torch import Tensor, nn


class ClassHead(nn.Module):
    """Linear, tanh, Linear, LayerNorm, GELU, Linear to the classes (spec 5.3).

    Takes [..., 2 * width], the means of audio and of video tokens side by side; gives logits
    [..., classes].
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        both = 2 * width
        self.layers = nn.Sequential(
            nn.Linear(both, both),
            nn.Tanh(),
            nn.Linear(both, both),
            nn.LayerNorm(both),
            nn.GELU(),
            nn.Linear(both, classes),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.layers(features)
        return out


def pooled(audio: Tensor, video: Tensor) -> Tensor:
    """Joint tokens [B, La, D] and [B, Lv, D] as one feature [B, 2 * D]."""
    return torch.cat([audio.float().mean(1), video.float().mean(1)], dim=-1)
