"""AVSA's losses and diagnostics, of clips [B] with views [B, V].

Rows of other processes are candidates too, with their gradients; the released code has one process.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train import dist
from avstore.train.systems.avsa.model import Compared


@dataclass(frozen=True)
class Candidates:
    """Scores of one direction: each view's prediction with what it may be of.

    Attributes:
        own: With the views of the own clip, [B, V, V]; the diagonal is right.
        others: With the same view of other clips, [B, V, N]; -inf for the own clip.
    """

    own: Tensor
    others: Tensor

    @property
    def loss(self) -> Tensor:
        """The mean cross-entropy of each clip's views [B]."""
        logits = torch.cat([self.own, self.others], -1)
        views = self.own.shape[1]
        right = torch.arange(views, device=logits.device).expand(len(logits), views)
        each = F.cross_entropy(logits.flatten(0, 1), right.flatten(), reduction="none")
        return each.view(len(logits), views).mean(1)

    def wins(self) -> dict[str, Tensor]:
        """Return whether the right view wins, by diagnostic, bool [B, V].

        `avc`: Over the same view of all other clips.
        `avsa`: Over the other views of its clip. As published a tie counts, so that sound which
            does not depend on the view scores 100.
        `avsa_strict`: The same, and a tie does not count.
        """
        right = self.own.diagonal(dim1=1, dim2=2)[..., None]
        views = self.own.shape[1]
        other = ~torch.eye(views, dtype=torch.bool, device=right.device)
        return {
            "avc": (right > self.others).all(-1),
            "avsa": (right >= self.own).all(-1),
            "avsa_strict": ((right > self.own) | ~other).all(-1),
        }


def alignment(predicted: Tensor, target: Tensor, temperature: float) -> Candidates:
    """Return the scores of predictions with targets, both [B, V, P].

    Args:
        predicted: What is predicted of each view.
        target: What it is.
        temperature: By which scores are divided.
    """
    query, key = F.normalize(predicted.float(), dim=-1), F.normalize(target.float(), dim=-1)
    every = dist.gather_rows(key)
    first = sum(dist.row_counts(key)[: dist.rank()])
    others = torch.einsum("bvp,nvp->bvn", query, every) / temperature
    own = torch.arange(len(query), device=query.device)
    mask = torch.zeros(len(query), 1, len(every), dtype=torch.bool, device=query.device)
    mask[own, 0, own + first] = True
    return Candidates(
        query @ key.transpose(1, 2) / temperature, others.masked_fill(mask, -torch.inf)
    )


def directions(compared: Compared, temperature: float) -> dict[str, Candidates]:
    """Return the scores of both directions: `v2a`, sound from pictures, and `a2v`.

    Without predictors, pictures are compared with sound.

    Args:
        compared: Projections.
        temperature: By which scores are divided.
    """
    c = compared
    if c.predicted_audio is None or c.predicted_video is None:
        return {
            "v2a": alignment(c.video, c.audio, temperature),
            "a2v": alignment(c.audio, c.video, temperature),
        }
    return {
        "v2a": alignment(c.predicted_audio, c.audio, temperature),
        "a2v": alignment(c.predicted_video, c.video, temperature),
    }
