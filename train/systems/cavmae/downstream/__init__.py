"""Downstream tasks, which a pre-trained model is finetuned for and scored on."""

from avstore.train.data import OpenStore
from avstore.train.systems.cavmae.downstream.base import Downstream
from avstore.train.systems.cavmae.downstream.cavmae_classify import CAVMAEClassify
from avstore.train.systems.cavmae.downstream.classify import Classify
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig, load_downstream
from avstore.train.systems.cavmae.downstream.data import DownstreamData, load_data
from avstore.train.systems.cavmae.downstream.event import Event
from avstore.train.systems.cavmae.downstream.retrieve import Retrieve
from avstore.train.systems.cavmae.downstream.segment import Segmentation

TASKS: dict[str, type[Downstream] | type[Retrieve]] = {
    "classify": Classify,
    "cavmae_classify": CAVMAEClassify,
    "event": Event,
    "segment": Segmentation,
    "retrieval": Retrieve,
}


def data_of(
    config: DownstreamConfig, store: OpenStore, command: tuple[str, ...] | None = None
) -> DownstreamData:
    """Return the clips of a run.

    Args:
        config: Its configuration.
        store: The store.
        command: Words of the command that errors advise, as `Wanted` has them.
    """
    task = TASKS[config.task]
    return load_data(
        store,
        config.stream,
        task.roles,
        task.segments,
        config.labels,
        validate=config.select_on == "val",
        videos=config.data.shuffle == "videos",
        command=command,
    )


__all__ = [
    "TASKS",
    "Downstream",
    "DownstreamConfig",
    "DownstreamData",
    "data_of",
    "load_data",
    "load_downstream",
]
