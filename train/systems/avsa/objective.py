"""AVSA as a system: alignment of views with their sound, or correspondence of clips."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avstore.train import dist
from avstore.train.clip_scores import ClipScores
from avstore.train.data import Batch, BatchSpec
from avstore.train.objective import Objective, Output, Scores, eval_mode, rows_of
from avstore.train.systems.avsa.inputs import pictures, sounds
from avstore.train.systems.avsa.losses import Candidates, directions
from avstore.train.systems.avsa.model import AlignmentNet, Compared
from avstore.train.systems.avsa.settings import AVSASettings
from avstore.train.systems.avsa.weights import load_weights
from avstore.train.task_matrix import Measure

_NAMES = {
    "avc": "right clip",
    "avsa": "right view",
    "avsa_strict": "right view, ties are wrong",
}
_CONTROL = "_yawed"


class AVSAObjective(Objective):
    """Contrast of views with what their clip's other modality predicts.

    Args:
        model: The networks.
        training: What the loader delivers in training.
        evaluation: What the loader delivers in evaluation.
        settings: What a step sees and minimises.
        control: What the loader delivers to score sound that does not fit; None not to.
    """

    def __init__(
        self,
        model: AlignmentNet,
        training: BatchSpec,
        evaluation: BatchSpec,
        settings: AVSASettings,
        control: BatchSpec | None = None,
    ) -> None:
        super().__init__()
        self.model, self.specs = model, (evaluation, training)
        self.settings, self.control = settings, control

    def forward(self, batch: Batch, draws: None = None) -> Output:
        """Return half the losses of both directions, and the projections of all views."""
        compared = self.compare(batch)
        found = directions(compared, self.settings.temperature)
        parts = {name: own.loss / 2 for name, own in found.items()}
        with torch.no_grad():
            self.diagnostics = {
                f"{metric}_{name}": 100 * won.float().mean()
                for name, own in found.items()
                for metric, won in self._wins(own).items()
            }
        return Output(
            sum(parts.values(), torch.zeros(())),
            parts,
            {"video": compared.video.flatten(1), "audio": compared.audio.flatten(1)},
        )

    def compare(self, batch: Batch) -> Compared:
        """Return what is compared of a batch's views."""
        compared: Compared = self.model(pictures(batch), sounds(batch))
        return compared

    @torch.no_grad()
    def scores(self, batches: Iterable[Batch], groups: Mapping[str, Sequence[str]]) -> Scores:
        """Return how often the right clip and the right view win, in percent, by group.

        A group's clips are compared in galleries of `gallery` clips, in a random order that is
        always the same, each window of theirs for itself.
        """
        parts: list[Compared] = []
        clip_ids: list[str] = []
        with eval_mode(self):
            for batch in batches:
                parts.append(self.compare(batch).to("cpu"))
                clip_ids += batch.clip_ids
        found = Compared.cat(parts)
        windows = self.settings.windows
        ids = clip_ids[::windows]
        if self.settings.views > 1:
            own = right_views(found).view(-1, windows).mean(1)
            self.clip_scores = ClipScores("right views", dict(zip(ids, own.tolist(), strict=True)))
        return {
            name: self._rates([found.rows(torch.tensor(own) * windows + w) for w in range(windows)])
            for name, own in rows_of(ids, groups).items()
        }

    def final_scores(
        self,
        batches: Callable[[BatchSpec], Iterable[Batch]],
        groups: Mapping[str, Sequence[str]],
    ) -> Scores:
        """Return `scores`, and with `control` those of sound that is turned, as `…_yawed`."""
        found = super().final_scores(batches, groups)
        if self.control is not None:
            by_clip = self.clip_scores
            for name, own in self.scores(batches(self.control), groups).items():
                found[name] |= {metric + _CONTROL: value for metric, value in own.items()}
            self.clip_scores = by_clip  # not those of turned sound
        return found

    def _rates(self, compared: Sequence[Compared]) -> dict[str, float]:
        """Return how often the right one wins, in percent, over all galleries and directions.

        Args:
            compared: Projections of each window.
        """
        won: dict[str, list[Tensor]] = {}
        for window in compared:
            for gallery, count in galleries(len(window.video), self.settings.gallery):
                with dist.alone():
                    found = directions(window.rows(gallery), self.settings.temperature)
                for own in found.values():
                    for metric, wins in self._wins(own).items():
                        won.setdefault(metric, []).append(wins[:count].flatten())
        rates = {name: 100 * float(torch.cat(all_).float().mean()) for name, all_ in won.items()}
        return {f"{metric}_acc": value for metric, value in rates.items()}

    def _wins(self, found: Candidates) -> dict[str, Tensor]:
        """Return what is won, without the view's of a clip that has one."""
        wins = found.wins()
        return wins if found.own.shape[1] > 1 else {"avc": wins["avc"]}

    def weights(self) -> dict[str, Any]:
        """Return the networks' weights."""
        return self.model.state_dict()

    def load(self, path: Path) -> None:
        """Load the networks' weights: of a run, or released ones."""
        whole = load_weights(self.model, path)
        self.untrained = () if whole else ("predictors", "projections")

    def measure(self, gallery: int) -> Measure:
        """Return what a task matrix shows: the right view, or of one view the right clip."""
        views, clips = self.settings.views, min(gallery, self.settings.gallery)
        shown, chance = ("avsa", views) if views > 1 else ("avc", clips)
        return Measure(
            subject="Spatial alignment" if views > 1 else "Correspondence",
            name=f"{_NAMES[shown]}",
            definition=f"{_NAMES[shown]} among {chance}, mean of both directions",
            shown=(f"{shown}_acc",),
            summarised={
                f"{metric}_acc": name
                for metric, name in _NAMES.items()
                if views > 1 or metric == "avc"
            },
            chance=100 / chance if chance else None,
        )


def right_views(compared: Compared) -> Tensor:
    """Return how often each clip's right view wins, mean of both directions, in percent [N]."""
    with dist.alone():
        found = directions(compared, temperature=1.0)
    wins = torch.stack([own.wins()["avsa"] for own in found.values()])
    return 100 * wins.float().mean((0, 2))


def galleries(clips: int, size: int) -> Iterable[tuple[Tensor, int]]:
    """Yield the rows of each gallery, and how many of them are scored: the first.

    Every clip is scored once; the last gallery is filled up with clips of the first.

    Args:
        clips: Number of clips.
        size: Clips of a gallery; all, if there are fewer.
    """
    order = torch.from_numpy(np.random.default_rng(0).permutation(clips))
    size = min(size, clips)
    for first in range(0, clips, max(size, 1)):
        own = order[first : first + size]
        yield torch.cat([own, order[: size - len(own)]]), len(own)
