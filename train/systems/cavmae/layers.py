"""Transformer blocks (pre-norm, qkv bias, exact GELU, no dropout) and position tables."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Route = Literal["joint", "audio", "video"]
ROUTES: tuple[Route, ...] = ("joint", "audio", "video")


class Attention(nn.Module):
    """Multi-head self-attention [B, N, D] -> [B, N, D]; kind "plain" computes the whole softmax."""

    def __init__(self, width: int, heads: int, kind: str) -> None:
        super().__init__()
        self.heads = heads
        self.plain = kind == "plain"
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each row of x [B, N, D]."""
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.plain:
            weights = (q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(-1)
            y = weights @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(batch, length, width))
        return out


class Mlp(nn.Module):
    """Linear, GELU, Linear: [B, N, D] -> [B, N, D]."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, int(width * ratio))
        self.fc2 = nn.Linear(int(width * ratio), width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token of x [B, N, D]."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """A transformer block."""

    def __init__(self, width: int, heads: int, ratio: float, eps: float, kind: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps)
        self.attn = Attention(width, heads, kind)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = Mlp(width, ratio)

    def forward(self, x: Tensor) -> Tensor:
        """Transform tokens x [B, N, D]."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class JointBlock(nn.Module):
    """A block with one pair of norms for each route (joint, audio, video)."""

    def __init__(self, width: int, heads: int, ratio: float, eps: float, kind: str) -> None:
        super().__init__()
        self.norm1 = nn.ModuleDict({route: nn.LayerNorm(width, eps) for route in ROUTES})
        self.attn = Attention(width, heads, kind)
        self.norm2 = nn.ModuleDict({route: nn.LayerNorm(width, eps) for route in ROUTES})
        self.mlp = Mlp(width, ratio)

    def forward(self, x: Tensor, route: Route) -> Tensor:
        """Transform tokens x [B, N, D] with the norms of a route."""
        x = x + self.attn(self.norm1[route](x))
        return x + self.mlp(self.norm2[route](x))  # type: ignore[no-any-return]


def sincos_1d(width: int, positions: Tensor) -> Tensor:
    """Return sines then cosines of positions [N] -> [N, width], frequencies 10000^(-2i/width)."""
    rates = 10000.0 ** -(torch.arange(width // 2, dtype=torch.float64) / (width / 2))
    angles = positions.double()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def sincos_audio(width: int, steps: int, bands: int, order: str) -> Tensor:
    """Return the table [steps * bands, width] of time-major tokens.

    Args:
        width: Width of a token.
        steps: Patches along time.
        bands: Patches along frequency.
        order: "time"; "cavmae" for time in the first half of a row, as in CAV-MAE; "published" for
            frequency-major rows, as in STELLA's released code (bug B11).
    """
    if order == "cavmae":
        by_band = sincos_2d(width, bands, steps).reshape(bands, steps, width)
        return by_band.transpose(0, 1).reshape(steps * bands, width)
    if order == "published":
        return sincos_2d(width, bands, steps)
    return sincos_2d(width, steps, bands)


def sincos_2d(width: int, rows: int, columns: int) -> Tensor:
    """Return the row-major table [rows * columns, width] of MAE: half for column, half for row."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    halves = [sincos_1d(width // 2, column.flatten()), sincos_1d(width // 2, row.flatten())]
    return torch.cat(halves, dim=1)
