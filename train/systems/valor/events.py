"""The parsing network on AVE: one audio-visual event, or background, in each second.

Derived: VALOR's authors published no code for AVE. What is theirs and what is ours is in
docs/published.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.clip_scores import ClipScores, Event, events_of
from avstore.train.data import Batch, BatchSpec, SampleList
from avstore.train.errors import UserError
from avstore.train.evaluation.events import event_accuracy, event_loss
from avstore.train.objective import Output, Scores, eval_mode
from avstore.train.systems.valor.base import ParsingObjective, clip_loss
from avstore.train.systems.valor.model import Parsed, ParsingNet
from avstore.train.systems.valor.settings import EventSettings, Target
from avstore.train.task_matrix import Measure


@dataclass(frozen=True)
class Localised:
    """What the network says of clips, by ear and eye together; the last class is background.

    Attributes:
        logits: Of each class in each second, [B, 10, C].
        clip: Probability of each class in the clip, [B, C].
    """

    logits: Tensor
    clip: Tensor


def localise(parsed: Parsed) -> Localised:
    """Join the modalities by their attention, and pool the seconds by theirs."""
    logits = (parsed.shares * parsed.logits).sum(2).float()
    times = (parsed.shares * parsed.times).sum(2).float()
    return Localised(logits, (times.softmax(1) * logits.softmax(-1)).sum(1))


class EventObjective(ParsingObjective):
    """Localisation of events, from labels of seconds or of clips, and from pseudo labels.

    Args:
        model: The network; its last class is background.
        training: What the loader delivers in training.
        evaluation: What the loader delivers in evaluation.
        settings: What a step sees and minimises.
    """

    def __init__(
        self,
        model: ParsingNet,
        training: BatchSpec,
        evaluation: BatchSpec,
        settings: EventSettings,
    ) -> None:
        super().__init__(model, training, evaluation, settings)
        self.settings = settings
        self.events = model.config.classes - 1
        # Only the clip's loss uses the attention over seconds.
        self.idle = self.idle or "clip" not in settings.targets

    def check(self, samples: SampleList) -> None:
        """Check that the clips' classes are the network's, without background."""
        if samples.classes != self.events:
            raise UserError(
                f"the clips are of a dataset with {samples.classes} classes and the network has "
                f"{self.events} and background; set model.classes={samples.classes + 1}, or take a "
                "config of that dataset"
            )

    def forward(self, batch: Batch, draws: None = None) -> Output:
        """Return a loss for each of `settings.targets`, and the logits of the seconds."""
        found = localise(self.parse(batch))
        losses: dict[str, Tensor] = {
            name: self._loss(name, found, batch) for name in self.settings.targets
        }
        total = torch.stack([*losses.values()]).sum(0)
        return Output(total, losses, {"events": found.logits.flatten(1)})

    def _loss(self, target: Target, found: Localised, batch: Batch) -> Tensor:
        if target == "seconds":
            return event_loss(found.logits, seconds_of(batch))
        if target == "clip":
            # The clip's labels do not say whether it has background.
            return clip_loss(found.clip[:, :-1], clips_of(batch)[:, :-1])
        return event_loss(found.logits, both_teachers(*self.pseudo_labels(batch, self.events)))

    @torch.no_grad()
    def scores(self, batches: Iterable[Batch], groups: Mapping[str, Sequence[str]]) -> Scores:
        """Return the accuracy over the seconds of each group's clips, background included.

        `clips_scored` is the number of these clips.
        """
        found: dict[str, tuple[Tensor, Tensor]] = {}
        with eval_mode(self):
            for batch in batches:
                logits = localise(self.parse(batch)).logits.cpu()
                rows = zip(logits, seconds_of(batch).cpu(), strict=True)
                found |= dict(zip(batch.clip_ids, rows, strict=True))
        self.clip_scores = self._clip_scores(found)
        scores = {}
        for name, ids in {**groups, "all": [*found]}.items():
            scores[name] = {"clips_scored": float(len(ids))}
            if ids:
                own = zip(*(found[clip_id] for clip_id in ids), strict=True)
                scores[name] |= event_accuracy(*(torch.stack(parts) for parts in own))
        return scores

    def _clip_scores(self, found: Mapping[str, tuple[Tensor, Tensor]]) -> ClipScores:
        """Return the accuracy over each clip's seconds, and the events, without background."""
        values: dict[str, float] = {}
        events: list[Event] = []
        for clip_id, (logits, truth) in found.items():
            best = logits.argmax(-1)
            values[clip_id] = 100 * float(truth.gather(1, best[:, None]).float().mean())
            active = F.one_hot(best, logits.shape[-1])[:, None, : self.events].bool()
            events += events_of(clip_id, active, ("both",))
        return ClipScores("accuracy over its seconds", values, events)

    def measure(self, gallery: int) -> Measure:
        """Return the accuracy over seconds as what a task matrix shows."""
        return Measure(
            subject="Event localisation",
            name="accuracy",
            definition="accuracy over seconds, background included",
            shown=("accuracy",),
            summarised={"accuracy": "accuracy over seconds"},
            chance=None,
        )


def seconds_of(batch: Batch) -> Tensor:
    """Return the annotated classes of each second, 0 or 1, [B, 10, C].

    Raises:
        TypeError: The batch has other labels.
    """
    if not isinstance(batch.labels, Tensor) or batch.labels.dim() != 3:
        raise TypeError("load the batch with labels='segments'")
    return batch.labels


def clips_of(batch: Batch) -> Tensor:
    """Return the classes of each clip, 0 or 1, [B, C], of labels of clips or of seconds."""
    if not isinstance(batch.labels, Tensor):
        raise TypeError("load the batch with labels='multi_hot' or labels='segments'")
    return batch.labels.amax(1) if batch.labels.dim() == 3 else batch.labels


def both_teachers(heard: Tensor, seen: Tensor) -> Tensor:
    """Return what both teachers say of each second [B, 10, C + 1]: background if nothing.

    Args:
        heard: 0 or 1, [B, 10, C].
        seen: 0 or 1, [B, 10, C].
    """
    both = heard * seen
    return torch.cat([both, 1 - both.amax(-1, keepdim=True)], dim=-1)
