"""Downstream tasks, which a pre-trained model is finetuned for and scored on."""

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

__all__ = [
    "TASKS",
    "Downstream",
    "DownstreamConfig",
    "DownstreamData",
    "load_data",
    "load_downstream",
]
