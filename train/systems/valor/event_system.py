"""The parsing network on AVE, as configs name it."""

from avstore.train.config import Config
from avstore.train.data import BatchSpec
from avstore.train.systems import sections
from avstore.train.systems.valor.events import EventObjective
from avstore.train.systems.valor.model import ParsingNet
from avstore.train.systems.valor.model_config import SEGMENTS, ValorConfig
from avstore.train.systems.valor.settings import EventSettings


def batch_spec(config: Config, *, training: bool) -> BatchSpec:
    """Return what the loader must deliver: labels of seconds only where they are scored or learnt.

    The last class is background.
    """
    shape, own = sections(config, ValorConfig, EventSettings)
    return BatchSpec(
        batch_size=config.batch_size if training else config.eval_batch,
        random=training,
        read=(*own.inputs, *own.teachers) if training else own.inputs,
        labels="multi_hot" if training and "seconds" not in own.targets else "segments",
        segments=SEGMENTS,
        classes=shape.classes,
        background=shape.classes - 1,
    )


def build(config: Config, training: BatchSpec, evaluation: BatchSpec) -> EventObjective:
    """Return the system with new weights."""
    shape, own = sections(config, ValorConfig, EventSettings)
    return EventObjective(ParsingNet(shape), training, evaluation, own)
