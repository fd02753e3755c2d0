"""Which of CAV-MAE's parameters are tables, and the levels of its blocks."""

from collections.abc import Iterator

from avstore.train.parameters import ParameterLayout
from avstore.train.systems.cavmae.model_config import ModelConfig


def layout(config: ModelConfig) -> ParameterLayout:
    """Return the layout of a model: embeddings, each modality's blocks, joint blocks, the rest."""
    return ParameterLayout(undecayed, tuple(_levels(config.depth, config.joint_depth)))


def undecayed(name: str) -> bool:
    """Return whether a parameter is a table or token, which weight decay leaves alone."""
    return name.rsplit(".", 1)[-1].startswith(("pos", "inter_pos", "modality", "mask_token"))


def _levels(depth: int, joint_depth: int) -> Iterator[list[str]]:
    yield [f"{tower}.{part}" for tower in ("audio", "video") for part in ("patch", "pos", "modal")]
    for i in range(depth):
        yield [f"audio.blocks.{i}.", f"video.blocks.{i}."]
    for i in range(joint_depth):
        yield [f"joint.{i}."]
