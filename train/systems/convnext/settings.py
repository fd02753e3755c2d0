"""Settings of the extractor's objective: the section `objective` of its configs."""

from pydantic import BaseModel, ConfigDict

from avstore.train.systems.uavm.settings import Loss


class ConvNextSettings(BaseModel):
    """What a step minimises.

    Attributes:
        loss: Cross-entropy ("ce", clips of one class), or the mean of the classes' binary
            cross-entropies ("bce", AudioSet).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: Loss = "ce"
