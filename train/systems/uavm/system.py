"""UAVM and its baselines, as configs name them."""

from avstore.train.config import Config
from avstore.train.data import BatchSpec, Turns
from avstore.train.loader_settings import augment
from avstore.train.systems import sections
from avstore.train.systems.uavm.model import UAVM
from avstore.train.systems.uavm.model_config import UAVMConfig
from avstore.train.systems.uavm.objective import UAVMObjective
from avstore.train.systems.uavm.settings import UAVMSettings


def batch_spec(config: Config, *, training: bool) -> BatchSpec:
    """Return what the loader must deliver: features, and labels of all classes.

    A step that trains one modality reads that one alone.
    """
    shape, own = sections(config, UAVMConfig, UAVMSettings)
    data, read = config.data, (own.audio, own.video)
    crosses = shape.kind == "cross_attention"
    return BatchSpec(
        batch_size=config.batch_size if training else config.eval_batch,
        random=training,
        read=read,
        feature_rows=shape.rows,
        feature_norm=data.feature_norm,
        labels="multi_hot",
        classes=shape.classes,
        smoothing=data.smoothing,
        augment=augment(data),
        turns=Turns(read, own.audio_share, config.seed) if training and not crosses else None,
    )


def build(config: Config, training: BatchSpec, evaluation: BatchSpec) -> UAVMObjective:
    """Return the system with new weights."""
    shape, own = sections(config, UAVMConfig, UAVMSettings)
    return UAVMObjective(UAVM(shape), training, evaluation, own, config.seed)
