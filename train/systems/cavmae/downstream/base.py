"""What a downstream task is: its batches, its loss, its scores."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from avstore.train.data import Augment, Batch, BatchSpec, OpenStore, SampleList, batches
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig
from avstore.train.systems.cavmae.model import CAVMAE


@dataclass(frozen=True)
class Material:
    """What a task is made of."""

    store: OpenStore
    train: SampleList
    evaluation: SampleList


class Downstream(nn.Module):
    """A backbone and a head. A task gives `head`, `spec`, `loss` and `scores`."""

    roles: tuple[str, ...] = ("eval", "retrieval")  # what it is evaluated on: the first there is
    segments: str | None = None  # modality of the labels of parts that its lists need
    headline = "accuracy"
    head: nn.Module

    def __init__(self, model: CAVMAE, config: DownstreamConfig, material: Material) -> None:
        super().__init__()
        self.model = model.requires_grad_(not config.frozen)
        self.config = config
        self.material = material

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def train(self, mode: bool = True) -> "Downstream":
        """A frozen backbone is never in training mode."""
        super().train(mode)
        self.model.train(mode and not self.config.frozen)
        return self

    def spec(self, *, random: bool) -> BatchSpec:
        """What the loader is asked for."""
        c = self.config
        return BatchSpec(
            batch_size=c.batch_size if random else c.eval_batch,
            frames=c.model.frames,
            image_size=c.model.image_size,
            fbank_frames=c.model.fbank_frames,
            seconds=c.data.seconds,
            random=random,
            noise=c.noise,
            mean=c.data.mean,
            std=c.data.std,
            decode=c.data.finish,
            fbank=c.data.finish,
            augment=Augment(crop=c.cropped, freq_mask=c.freq_mask, time_mask=c.time_mask),
        )

    def batches(self, spec: BatchSpec, samples: SampleList, epoch: int = 0) -> Iterator[Batch]:
        """Batches on the device."""
        c = self.config
        for batch in batches(samples, spec, seed=c.seed, epoch=epoch, workers=c.data.workers):
            yield batch.to(self.device)

    def loss(self, batch: Batch) -> Tensor:
        """What is trained, a scalar."""
        raise NotImplementedError

    def scores(self, *, final: bool) -> dict[str, float]:
        """On the evaluation list; final: of the model that is reported."""
        raise NotImplementedError

    def at_window(self, start: float) -> BatchSpec:
        """Evaluation with the frames of one window, a second apart."""
        spec = self.spec(random=False)
        times = tuple(start + k for k in range(spec.frames))
        return replace(spec, frame_choice="times", frame_times=times)
