"""CAV-MAE as a system, for tests that need no loader."""

from avstore.train.data import BatchSpec
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.model_config import ModelConfig
from avstore.train.systems.cavmae.objective import CAVMAEObjective


def system(config: ModelConfig) -> CAVMAEObjective:
    """Return the system with a model of that shape."""
    return CAVMAEObjective(CAVMAE(config), BatchSpec(4), BatchSpec(4, random=False))
