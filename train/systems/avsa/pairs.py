"""AVC-Bin and AVSA-Bin: a head on frozen encoders tells sound that fits from sound that does not.

The sound is of another clip (AVC-Bin), or turned about the vertical axis (AVSA-Bin).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avstore.train import dist
from avstore.train.config import Config
from avstore.train.data import Batch, BatchSpec
from avstore.train.errors import UserError
from avstore.train.objective import Objective, Output, Scores, eval_mode, gathered, rows_of
from avstore.train.systems import sections
from avstore.train.systems.avsa.inputs import pictures, sounds, view_spec
from avstore.train.systems.avsa.model import AlignmentNet
from avstore.train.systems.avsa.model_config import AVSAConfig
from avstore.train.systems.avsa.settings import PairSettings
from avstore.train.systems.avsa.weights import load_backbone, read_head
from avstore.train.systems.state_dicts import fit_state_dict, saved_config
from avstore.train.task_matrix import Measure

_LEAST_CLIPS = 2


def batch_spec(config: Config, *, training: bool) -> BatchSpec:
    """Return what the loader must deliver: views, for AVSA-Bin with the sound of half turned."""
    _, own = sections(config, AVSAConfig, PairSettings)
    turned = 0.5 if own.pairs == "yaw" else 0.0
    return view_spec(config, own, training=training, turned=turned)


def build(config: Config, training: BatchSpec, evaluation: BatchSpec) -> "PairObjective":
    """Return the system with new weights."""
    shape, own = sections(config, AVSAConfig, PairSettings)
    return PairObjective(AlignmentNet(shape), training, evaluation, own)


@dataclass(frozen=True)
class Partners:
    """Whose sound each row of a batch is wrongly given.

    Attributes:
        number: int64 [B], row of the batch of all processes.
    """

    number: Tensor

    def rows(self, index: Any) -> "Partners":
        """Return the choices for some rows."""
        return Partners(self.number[index])


class PairObjective(Objective):
    """A head of two layers on the embeddings of each view; logits are averaged over views.

    Args:
        model: The networks, which are not trained and stay in evaluation mode.
        training: What the loader delivers in training.
        evaluation: What the loader delivers in evaluation.
        settings: What the head tells apart.
    """

    def __init__(
        self,
        model: AlignmentNet,
        training: BatchSpec,
        evaluation: BatchSpec,
        settings: PairSettings,
    ) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.specs, self.settings = (evaluation, training), settings
        width = model.config.width
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 2))
        if settings.predicted and model.audio_predictor is None:
            raise UserError(
                "objective.predicted = true needs predictors; set model.predictors=context"
            )

    def train(self, mode: bool = True) -> "PairObjective":
        """Set the training mode; the networks stay in evaluation mode."""
        super().train(mode)
        self.model.eval()
        return self

    def draw(self, batch: Batch) -> Partners | None:
        """Return a random other row of the batch of all processes for each row; None for yaws."""
        if self.settings.pairs == "yaw":
            return None
        count = len(batch) * dist.world_size()
        if count < _LEAST_CLIPS:
            raise UserError("AVC-Bin needs at least 2 clips in a batch; set batch_size")
        own = torch.arange(count)
        drawn = torch.randint(count - 1, (count,))
        partner = drawn + (drawn >= own)
        return Partners(partner[dist.rank() :: dist.world_size()])

    def forward(self, batch: Batch, draws: Partners | None = None) -> Output:
        """Return the mean cross-entropy of each clip's views, and pairs."""
        video, audio = self.embed(batch)
        if self.settings.pairs == "yaw":
            logits = self.logits(video, audio)
            return Output(_view_losses(logits, wrong(batch)), embeddings={"logits": logits.mean(1)})
        partners = draws or self.draw(batch)
        if partners is None:
            raise TypeError("AVC-Bin draws partners")
        every = dist.gather_rows(audio)
        every = dist.in_order(every) if dist.active() else every
        number = partners.number.to(audio.device)
        right, other = self.logits(video, audio), self.logits(video, every[number])
        zeros = torch.zeros(len(video), dtype=torch.long, device=video.device)
        losses = (_view_losses(right, zeros) + _view_losses(other, zeros + 1)) / 2
        return Output(losses, embeddings={"logits": torch.cat([right, other], 1).flatten(1)})

    @torch.no_grad()
    def embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what the head sees of pictures and of sound, [B, V, D]."""
        video, audio = self.model.embed(pictures(batch), sounds(batch))
        if self.settings.predicted and self.model.audio_predictor is not None:
            video = self.model.audio_predictor(video)
        return video, audio

    def logits(self, video: Tensor, audio: Tensor) -> Tensor:
        """Return logits [B, V, 2]: fits, does not fit."""
        out: Tensor = self.head(self.dropout(torch.cat([video, audio], -1)))
        return out

    @torch.no_grad()
    def scores(self, batches: Iterable[Batch], groups: Mapping[str, Sequence[str]]) -> Scores:
        """Return the accuracy of clips (mean logits of views) and of views, in percent, by group.

        For AVC-Bin each clip of a group is paired with its own sound and with that of another clip
        of the group, in a random order that is always the same. For AVSA-Bin the share of turned
        sound is drawn, so `balanced_accuracy` is there too: the mean over both answers, 50 for a
        head that always gives the same one.
        """
        windows = self.settings.windows
        with eval_mode(self):
            found = gathered(batches, self._scored)
            ids = found[0][::windows]
            video, audio, truth = (x.view(len(ids), windows, *x.shape[1:]) for x in found[1])
            return {
                name: self._accuracies(video[own], audio[own], truth[own])
                for name, own in rows_of(ids, groups).items()
            }

    def _scored(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        truth = wrong(batch) if self.settings.pairs == "yaw" else torch.zeros(len(batch))
        return (*self.embed(batch), truth.long())

    def _accuracies(self, video: Tensor, audio: Tensor, truth: Tensor) -> dict[str, float]:
        """Return the accuracies of embeddings [N, windows, V, D]."""
        if self.settings.pairs == "clips":
            if len(video) < _LEAST_CLIPS:
                return {"accuracy": np.nan, "view_accuracy": np.nan}
            order = torch.from_numpy(np.random.default_rng(0).permutation(len(video)))
            other = torch.empty_like(order)
            other[order] = order.roll(1)
            video, audio = video.repeat(2, 1, 1, 1), torch.cat([audio, audio[other]])
            truth = torch.cat([truth, truth + 1])
        device = next(self.head.parameters()).device
        logits = torch.cat(
            [
                self.logits(v.flatten(0, 1).to(device), a.flatten(0, 1).to(device)).cpu()
                for v, a in zip(torch.split(video, 256), torch.split(audio, 256), strict=True)
            ]
        )
        right = truth.flatten()
        hits = (logits.mean(1).argmax(1) == right).float()
        found = {
            "accuracy": 100 * float(hits.mean()),
            "view_accuracy": 100 * float((logits.argmax(2) == right[:, None]).float().mean()),
        }
        if self.settings.pairs == "yaw":
            found["balanced_accuracy"] = 100 * balanced(hits, right)
        return found

    def weights(self) -> dict[str, Any]:
        """Return the weights of networks and head."""
        return self.state_dict()

    def load(self, path: Path) -> None:
        """Load the networks of AVSA's weights, and the head of a run that told the same apart.

        Raises:
            UserError: The file does not fit.
        """
        load_backbone(self.model, path, context=self.settings.predicted)
        head, own = read_head(path), self.settings
        saved = saved_config(path).get("objective", {})
        if (saved.get("pairs"), saved.get("predicted")) != (own.pairs, own.predicted):
            head = {}
        self.untrained = () if head else ("head",)
        if head:
            fit_state_dict(self.head, head, path)

    def measure(self, gallery: int) -> Measure:
        """Return the accuracy as what a task matrix shows."""
        name = "AVC-Bin" if self.settings.pairs == "clips" else "AVSA-Bin"
        words = {"accuracy": "accuracy", "view_accuracy": "accuracy of views"}
        if self.settings.pairs == "yaw":
            words["balanced_accuracy"] = "balanced accuracy"
        return Measure(name, "accuracy", f"accuracy of {name}", ("accuracy",), words, 50.0)


def wrong(batch: Batch) -> Tensor:
    """Return 1 for clips whose sound was turned and 0 for others, int64 [B]."""
    turned: Tensor = ~batch["aligned"].bool()
    return turned.long()


def balanced(hits: Tensor, truth: Tensor) -> float:
    """Return the mean over true answers of the share of hits.

    Args:
        hits: 1 where the answer is right, else 0, float [N].
        truth: True answers, 0 or 1 [N].
    """
    rates = [hits[truth == each].mean() for each in (0, 1) if (truth == each).any()]
    return float(torch.stack(rates).mean())


def _view_losses(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean cross-entropy of each row's views [B]."""
    views = logits.shape[1]
    each = F.cross_entropy(
        logits.flatten(0, 1).float(), truth.repeat_interleave(views), reduction="none"
    )
    return each.view(-1, views).mean(1)
