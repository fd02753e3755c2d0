"""Tasks that a pre-trained model is finetuned for: what it is worth beyond retrieval."""

from train.downstream.base import Downstream
from train.downstream.classify import Classify
from train.downstream.config import DownstreamConfig, load_downstream
from train.downstream.event import Event
from train.downstream.retrieve import Retrieve
from train.downstream.segment import Segment

TASKS: dict[str, type[Downstream]] = {
    "classify": Classify,
    "event": Event,
    "segment": Segment,
    "retrieval": Retrieve,
}

__all__ = ["TASKS", "Downstream", "DownstreamConfig", "load_downstream"]
