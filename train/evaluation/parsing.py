"""F-scores of audio-visual video parsing (Tian et al., AVVP, ECCV 2020), in percent.

Every video is scored by itself, and videos are averaged: they are no shares of all segments.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_OVERLAP = 0.5
VIEWS = ("audio", "visual", "audio_visual")


@dataclass(frozen=True)
class Counts:
    """True and false positives and false negatives, each [N, C]."""

    hits: Tensor
    extra: Tensor
    missed: Tensor

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.hits + other.hits, self.extra + other.extra, self.missed + other.missed)

    @property
    def active(self) -> Tensor:
        """Which classes have a prediction or a truth, bool [N, C]."""
        return (self.hits + self.extra + self.missed) > 0

    @property
    def f_scores(self) -> Tensor:
        """F of each class, 0 to 1, float64 [N, C]; 0 where nothing is active."""
        whole = 2 * self.hits + self.extra + self.missed
        return 2 * self.hits.double() / whole.clamp_min(1).double()

    @property
    def by_video(self) -> Tensor:
        """Mean F over each video's active classes, [N]; 1 for a video without any."""
        classes = self.active.sum(1)
        means = (self.f_scores * self.active).sum(1) / classes.clamp_min(1)
        return torch.where(classes > 0, means, torch.ones_like(means))


def segment_counts(predicted: Tensor, truth: Tensor) -> Counts:
    """Count segments of each class.

    Args:
        predicted: 0 or 1, [N, T, C].
        truth: 0 or 1, [N, T, C].
    """
    p, t = predicted.bool(), truth.bool()
    return Counts((p & t).sum(1), (p & ~t).sum(1), (~p & t).sum(1))


def event_counts(predicted: Tensor, truth: Tensor) -> Counts:
    """Count events of each class: maximal runs of segments.

    A predicted event is a hit if any true event overlaps it by half of their union or more; a true
    event that no prediction overlaps so is missed. They are not matched one to one.

    Args:
        predicted: 0 or 1, [N, T, C].
        truth: 0 or 1, [N, T, C].
    """
    found, real = events(predicted), events(truth)
    both = torch.einsum("nitc,njtc->nijc", found.float(), real.float())
    either = found.sum(2)[:, :, None] + real.sum(2)[:, None] - both
    overlap = (both >= LEAST_OVERLAP * either) & (both > 0)
    hit, met = overlap.any(2), overlap.any(1)
    guessed, known = found.any(2), real.any(2)
    return Counts(hit.sum(1), (guessed & ~hit).sum(1), (known & ~met).sum(1))


def events(active: Tensor) -> Tensor:
    """Return the maximal runs of 1 in [N, T, C], each by its segments: bool [N, E, T, C].

    E is the largest number of runs that T segments can have; places without a run are all 0.
    """
    on = active.bool()
    before = torch.cat([torch.zeros_like(on[:, :1]), on[:, :-1]], dim=1)
    number = (on & ~before).cumsum(1)  # 1 in the first run, 2 in the second …
    most = (on.shape[1] + 1) // 2
    places = torch.arange(1, most + 1, device=on.device)[None, :, None, None]
    return on[:, None] & (number[:, None] == places)


def parsing(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    """Score predictions of both modalities.

    Args:
        predicted: 0 or 1, [N, T, 2, C]: audio, then visual.
        truth: 0 or 1, [N, T, 2, C].

    Returns:
        `segment_audio`, `segment_visual`, `segment_audio_visual` (both at once), `segment_type`
        (mean of the three, Type@AV), `segment_event` (audio and visual counted together, Event@AV),
        and the same five as `event_…`.
    """
    scores: dict[str, float] = {}
    for level, counts in (("segment", segment_counts), ("event", event_counts)):
        by_view = {
            view: counts(p, t)
            for view, p, t in zip(VIEWS, _views(predicted), _views(truth), strict=True)
        }
        found = {view: 100 * float(own.by_video.mean()) for view, own in by_view.items()}
        scores |= {f"{level}_{view}": value for view, value in found.items()}
        scores[f"{level}_type"] = sum(found.values()) / len(found)
        together = by_view["audio"] + by_view["visual"]
        scores[f"{level}_event"] = 100 * float(together.by_video.mean())
    return scores


def parsing_by_class(predicted: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Return each class's F over all videos together, 0 to 100, nan without any segment, [C].

    The published scores average videos, not classes; these say which classes fail.

    Args:
        predicted: 0 or 1, [N, T, 2, C].
        truth: 0 or 1, [N, T, 2, C].

    Returns:
        The classes' F by `segment_audio`, `event_visual` and so on.
    """
    scores = {}
    for level, counts in (("segment", segment_counts), ("event", event_counts)):
        for view, p, t in zip(VIEWS, _views(predicted), _views(truth), strict=True):
            own = counts(p, t)
            sums = Counts(
                *(part.sum(0, keepdim=True) for part in (own.hits, own.extra, own.missed))
            )
            known = torch.where(sums.active, 100 * sums.f_scores, torch.nan)
            scores[f"{level}_{view}"] = known[0]
    return scores


def _views(active: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    audio, visual = active.bool().unbind(2)
    return audio, visual, audio & visual
