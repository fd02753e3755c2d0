"""Transformer blocks: pre-norm, qkv bias, exact GELU, no dropout (spec 3.1)."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Route = Literal["joint", "audio", "video"]
ROUTES: tuple[Route, ...] = ("joint", "audio", "video")


class Attention(nn.Module):
    """Multi-head self-attention [B, N, D] -> [B, N, D]; `plain` writes the softmax out."""

    def __init__(self, width: int, heads: int, kind: str) -> None:
        super().__init__()
        self.heads = heads
        self.plain = kind == "plain"
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
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
    """Linear, GELU, Linear."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, int(width * ratio))
        self.fc2 = nn.Linear(int(width * ratio), width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """One transformer block of one stream."""

    def __init__(self, width: int, heads: int, ratio: float, eps: float, kind: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps)
        self.attn = Attention(width, heads, kind)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = Mlp(width, ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class JointBlock(nn.Module):
    """A block with shared attention and MLP and one pair of norms a route."""

    def __init__(self, width: int, heads: int, ratio: float, eps: float, kind: str) -> None:
        super().__init__()
        self.norm1 = nn.ModuleDict({route: nn.LayerNorm(width, eps) for route in ROUTES})
        self.attn = Attention(width, heads, kind)
        self.norm2 = nn.ModuleDict({route: nn.LayerNorm(width, eps) for route in ROUTES})
        self.mlp = Mlp(width, ratio)

    def forward(self, x: Tensor, route: Route) -> Tensor:
        x = x + self.attn(self.norm1[route](x))
        return x + self.mlp(self.norm2[route](x))  # type: ignore[no-any-return]


def sincos_1d(width: int, positions: Tensor) -> Tensor:
    """[N] positions -> [N, width]: sines then cosines, frequencies 1 / 10000^(2i/width)."""
    rates = 10000.0 ** -(torch.arange(width // 2, dtype=torch.float64) / (width / 2))
    angles = positions.double()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def sincos_audio(width: int, steps: int, bands: int, order: str) -> Tensor:
    """[steps * bands, width] for time-major tokens; "published": rows frequency-major (B11)."""
    if order == "published":
        return sincos_2d(width, bands, steps)
    return sincos_2d(width, steps, bands)


def sincos_2d(width: int, rows: int, columns: int) -> Tensor:
    """[rows * columns, width], row-major as in MAE: half for the column, half for the row."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    halves = [sincos_1d(width // 2, column.flatten()), sincos_1d(width // 2, row.flatten())]
    return torch.cat(halves, dim=1)
