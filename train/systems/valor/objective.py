"""HAN and VALOR as a system: weak labels of clips, scored by the events of each second."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.classifier import targets_of
from avstore.train.clip_scores import ClipScores, events_of, overlap
from avstore.train.data import Batch, BatchSpec, SampleList
from avstore.train.errors import UserError
from avstore.train.evaluation.parsing import parsing
from avstore.train.objective import Output, Scores, eval_mode
from avstore.train.systems.valor.base import ParsingObjective, clip_loss
from avstore.train.systems.valor.model import Parsed, ParsingNet
from avstore.train.systems.valor.settings import ValorSettings
from avstore.train.task_matrix import Measure

MODALITIES = ("audio", "visual")
_LEVELS = {"segment": "segments", "event": "events"}
_TYPES = {
    "audio": "audio",
    "visual": "visual",
    "audio_visual": "audio-visual",
    "type": "Type@AV",
    "event": "Event@AV",
}


class ValorObjective(ParsingObjective):
    """Multiple-instance learning of clips, and of seconds where teachers label them.

    Args:
        model: The network.
        training: What the loader delivers in training.
        evaluation: What the loader delivers in evaluation.
        settings: What a step sees and minimises.
    """

    def __init__(
        self,
        model: ParsingNet,
        training: BatchSpec,
        evaluation: BatchSpec,
        settings: ValorSettings,
    ) -> None:
        super().__init__(model, training, evaluation, settings)
        self.settings = settings

    def check(self, samples: SampleList) -> None:
        """Check that the clips' classes are the network's."""
        if samples.classes != (own := self.model.config.classes):
            raise UserError(
                f"the clips are of a dataset with {samples.classes} classes and the network has "
                f"{own}; set model.classes={samples.classes}, or take a config of that dataset"
            )

    def forward(self, batch: Batch, draws: None = None) -> Output:
        """Return the losses of the clip and of its modalities, and the logits of its seconds."""
        parsed = self.parse(batch)
        losses = self._losses(parsed, batch)
        total = torch.stack([*losses.values()]).sum(0)
        return Output(total, losses, {"events": parsed.logits.flatten(1)})

    def _losses(self, parsed: Parsed, batch: Batch) -> dict[str, Tensor]:
        """Return the losses by name, each [B]."""
        labels = targets_of(batch).float()
        losses = {"video": clip_loss(parsed.video, labels)}
        if self.settings.loss == "han":
            audio, visual = parsed.modalities.unbind(1)
            epsilon = self.settings.visual_smoothing
            smooth = (1 - epsilon) * labels + epsilon / 2
            return losses | {"audio": clip_loss(audio, labels), "visual": clip_loss(visual, smooth)}
        audio, visual = parsed.logits.unbind(2)
        heard, seen = self.pseudo_labels(batch, labels.shape[1])
        return losses | {"audio": _by_row(audio, heard), "visual": _by_row(visual, seen)}

    @torch.no_grad()
    def scores(self, batches: Iterable[Batch], groups: Mapping[str, Sequence[str]]) -> Scores:
        """Return the F-scores of `parsing` of each group's clips with dense annotation.

        `clips_scored` is the number of these clips.
        """
        found: dict[str, tuple[Tensor, Tensor]] = {}
        with eval_mode(self):
            for batch in batches:
                predicted = self.events(self.parse(batch)).cpu()
                truth = truth_of(batch).cpu()
                for clip_id, own, real in zip(batch.clip_ids, predicted, truth, strict=True):
                    if real.any():
                        found[clip_id] = (own, real)
        self.clip_scores = ClipScores(
            "overlap of found and annotated seconds",
            {clip_id: overlap(own, real.bool()) for clip_id, (own, real) in found.items()},
            [e for clip_id, (own, _) in found.items() for e in events_of(clip_id, own, MODALITIES)],
        )
        scores = {}
        for name, ids in {**groups, "all": list(found)}.items():
            known = [found[clip_id] for clip_id in ids if clip_id in found]
            scores[name] = {"clips_scored": float(len(known))}
            if known:
                predicted, truth = (torch.stack(parts) for parts in zip(*known, strict=True))
                scores[name] |= parsing(predicted, truth)
        return scores

    def events(self, parsed: Parsed) -> Tensor:
        """Return which classes are in each second, bool [B, 10, 2, C], of those in the clip."""
        threshold = self.settings.threshold
        seconds: Tensor = parsed.logits.sigmoid() >= threshold
        return seconds & (parsed.video >= threshold)[:, None, None]

    def measure(self, gallery: int) -> Measure:
        """Return Type@AV of segments as what a task matrix shows."""
        return Measure(
            subject="Video parsing",
            name="Type@AV",
            definition="F of segments, mean of audio, visual and audio-visual (Type@AV)",
            shown=("segment_type",),
            summarised={
                f"{level}_{kind}": f"{word}, {name}"
                for level, word in _LEVELS.items()
                for kind, name in _TYPES.items()
            },
            chance=None,
        )


def truth_of(batch: Batch) -> Tensor:
    """Return the annotated events of a batch, 0 or 1, [B, 10, 2, C].

    Raises:
        TypeError: The batch has other labels.
    """
    if not isinstance(batch.labels, Tensor) or batch.labels.dim() != 4:
        raise TypeError("load the batch with labels='segments_by_modality'")
    return batch.labels


def _by_row(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of each row's seconds and classes [B]."""
    each = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return each.mean((1, 2))
