"""AVSA, as configs name it."""

from avstore.train.config import Config
from avstore.train.data import BatchSpec
from avstore.train.systems import sections
from avstore.train.systems.avsa.inputs import view_spec
from avstore.train.systems.avsa.model import AlignmentNet
from avstore.train.systems.avsa.model_config import AVSAConfig
from avstore.train.systems.avsa.objective import AVSAObjective
from avstore.train.systems.avsa.settings import AVSASettings


def batch_spec(config: Config, *, training: bool) -> BatchSpec:
    """Return what the loader must deliver: views with their sound."""
    _, own = sections(config, AVSAConfig, AVSASettings)
    return view_spec(config, own, training=training)


def build(config: Config, training: BatchSpec, evaluation: BatchSpec) -> AVSAObjective:
    """Return the system with new weights."""
    shape, own = sections(config, AVSAConfig, AVSASettings)
    control = view_spec(config, own, training=False, turned=1.0) if own.control else None
    return AVSAObjective(AlignmentNet(shape), training, evaluation, own, control)
