"""What the systems of the parsing network share: its inputs, its weights, pseudo labels."""

from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from avstore.train.data import Batch, BatchSpec
from avstore.train.errors import UserError
from avstore.train.objective import Objective
from avstore.train.systems.valor.model import Parsed, ParsingNet
from avstore.train.systems.valor.model_config import GROUP, MAP_TOKENS, SEGMENTS
from avstore.train.systems.valor.settings import Inputs
from avstore.train.systems.valor.weights import load_weights

_LEAST = 1e-7  # probabilities are kept this far from 0 and 1, as published

# Rows of each input that the network takes.
_SLOTS: dict[str, tuple[int, ...]] = {
    "audio": (SEGMENTS, MAP_TOKENS),
    "visual": (SEGMENTS, SEGMENTS * GROUP),
    "motion": (SEGMENTS,),
}


class ParsingObjective(Objective):
    """A system whose model is a parsing network.

    Args:
        model: The network.
        training: What the loader delivers in training.
        evaluation: What the loader delivers in evaluation.
        inputs: The features that it sees.
    """

    def __init__(
        self, model: ParsingNet, training: BatchSpec, evaluation: BatchSpec, inputs: Inputs
    ) -> None:
        super().__init__()
        self.model, self.specs = model, (evaluation, training)
        self.inputs = inputs
        self.idle = model.config.unused != "none"

    def parse(self, batch: Batch) -> Parsed:
        """Return what the network says of a batch.

        Raises:
            UserError: A feature has another shape than the network's input.
        """
        out: Parsed = self.model(*(self._feature(batch, slot) for slot in _SLOTS))
        return out

    def _feature(self, batch: Batch, slot: str) -> Tensor:
        name, width = getattr(self.inputs, slot), getattr(self.model.config, f"{slot}_width")
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

    def pseudo_labels(self, batch: Batch, classes: int) -> tuple[Tensor, ...]:
        """Return the pseudo labels of each teacher, float [B, 10, classes].

        Raises:
            UserError: They are of other classes.
        """
        for name in self.inputs.teachers:
            if (found := tuple(batch.features[name].shape[1:])) != (SEGMENTS, classes):
                raise UserError(
                    f"{name} has pseudo labels of shape {found}, and the network learns from "
                    f"({SEGMENTS}, {classes}); build them for the clips' dataset"
                )
            value = batch.features[name]
            if bad := ((value != 0) & (value != 1)).flatten(1).any(1).nonzero().flatten().tolist():
                raise UserError(
                    f"{name} of {batch.clip_ids[bad[0]]} has values other than 0 and 1; "
                    "`avstore features labels` names all such clips; import or build them again"
                )
        return tuple(batch.features[name].float() for name in self.inputs.teachers)

    def weights(self) -> dict[str, Any]:
        """Return the network's weights."""
        return self.model.state_dict()

    def load(self, path: Path) -> None:
        """Load the network's weights: of a run, or released ones."""
        load_weights(self.model, path)


def clip_loss(probability: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of each clip's classes [B].

    Args:
        probability: Of each class in the clip, [B, C].
        target: 0 to 1, [B, C].
    """
    # In float32: 1 - 1e-7 is 1 in half precision.
    clamped = probability.float().clamp(_LEAST, 1 - _LEAST)
    return F.binary_cross_entropy(clamped, target, reduction="none").mean(1)
