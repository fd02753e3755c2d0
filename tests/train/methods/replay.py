"""The part of a plan, for a method alone: rows that were seen are replayed as they were."""

from dataclasses import replace

import torch
from torch import Tensor

from avstore.train.data import Batch
from avstore.train.data.batch import join
from avstore.train.methods import Method, ReplayMethod
from avstore.train.methods.host_memory import RehearsalMemory


def as_batch(video: Tensor, audio: Tensor) -> Batch:
    """Return rows of the task as the loader delivers them."""
    count = len(video)
    return Batch(
        video=video,
        audio=audio,
        labels=[[0]] * count,
        clip_ids=[f"clip {row}" for row in range(count)],
        step=0,
        slots=torch.full((count,), -1),
    )


class Replay:
    """Gives each batch its slots, and the replayed rows that go with it.

    Args:
        method: The method.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        self.seen: list[Batch] = []
        self.memory: RehearsalMemory | None = None
        if isinstance(method, ReplayMethod):
            self.memory = RehearsalMemory(method.memory.rows, method.memory.reservoirs)

    def __call__(self, batch: Batch) -> tuple[Batch, Batch | None]:
        """Return a batch with its slots, and replayed rows."""
        if self.memory is None:
            return batch, None
        past = None
        if len(self.memory):
            slots, rows = self.memory.sample(self.method.replay * len(batch))
            past = replace(join(*(self.seen[row] for row in rows["row"].tolist())), slots=slots)
        first = len(self.seen)
        self.seen += [batch.rows([row]) for row in range(len(batch))]
        self.memory.add({"row": torch.arange(first, len(self.seen))})
        with torch.random.fork_rng():
            slots, rows = self.memory.sample(len(self.memory))
        taken = dict(zip(rows["row"].tolist(), slots.tolist(), strict=True))
        own = [taken.get(first + row, -1) for row in range(len(batch))]
        return replace(batch, slots=torch.tensor(own)), past
