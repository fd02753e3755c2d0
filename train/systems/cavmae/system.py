"""CAV-MAE and STELLA's form of it, as configs name them."""

from typing import Any

from avstore.train.config import Config, RunConfig
from avstore.train.data import BatchSpec
from avstore.train.loader_settings import augment
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.objective import CAVMAEObjective


def batch_spec(config: RunConfig, *, training: bool, **own: Any) -> BatchSpec:
    """Return what the loader must deliver; in evaluation the middle window, not augmented.

    Args:
        config: The configuration.
        training: Whether it is for training.
        own: Settings of the spec that a downstream task has otherwise.
    """
    m, d = config.model, config.data
    settings: dict[str, Any] = {
        "batch_size": config.batch_size if training else config.eval_batch,
        "frames": m.frames,
        "image_size": m.image_size,
        "fbank_frames": m.fbank_frames,
        "seconds": d.seconds,
        "random": training,
        "mean": d.mean,
        "std": d.std,
        "decode": d.finish,
        "fbank": d.finish,
        "frame_choice": d.frame_choice if training else None,
        "augment": augment(d),
    }
    return BatchSpec(**{**settings, **own})


def build(config: Config, training: BatchSpec, evaluation: BatchSpec) -> CAVMAEObjective:
    """Return the system with new weights."""
    return CAVMAEObjective(CAVMAE(config.model), training, evaluation, config.ties)
