"""AVSA's networks: two encoders, two predictors, and the projections that are compared."""

from dataclasses import dataclass

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
        if config.predictors != "none":
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
        return found.unflatten(0, frames.shape[:2])

    def embed_audio(self, spectra: Tensor) -> Tensor:
        """Return embeddings [B, V, D] of spectra [B, V, 4, frames, mels]."""
        found: Tensor = self.audio(spectra.flatten(0, 1))
        return found.unflatten(0, spectra.shape[:2])

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
