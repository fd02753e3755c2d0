"""The stages of a UAVM model: transformers over rows of features, traced layer by layer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from avstore.train.systems.cavmae import layers

Maps = Literal["used", "published"]
"""Attention maps to keep: those that the blocks use, or those of figure 5's released code, which
leaves out each block's first norm."""

NORM_EPS = 1e-6
"""Epsilon of input and output norms; that of the blocks' norms is 1e-5."""


@dataclass(frozen=True)
class Trace:
    """What a model computes on its way.

    Attributes:
        layers: Tokens [B, N, D] after norm, projection and position table, then after each block.
        maps: Attention maps [B, heads, N, N] of each block; empty unless they were requested.
        logits: [B, classes]; None for a stage without classifier.
    """

    layers: tuple[Tensor, ...]
    maps: tuple[Tensor, ...]
    logits: Tensor | None = None

    @property
    def embeddings(self) -> tuple[Tensor, ...]:
        """Mean over time of each layer [B, D], then the logits (figures 3 and 4)."""
        pooled = tuple(tokens.mean(1) for tokens in self.layers)
        return pooled if self.logits is None else (*pooled, self.logits)


class Block(layers.Block):
    """A transformer block whose queries, keys and values have no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, 4.0, 1e-5, "sdpa")
        self.attn.qkv = nn.Linear(width, 3 * width, bias=False)

    def attention_map(self, x: Tensor, kind: Maps) -> Tensor:
        """Return the attention map [B, heads, N, N] of the block's input x [B, N, D]."""
        batch, length, width = x.shape
        heads = self.attn.heads
        qkv = self.attn.qkv(x if kind == "published" else self.norm1(x))
        query, key, _ = qkv.reshape(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
        scores: Tensor = query @ key.transpose(-2, -1) * (width // heads) ** -0.5
        return scores.softmax(-1)


class Stage(nn.Module):
    """Norm, projection, position table and blocks; then, if `classifies`, mean, norm and Linear.

    As in the released checkpoints, the projection exists if the widths are equal, and the head if
    the stage does not classify. These parameters are not trained.

    Args:
        widths: Width of the input, and of a token.
        heads: Attention heads.
        depth: Number of blocks.
        rows: Rows of the input.
        classes: Number of classes.
        classifies: Whether the head is used.
    """

    def __init__(
        self,
        widths: tuple[int, int],
        heads: int,
        depth: int,
        rows: int,
        classes: int,
        classifies: bool,
    ) -> None:
        super().__init__()
        width = widths[1]
        self.projects, self.classifies = widths[0] != width, classifies
        self.norm = nn.LayerNorm(widths[0], NORM_EPS)
        self.project = nn.Linear(*widths).requires_grad_(self.projects)
        self.pos = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, rows, width), std=0.02))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.head = norm_linear(width, classes).requires_grad_(classifies)

    def forward(self, x: Tensor, maps: Maps | None = None) -> Trace:
        """Trace rows x [B, N, D].

        Raises:
            ValueError: x has another number of rows than the position table.
        """
        if x.shape[1] != self.pos.shape[1]:
            raise ValueError(
                f"the features have {x.shape[1]} rows and the model takes {self.pos.shape[1]}; cut "
                "or pad them (feature_rows of the BatchSpec)"
            )
        x = self.norm(x)
        x = (self.project(x) if self.projects else x) + self.pos
        tokens, found = [x], []
        for block in cast("Iterable[Block]", self.blocks):
            if maps is not None:
                found.append(block.attention_map(x, maps))
            tokens.append(x := block(x))
        logits = self.head(x.mean(1)) if self.classifies else None
        return Trace(tuple(tokens), tuple(found), logits)


def norm_linear(width: int, out: int) -> nn.Sequential:
    """Return a norm and a Linear: a classifier, or the input of a model without own blocks."""
    return nn.Sequential(nn.LayerNorm(width, NORM_EPS), nn.Linear(width, out))


def side_by_side(traces: Sequence[Trace]) -> Trace:
    """Join traces of stages that run beside each other, along the rows.

    Rows of different stages do not attend to each other: their part of the map is 0.
    """
    tokens = zip(*(trace.layers for trace in traces), strict=True)
    maps = zip(*(trace.maps for trace in traces), strict=True)
    return Trace(
        tuple(torch.cat(parts, dim=1) for parts in tokens), tuple(_diagonal(m) for m in maps)
    )


def _diagonal(maps: Sequence[Tensor]) -> Tensor:
    sizes = [one.shape[-1] for one in maps]
    out = maps[0].new_zeros(*maps[0].shape[:2], sum(sizes), sum(sizes))
    start = 0
    for one, size in zip(maps, sizes, strict=True):
        out[..., start : start + size, start : start + size] = one
        start += size
    return out
