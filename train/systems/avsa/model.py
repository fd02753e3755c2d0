"""AVSA's networks: two encoders, two predictors, and the projections that are compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from avstore.train.systems.avsa.encoders import AudioEncoder, VideoEncoder
from avstore.train.systems.avsa.model_config import AVSAConfig
from avstore.train.systems.avsa.predictors import Predictor


@dataclass(frozen=True)
class Compared:
    """Projections of views [B, V, P]; predictions are None of a model without predictors.

    Attributes:
        video: Of the pictures.
        audio: Of the sound.
        predicted_video: Of the pictures that the sound predicts.
        predicted_audio: Of the sound that the pictures predict.
    """

    video: Tensor
    audio: Tensor
    predicted_video: Tensor | None = None
    predicted_audio: Tensor | None = None

    def to(self, device: str) -> "Compared":
        """Return the same on a device."""
        return self._each(lambda own: own.to(device))

    def rows(self, rows: Tensor) -> "Compared":
        """Return some clips."""
        return self._each(lambda own: own[rows])

    @classmethod
    def cat(cls, parts: "Sequence[Compared]") -> "Compared":
        """Return the clips of all parts."""
        names = [name.name for name in fields(cls) if getattr(parts[0], name.name) is not None]
        return cls(**{name: torch.cat([getattr(own, name) for own in parts]) for name in names})

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Compared":
        video, audio = self.predicted_video, self.predicted_audio
        return Compared(
            change(self.video),
            change(self.audio),
            None if video is None else change(video),
            None if audio is None else change(audio),
        )


class AlignmentNet(nn.Module):
    """Encoders with predictors and projections.

    Attributes:
        video: Encoder of pictures.
        audio: Encoder of sound.
        audio_predictor: Sound from pictures; None without predictors.
        video_predictor: Pictures from sound.
        heads: Linear projections, by what they project: `video`, `audio`, `predicted_video`,
            `predicted_audio`.
    """

    def __init__(self, config: AVSAConfig) -> None:
        super().__init__()
        self.config = config
        self.video, self.audio = VideoEncoder(config), AudioEncoder(config)
        names = ["video", "audio"]
        self.audio_predictor: Predictor | None = None
        self.video_predictor: Predictor | None = None
        if config.predictors != "off":
            self.audio_predictor, self.video_predictor = Predictor(config), Predictor(config)
            names += ["predicted_video", "predicted_audio"]
        self.heads = nn.ModuleDict(
            {name: nn.Linear(config.width, config.projection) for name in names}
        )

    def embed(self, frames: Tensor, spectra: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings of pictures and sound [B, V, D].

        Args:
            frames: Normalised pictures [B, V, T, 3, S, S].
            spectra: Log-mel spectra [B, V, 4, frames, mels].
        """
        return self.embed_video(frames), self.embed_audio(spectra)

    def embed_video(self, frames: Tensor) -> Tensor:
        """Return embeddings [B, V, D] of pictures [B, V, T, 3, S, S]."""
        found: Tensor = self.video(frames.flatten(0, 1).transpose(1, 2))
        return found.view(*frames.shape[:2], -1)

    def embed_audio(self, spectra: Tensor) -> Tensor:
        """Return embeddings [B, V, D] of spectra [B, V, 4, frames, mels]."""
        found: Tensor = self.audio(spectra.flatten(0, 1))
        return found.view(*spectra.shape[:2], -1)

    def forward(self, frames: Tensor, spectra: Tensor) -> Compared:
        """Return what is compared, of the inputs of `embed`."""
        return self.compare(*self.embed(frames, spectra))

    def compare(self, video: Tensor, audio: Tensor) -> Compared:
        """Return the projections of embeddings [B, V, D]."""
        heads = self.heads
        if self.audio_predictor is None or self.video_predictor is None:
            return Compared(heads["video"](video), heads["audio"](audio))
        return Compared(
            heads["video"](video),
            heads["audio"](audio),
            heads["predicted_video"](self.video_predictor(audio)),
            heads["predicted_audio"](self.audio_predictor(video)),
        )
