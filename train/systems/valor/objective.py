"""HAN and VALOR as a system: weak labels of clips, scored by the events of each second."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.classifier import targets_of
from avstore.train.data import Batch, BatchSpec
from avstore.train.errors import UserError
from avstore.train.evaluation.parsing import parsing
from avstore.train.objective import Objective, Output, Scores, eval_mode
from avstore.train.systems.valor.model import Parsed, ParsingNet
from avstore.train.systems.valor.model_config import GROUP, MAP_TOKENS, SEGMENTS
from avstore.train.systems.valor.settings import ValorSettings
from avstore.train.systems.valor.weights import load_weights
from avstore.train.task_matrix import Measure

_LEAST = 1e-7  # probabilities are kept this far from 0 and 1, as published

# Rows of each input that the network takes.
_SLOTS: dict[str, tuple[int, ...]] = {
    "audio": (SEGMENTS, MAP_TOKENS),
    "visual": (SEGMENTS, SEGMENTS * GROUP),
    "motion": (SEGMENTS,),
}
_LEVELS = {"segment": "segments", "event": "events"}
_TYPES = {
    "audio": "audio",
    "visual": "visual",
    "audio_visual": "audio-visual",
    "type": "Type@AV",
    "event": "Event@AV",
}


class ValorObjective(Objective):
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
        super().__init__()
        self.model, self.specs = model, (evaluation, training)
        self.settings = settings
        self.idle = model.config.unused != "none"

    def forward(self, batch: Batch, draws: None = None) -> Output:
        """Return the losses of the clip and of its modalities, and the logits of its seconds."""
        parsed = self.parse(batch)
        losses = self._losses(parsed, batch)
        total = torch.stack([*losses.values()]).sum(0)
        return Output(total, losses, {"events": parsed.logits.flatten(1)})

    def parse(self, batch: Batch) -> Parsed:
        """Return what the network says of a batch.

        Raises:
            UserError: A feature has another shape than the network's input.
        """
        out: Parsed = self.model(*(self._feature(batch, slot) for slot in _SLOTS))
        return out

    def _feature(self, batch: Batch, slot: str) -> Tensor:
        name, width = getattr(self.settings, slot), getattr(self.model.config, f"{slot}_width")
        value = batch.features[name]
        if value.shape[2] != width:
            raise UserError(
                f"{name} has rows of {value.shape[2]} values and the network takes {width}; set "
                f"model.{slot}_width={value.shape[2]}, or give another objective.{slot}"
            )
        if value.shape[1] not in (allowed := _SLOTS[slot]):
            raise UserError(
                f"{name} has {value.shape[1]} rows, and objective.{slot} takes "
                f"{' or '.join(map(str, allowed))}; give another feature"
            )
        return value.float()

    def _losses(self, parsed: Parsed, batch: Batch) -> dict[str, Tensor]:
        """Return the losses by name, each [B]."""
        labels = targets_of(batch).float()
        losses = {"video": _bce(parsed.video, labels)}
        if self.settings.loss == "han":
            audio, visual = parsed.modalities.unbind(1)
            epsilon = self.settings.visual_smoothing
            smooth = (1 - epsilon) * labels + epsilon / 2
            return losses | {"audio": _bce(audio, labels), "visual": _bce(visual, smooth)}
        audio, visual = parsed.logits.unbind(2)
        heard, seen = (batch.features[name].float() for name in self.settings.teachers)
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

    def weights(self) -> dict[str, Any]:
        """Return the network's weights."""
        return self.model.state_dict()

    def load(self, path: Path) -> None:
        """Load the network's weights: of a run, or released ones."""
        load_weights(self.model, path)

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


def _bce(probability: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of each row's classes [B]."""
    # In float32: 1 - 1e-7 is 1 in half precision.
    clamped = probability.float().clamp(_LEAST, 1 - _LEAST)
    return F.binary_cross_entropy(clamped, target, reduction="none").mean(1)


def _by_row(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of each row's seconds and classes [B]."""
    each = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return each.mean((1, 2))
