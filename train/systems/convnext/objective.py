"""UAVM's audio extractor as a system: a classifier of filter banks."""

from pathlib import Path
from typing import Any

from avstore.train.classifier import LOGITS, Classifier, Views, row_losses, targets_of
from avstore.train.data import Batch, BatchSpec
from avstore.train.objective import Output
from avstore.train.systems.convnext.model import ConvNextAudio
from avstore.train.systems.convnext.settings import ConvNextSettings
from avstore.train.systems.convnext.weights import load_weights
from avstore.train.systems.uavm.settings import Loss
from avstore.train.task_matrix import Measure

_VIEW = "audio"


class ConvNextObjective(Classifier):
    """Classification of clips by their filter bank.

    Args:
        model: The model.
        training: What the loader delivers in training.
        evaluation: What the loader delivers in evaluation.
        settings: What a step minimises.
    """

    def __init__(
        self,
        model: ConvNextAudio,
        training: BatchSpec,
        evaluation: BatchSpec,
        settings: ConvNextSettings,
    ) -> None:
        super().__init__()
        self.model, self.specs, self.settings = model, (evaluation, training), settings

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.model.config.classes

    @property
    def loss(self) -> Loss:
        """What a step minimises."""
        return self.settings.loss

    def forward(self, batch: Batch, draws: Any = None) -> Output:
        """Return losses and logits."""
        logits = self.model(batch.fbank)
        return Output(row_losses(logits, targets_of(batch), self.loss), embeddings={LOGITS: logits})

    def embed(self, batch: Batch) -> Views:
        """Return the mean of the trunk's output [B, D]."""
        return {_VIEW: self.model.trunk(batch.fbank).mean((2, 3))}

    def classify(self, batch: Batch) -> Views:
        """Return logits [B, C]."""
        return {_VIEW: self.model(batch.fbank)}

    def weights(self) -> dict[str, Any]:
        """Return the model's weights."""
        return self.model.state_dict()

    def load(self, path: Path) -> None:
        """Load the model's weights: of a run, of ImageNet, or released ones."""
        load_weights(self.model, path)

    def measure(self, gallery: int) -> Measure:
        """Return what a task matrix shows: accuracy, or with "bce" mean average precision."""
        return self.class_measure({_VIEW: "audio"}, _VIEW)
