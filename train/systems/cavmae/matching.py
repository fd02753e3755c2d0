"""Audio-video matching: does this sound belong to this picture? (spec 3.2)"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Merge = Literal["heads", "published"]


@dataclass(frozen=True)
class Projected:
    """Queries, keys and values of both modalities, each [B, H, L, D_h]."""

    q_a: Tensor
    k_a: Tensor
    v_a: Tensor
    q_v: Tensor
    k_v: Tensor
    v_v: Tensor


class AudioVideoMatching(nn.Module):
    """Cross-attention both ways over joint tokens, then a two-layer score.

    merge: "heads" puts each head's output side by side; "published" reshapes without moving the
    head axis, as the released code does (bug B7).
    """

    def __init__(self, width: int, heads: int, merge: Merge = "heads") -> None:
        super().__init__()
        self.heads = heads
        self.published_merge = merge == "published"
        self.norm_audio, self.norm_video = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv_audio = nn.Linear(width, 3 * width, bias=False)
        self.qkv_video = nn.Linear(width, 3 * width, bias=False)
        self.hidden = nn.Linear(2 * width, 2 * width)
        self.score = nn.Linear(2 * width, 1)
        for layer in (self.qkv_audio, self.qkv_video, self.hidden, self.score):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def project(self, audio: Tensor, video: Tensor) -> Projected:
        """Joint tokens [B, La, D] and [B, Lv, D], before the final norm, to heads."""
        q_a, k_a, v_a = self._split(self.qkv_audio(self.norm_audio(audio)))
        q_v, k_v, v_v = self._split(self.qkv_video(self.norm_video(video)))
        return Projected(q_a, k_a, v_a, q_v, k_v, v_v)

    def forward(self, audio: Tensor, video: Tensor) -> Tensor:
        """Logit that row n's audio and video belong together, [B]."""
        p = self.project(audio, video)
        y_a = self._merge(F.scaled_dot_product_attention(p.q_a, p.k_v, p.v_v))
        y_v = self._merge(F.scaled_dot_product_attention(p.q_v, p.k_a, p.v_a))
        pooled = torch.cat([y_v.mean(1), y_a.mean(1)], dim=-1)
        out: Tensor = self.score(torch.tanh(self.hidden(pooled))).squeeze(-1)
        return out

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, width = x.shape
        shaped = x.reshape(batch, length, 3, self.heads, width // 3 // self.heads)
        q, k, v = shaped.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def _merge(self, x: Tensor) -> Tensor:
        batch, heads, length, head = x.shape
        if not self.published_merge:
            x = x.transpose(1, 2)
        return x.reshape(batch, length, heads * head)


@dataclass(frozen=True)
class Pairing:
    """Which video goes with each audio row, and whether that is its own (1) or not (0).

    negatives: the rows whose video is another's.
    """

    video: Tensor
    label: Tensor
    negatives: Tensor


def pair_up(batch: int, device: torch.device) -> Pairing:
    """Half of the rows keep their video; the others' videos are deranged among themselves.

    Two rows or fewer, or a single row left over, stay positive: one row has nobody to swap with.
    The derangement is a rotation of a random order: no fixed point, and no loop that may not end
    (bug B9).
    """
    order = torch.randperm(batch, device=device)
    negatives = order[batch // 2 :] if batch > 2 else order[:0]
    video = torch.arange(batch, device=device)
    label = torch.ones(batch, device=device)
    video[negatives] = negatives.roll(1)
    label[negatives] = 0.0
    return Pairing(video, label, negatives)


def matching_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Binary cross-entropy, mean over rows."""
    return F.binary_cross_entropy_with_logits(logits.float(), label)
