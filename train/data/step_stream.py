"""Steps as a stock IterableDataset."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from avstore.manifests.store import StoreError
from avstore.train.data.batch import Batch
from avstore.train.data.collate import Steps


class StepStream(IterableDataset[Batch]):
    """Steps as an IterableDataset, for a stock DataLoader with batch_size=None, or what wraps one.

    A DataLoader asks its workers in turn, so the batches come in the order of the steps for any
    number of workers. state_dict and load_state_dict are of one process, as torchdata's
    StatefulDataLoader asks for them (which wants as many workers as before); `Loader` needs none
    of that.
    """

    def __init__(self, steps: Steps, start: int = 0) -> None:
        self.steps = steps
        self.start = start
        self._next: int | None = None
        self._loaded: int | None = None

    def __len__(self) -> int:
        return max(len(self.steps) - self.start, 0)

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        first, stride = (self.start + info.id, info.num_workers) if info else (self.start, 1)
        if self._loaded is not None:
            first, self._loaded = self._loaded, None
        for step in range(first, len(self.steps), stride):
            self._next = step + stride
            yield self.steps[step]
        self._next = None

    def state_dict(self) -> dict[str, Any]:
        """Of this process: the step it makes next."""
        following = self._next if self._loaded is None else self._loaded
        return {"next": following, "fingerprint": self.steps.order.samples.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there. Raises StoreError for a state of other samples."""
        if state["fingerprint"] != self.steps.order.samples.fingerprint:
            raise StoreError("the state is of another list of samples; use Loader to see which")
        self._loaded = state["next"]
