"""UAVM's audio extractor, as configs name it."""

from avstore.train.config import Config
from avstore.train.data import BatchSpec
from avstore.train.loader_settings import augment
from avstore.train.systems import sections
from avstore.train.systems.convnext.model import ConvNextAudio
from avstore.train.systems.convnext.model_config import ConvNextConfig
from avstore.train.systems.convnext.objective import ConvNextObjective
from avstore.train.systems.convnext.settings import ConvNextSettings


def batch_spec(config: Config, *, training: bool) -> BatchSpec:
    """Return what the loader must deliver: the filter bank, and labels of all classes."""
    shape, data = sections(config, ConvNextConfig, ConvNextSettings)[0], config.data
    return BatchSpec(
        batch_size=config.batch_size if training else config.eval_batch,
        random=training,
        read=("fbank",),
        fbank_frames=shape.fbank_frames,
        mean=data.mean,
        std=data.std,
        fbank=data.finish,
        labels="multi_hot",
        classes=shape.classes,
        smoothing=data.smoothing,
        augment=augment(data),
    )


def build(config: Config, training: BatchSpec, evaluation: BatchSpec) -> ConvNextObjective:
    """Return the system with new weights."""
    shape, own = sections(config, ConvNextConfig, ConvNextSettings)
    return ConvNextObjective(ConvNextAudio(shape), training, evaluation, own)
