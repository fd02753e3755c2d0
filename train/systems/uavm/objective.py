"""UAVM as a system: a classifier of stored features, trained on one modality a step."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from avstore.train.classifier import LOGITS, Classifier, Views, row_losses, targets_of
from avstore.train.data import Batch, BatchSpec, Turns
from avstore.train.errors import UserError
from avstore.train.evaluation.classification import BOTH, with_both
from avstore.train.objective import Output
from avstore.train.parameters import ParameterLayout
from avstore.train.systems.uavm.layers import Trace
from avstore.train.systems.uavm.model import UAVM
from avstore.train.systems.uavm.model_config import MODALITIES, Modality
from avstore.train.systems.uavm.settings import Loss, UAVMSettings
from avstore.train.systems.uavm.weights import load_weights
from avstore.train.task_matrix import Measure

_VIEWS = {"audio": "audio", "video": "video", BOTH: "audio and video"}


@dataclass(frozen=True)
class DrawnModality:
    """The modality that all rows of a step are seen by."""

    modality: Modality

    def rows(self, _index: Any) -> "DrawnModality":
        """Return the choice for some rows: the same."""
        return self


class UAVMObjective(Classifier):
    """Classification by the modality of the step; by both at once in "cross_attention".

    All rows of a step, replayed ones too, are seen by one modality, as published. What a method
    keeps of a row's logits may thus come from the other one: it draws the two together.

    Args:
        model: The model.
        training: What the loader delivers in training.
        evaluation: What the loader delivers in evaluation.
        settings: What a step sees and minimises.
        seed: Seed of the run, for the modality of each step.

    Raises:
        UserError: A batch lacks a feature, or its labels are not multi-hot.
    """

    def __init__(
        self,
        model: UAVM,
        training: BatchSpec,
        evaluation: BatchSpec,
        settings: UAVMSettings,
        seed: int,
    ) -> None:
        super().__init__()
        self.model, self.specs = model, (evaluation, training)
        self.settings, self.seed = settings, seed
        self.crosses = model.config.kind == "cross_attention"
        self.idle = not self.crosses
        for spec in self.specs:
            _require_inputs(spec, settings)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.model.config.classes

    @property
    def loss(self) -> Loss:
        """What a step minimises."""
        return self.settings.loss

    def draw(self, batch: Batch) -> DrawnModality | None:
        """Return the modality of the batch's step; None if it sees both."""
        if self.crosses:
            return None
        return DrawnModality(modality_of_step(self.seed, batch.step, self.settings.audio_share))

    def forward(self, batch: Batch, draws: DrawnModality | None = None) -> Output:
        """Return losses and logits by the modality of the step, drawn or given."""
        drawn = draws or self.draw(batch)
        if drawn is None:
            logits = self.model(*self.features(batch))
        else:
            name = getattr(self.settings, drawn.modality)
            logits = self.model(**{drawn.modality: batch.features[name].float()})
        losses = row_losses(logits, targets_of(batch), self.loss)
        return Output(losses, embeddings={LOGITS: logits})

    def features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the audio and the video feature of a batch, [B, rows, input_width]."""
        s = self.settings
        return batch.features[s.audio].float(), batch.features[s.video].float()

    def embed(self, batch: Batch) -> Views:
        """Return the mean over time of the last block's tokens [B, D], by view."""
        return {view: trace.embeddings[-2] for view, trace in self.traces(batch).items()}

    def classify(self, batch: Batch) -> Views:
        """Return logits [B, C] by audio, by video and by both (their mean), as published."""
        return with_both({view: t.embeddings[-1] for view, t in self.traces(batch).items()})

    def traces(self, batch: Batch) -> dict[str, Trace]:
        """Return what the model computes of a batch, by view."""
        audio, video = self.features(batch)
        if self.crosses:
            return {BOTH: self.model.trace(audio, video)}
        return {"audio": self.model.trace(audio=audio), "video": self.model.trace(video=video)}

    def weights(self) -> dict[str, Any]:
        """Return the model's weights."""
        return self.model.state_dict()

    def load(self, path: Path) -> None:
        """Load the model's weights: of a run, or released ones."""
        load_weights(self.model, path)

    @property
    def layout(self) -> ParameterLayout:
        """The position tables of the model."""
        return ParameterLayout(lambda name: name.endswith(".pos"))

    def measure(self, gallery: int) -> Measure:
        """Return what a task matrix shows: accuracy, or with "bce" mean average precision."""
        shown = {BOTH: _VIEWS[BOTH]} if self.crosses else _VIEWS
        return self.class_measure(shown, BOTH)


def _require_inputs(spec: BatchSpec, settings: UAVMSettings) -> None:
    """Raise UserError for a spec without the two features and multi-hot labels."""
    names = (settings.audio, settings.video)
    if missing := [name for name in names if name not in spec.read]:
        raise UserError(
            f"UAVM needs the features {' and '.join(names)}, and the BatchSpec does not read "
            f"{' and '.join(missing)}; add it to read"
        )
    if spec.labels != "multi_hot":
        raise UserError(
            f"UAVM needs labels='multi_hot', and the BatchSpec gives {spec.labels!r}; set labels"
        )


def modality_of_step(seed: int, step: int, audio_share: float = 0.5) -> Modality:
    """Return the modality that a whole step trains ("unified" and "independent").

    A function of seed and step alone, so it is the same on every process and after a resume.

    Args:
        seed: Seed of the run.
        step: Number of the step in the run, from 0.
        audio_share: Probability of audio (the paper's λ_MT).
    """
    return "audio" if Turns(MODALITIES, audio_share, seed).takes_first(step) else "video"
