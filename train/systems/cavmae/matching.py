"""STELLA's audio-video matching module (Lee et al., ICML 2024): do audio and video match?"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avstore.train import dist

Merge = Literal["heads", "published"]


@dataclass(frozen=True)
class Projected:
    """Queries, keys and values of both modalities.

    Attributes:
        q_a: Audio queries [B, H, La, D_h].
        k_a: Audio keys [B, H, La, D_h].
        v_a: Audio values [B, H, La, D_h].
        q_v: Video queries [B, H, Lv, D_h].
        k_v: Video keys [B, H, Lv, D_h].
        v_v: Video values [B, H, Lv, D_h].
    """

    q_a: Tensor
    k_a: Tensor
    v_a: Tensor
    q_v: Tensor
    k_v: Tensor
    v_v: Tensor


class AudioVideoMatching(nn.Module):
    """Cross-attention in both directions over joint tokens, then a score of two layers.

    Args:
        width: Width of a token.
        heads: Attention heads.
        merge: "heads" concatenates the heads' outputs; "published" reshapes without moving the head
            axis, as the released code does (bug B7).
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
        """Project joint tokens [B, La, D] and [B, Lv, D], before the final norm, to heads."""
        q_a, k_a, v_a = self._split(self.qkv_audio(self.norm_audio(audio)))
        q_v, k_v, v_v = self._split(self.qkv_video(self.norm_video(video)))
        return Projected(q_a, k_a, v_a, q_v, k_v, v_v)

    def forward(self, audio: Tensor, video: Tensor) -> Tensor:
        """Return the logits that audio [B, La, D] and video [B, Lv, D] match, [B]."""
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
    """A video for each row's audio.

    Attributes:
        video: Index, in the global batch, of the video of each row [B].
        label: 1 if it is the row's own, else 0, [B].
        negatives: Rows with another row's video [N].
    """

    video: Tensor
    label: Tensor
    negatives: Tensor


def pair_up(batch: int, device: torch.device) -> Pairing:
    """Let half of the rows of all processes keep their video, and derange those of the others.

    In a batch of two rows or fewer all keep their own. The derangement is a rotation of a random
    order, which has no fixed point; the released code's loop may not end (bug B9).

    Args:
        batch: Rows B of this process.
        device: Where to put the pairing.
    """
    rows, own = batch * dist.world_size(), slice(dist.rank(), None, dist.world_size())
    order = torch.randperm(rows, device=device)
    negatives = order[rows // 2 :] if rows > 2 else order[:0]
    video = torch.arange(rows, device=device)
    label = torch.ones(rows, device=device)
    video[negatives] = negatives.roll(1)
    label[negatives] = 0.0
    return Pairing(video[own], label[own], (label[own] == 0).nonzero()[:, 0])


def matching_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of logits [B] and labels [B]."""
    return F.binary_cross_entropy_with_logits(logits.float(), label)
