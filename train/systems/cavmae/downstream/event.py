"""Audio-visual event localisation: the event of each second (AVE, Tian et al., ECCV 2018)."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.data import Batch, BatchSpec
from avstore.train.evaluation.events import event_accuracy, event_loss
from avstore.train.objective import Output, Scores, eval_mode, gathered, rows_of
from avstore.train.systems.cavmae.downstream.base import Downstream
from avstore.train.systems.cavmae.downstream.classify import ClassHead, pooled
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig
from avstore.train.systems.cavmae.downstream.data import DownstreamData
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.system import batch_spec
from avstore.train.task_matrix import Measure, classification_measure

SECONDS = 10
CLASSES = 29
BACKGROUND = 28
FRAMES = 98  # fbank frames of one second: windows of 25 ms every 10 ms


class Event(Downstream):
    """Classifies each second by its own frames and its own second of audio.

    The released code has neither head nor loss for it (bug B4); here it is the classification head
    on each second, with cross-entropy.
    """

    segments = "both"

    def __init__(self, model: CAVMAE, config: DownstreamConfig, data: DownstreamData) -> None:
        super().__init__(model, config, data)
        self.head = ClassHead(config.model.width, CLASSES)

    def spec(self, *, training: bool) -> BatchSpec:
        """Return a spec with all frames, the whole fbank and the labels of segments."""
        return batch_spec(
            self.config,
            training=training,
            frame_choice="even",
            frames=SECONDS * self.config.model.frames,
            # The whole stored fbank, from which `logits` cuts the seconds.
            fbank_frames=int(100 * self.config.data.seconds),
            labels="segments",
            segments=SECONDS,
            classes=CLASSES,
            background=BACKGROUND,
        )

    def logits(self, batch: Batch) -> Tensor:
        """Return logits [B, 10, 29]."""
        m, d = self.config.model, self.config.data
        video = batch.frames.reshape(-1, m.frames, *batch.frames.shape[2:])
        first = starts(SECONDS, batch.fbank.shape[2], self.config.audio_windows)
        silence = (0.0 - d.mean) / d.std
        audio = torch.stack(
            [one_second(batch.fbank, start, m.fbank_frames, silence) for start in first], dim=1
        ).flatten(0, 1)
        features = pooled(*self.backbone(self.model.features, video, audio))
        out: Tensor = self.head(features).reshape(len(batch), SECONDS, CLASSES)
        return out

    def forward(self, batch: Batch, draws: None = None) -> Output:
        """Return the mean cross-entropy of each clip's seconds."""
        return Output(event_loss(self.logits(batch), _labels(batch)))

    @torch.no_grad()
    def scores(self, batches: Iterable[Batch], groups: Mapping[str, Sequence[str]]) -> Scores:
        """Return the accuracy over seconds."""
        with eval_mode(self):
            clip_ids, (predicted, truth) = gathered(
                batches, lambda batch: (self.logits(batch).float(), _labels(batch))
            )
        return {
            name: event_accuracy(predicted[own], truth[own])
            for name, own in rows_of(clip_ids, groups).items()
        }

    def measure(self, gallery: int) -> Measure:
        """Return the accuracy as what a task matrix shows."""
        return classification_measure("accuracy")


def _labels(batch: Batch) -> Tensor:
    if not isinstance(batch.labels, Tensor):
        raise TypeError("the batch has labels of clips; load it with the spec of `Event.spec`")
    return batch.labels


def starts(seconds: int, frames: int, where: str) -> list[int]:
    """Return the first fbank frame (10 ms each) of each second of a clip.

    Args:
        seconds: Number of seconds.
        frames: Fbank frames of the clip.
        where: "seconds" begins second k at k. "published" spreads the seconds evenly up to 1.1 s
            before the end, as the released code does, so that they drift from the frames' seconds
            by up to 0.1 s (bug B13).
    """
    if where == "published":
        last = frames / 100 - 1.1
        return [round(100 * float(x)) for x in torch.linspace(0, last, seconds)]
    return [100 * second for second in range(seconds)]


def one_second(audio: Tensor, start: int, length: int, silence: float) -> Tensor:
    """Return one second of an fbank in the middle of silence.

    The second of a clip's fbank equals the fbank of the second alone, because its windows are
    within the second and each has its offset removed.

    Args:
        audio: Fbanks [B, 1, N, mels].
        start: First frame; the second is [start, start + 98).
        length: Frames of the result.
        silence: Value of silence, normalised.

    Returns:
        Fbanks [B, 1, length, mels].
    """
    own = audio[:, :, start : start + FRAMES]
    own = F.pad(own, (0, 0, 0, FRAMES - own.shape[2]), value=silence)[:, :, :length]
    before = (length - own.shape[2]) // 2
    after = length - own.shape[2] - before
    return F.pad(own, (0, 0, before, after), value=silence)
