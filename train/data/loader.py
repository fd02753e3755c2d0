"""A loader that knows where it is: state_dict and load_state_dict as torchdata's has them."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from manifests.store import StoreError
from train.data.batch import Batch
from train.data.build import Steps
from train.data.changes import Remembered
from train.data.loading import stream
from train.data.order import EpochOrder, Order
from train.data.samples import SampleList
from train.data.spec import DEFAULT_POLICY, BatchSpec, Policy

_VERSION = 1


class Loader:
    """This rank's batches: of a list, an epoch each time it is gone through; or of an order
    (a plan, a mixture), once.

    Its position is (epoch, step) and holds for any number of ranks and workers: a state saved
    with one number of either is loaded with another. `epoch` may be set by hand.
    workers: processes that make batches (0: this one); threads: of each of them (0: as many as
    there are cores, at most 4, without workers, else one).
    """

    def __init__(
        self,
        source: SampleList | Order,
        spec: BatchSpec,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        threads: int = 0,
        policy: Policy = DEFAULT_POLICY,
        pin_memory: bool = False,
    ) -> None:
        if min(workers, threads) < 0:
            raise ValueError(f"workers and threads are at least 0, not {workers} and {threads}")
        self.source, self.spec, self.seed, self.policy = source, spec, seed, policy
        self.rank, self.world_size = rank, world_size
        self.workers, self.threads = workers, threads
        self.pin_memory = pin_memory
        self.epoch = self.step = 0

    @property
    def samples(self) -> SampleList:
        """What the order's indices point into."""
        return self.source if isinstance(self.source, SampleList) else self.source.samples

    def order(self) -> Order:
        """The present epoch's order."""
        if isinstance(self.source, SampleList):
            return EpochOrder(self.source, self.spec, self.seed, self.epoch)
        return self.source

    def __len__(self) -> int:
        """Steps of an epoch, the same on every rank."""
        return len(self.order())

    def __iter__(self) -> Iterator[Batch]:
        """From the present step to the epoch's end; then the next epoch is the present one."""
        steps = Steps(self.order(), self.spec, self.policy, self.rank, self.world_size)
        for batch in stream(
            steps, self.step, self.workers, threads=self.threads, pin_memory=self.pin_memory
        ):
            self.step = batch.step + 1
            yield batch
        self.epoch, self.step = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Everything that says which batch comes next: the one after the last one given out."""
        remembered = Remembered.of(self.samples)
        return {
            "version": _VERSION,
            "order": _identity(self),
            "fingerprint": remembered.fingerprint,
            "clips": remembered.clips,
            "epoch": self.epoch,
            "step": self.step,
        }

    def load_state_dict(self, state: dict[str, Any], allow_changed_data: bool = False) -> None:
        """Go on where the state was taken.

        Raises ChangedDataError where the samples are others (allow_changed_data: go on with a new
        epoch instead), StoreError where the batches would be others (seed, batch size, order).
        """
        if state.get("version") != _VERSION:
            raise StoreError(f"a loader's state of version {state.get('version')} is not known")
        lacking = {"fingerprint", "clips", "order", "epoch", "step"} - state.keys()
        if lacking:
            raise StoreError(f"this is no loader's state: it has no {', '.join(sorted(lacking))}")
        remembered = Remembered(state["fingerprint"], state["clips"])
        if allow_changed_data and remembered.fingerprint != self.samples.fingerprint:
            self.epoch, self.step = state["epoch"] + 1, 0
            return
        remembered.check(self.samples)
        if state["order"] != _identity(self):
            raise StoreError(
                f"the state is of batches made by {state['order']} and this loader makes "
                f"{_identity(self)}"
            )
        self.epoch, self.step = state["epoch"], state["step"]


def _identity(loader: Loader) -> str:
    """What decides which samples a step holds, beside the list."""
    spec, source = loader.spec, loader.source
    if isinstance(source, SampleList):
        how = "weighted" if spec.weighted else spec.chosen_shuffle
        block = f" {spec.block}" if how == "block" else ""
        end = " drop_last" if spec.drop_last else " pad_last" if spec.pad_last else ""
        return f"{how}{block} seed {loader.seed}, batches of {spec.batch_size}{end}"
    made = getattr(source, "fingerprint", None) or type(source).__name__
    return f"{made} seed {source.seed}, {len(source)} steps"


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

    def __len__(self) -> int:
        return max(len(self.steps) - self.start, 0)

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        first, stride = (self.start + info.id, info.num_workers) if info else (self.start, 1)
        first, self._next = (first if self._next is None else self._next), None
        for step in range(first, len(self.steps), stride):
            self._next = step + stride
            yield self.steps[step]
        self._next = None

    def state_dict(self) -> dict[str, Any]:
        """Of this process: the step it makes next."""
        return {"next": self._next, "fingerprint": self.steps.order.samples.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there. Raises StoreError for a state of other samples."""
        if state["fingerprint"] != self.steps.order.samples.fingerprint:
            raise StoreError("the state is of another list of samples; use Loader to see which")
        self._next = state["next"]
