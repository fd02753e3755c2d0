"""HAN and VALOR, as configs name them."""

from avstore.train.config import Config
from avstore.train.data import BatchSpec
from avstore.train.systems import sections
from avstore.train.systems.valor.model import ParsingNet
from avstore.train.systems.valor.model_config import SEGMENTS, ValorConfig
from avstore.train.systems.valor.objective import ValorObjective
from avstore.train.systems.valor.settings import ValorSettings


def batch_spec(config: Config, *, training: bool) -> BatchSpec:
    """Return what the loader must deliver: features with the clip's labels, or with its events."""
    shape, own = sections(config, ValorConfig, ValorSettings)
    return BatchSpec(
        batch_size=config.batch_size if training else config.eval_batch,
        random=training,
        read=(*own.inputs, *own.teachers) if training else own.inputs,
        labels="multi_hot" if training else "segments_by_modality",
        segments=SEGMENTS,
        classes=shape.classes,
    )


def build(config: Config, training: BatchSpec, evaluation: BatchSpec) -> ValorObjective:
    """Return the system with new weights."""
    shape, own = sections(config, ValorConfig, ValorSettings)
    return ValorObjective(ParsingNet(shape), training, evaluation, own)
