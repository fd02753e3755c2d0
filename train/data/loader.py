"""A loader that knows where it is: state_dict and load_state_dict as torchdata's has them."""

from collections.abc import Iterator
from numbers import Integral
from typing import Any

from avstore.manifests.store import StoreError
from avstore.train.data.batch import Batch
from avstore.train.data.collate import Steps
from avstore.train.data.loading import stream
from avstore.train.data.order import EpochOrder, Order
from avstore.train.data.resume_check import Remembered
from avstore.train.data.samples import SampleList
from avstore.train.data.spec import DEFAULT_POLICY, BatchSpec, Policy

_VERSION = 1


class Loader:
    """This rank's batches: of a list, an epoch each time it is gone through; or of an order
    (a plan, a mixture), once: what was given out is not given out again.

    Its position is (epoch, step) of the batch that comes next, and holds for any number of ranks
    and workers: a state saved with one number of either is loaded with another. `epoch` may be set
    by hand. A pass over a list that is left early is over: the next one is of the next epoch.
    Settings of `spec` that say which samples a batch holds are for lists; an order has its own.
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
        for name, value in (("workers", workers), ("threads", threads)):
            _whole(name, value)
        if not isinstance(policy, Policy):
            raise TypeError(f"policy is a Policy, such as Policy('skip'), not {policy!r}")
        self.source, self.spec, self.seed, self.policy = _source(source, spec), spec, seed, policy
        self.rank, self.world_size = rank, world_size
        self.workers, self.threads = workers, threads
        self.pin_memory = pin_memory
        self.epoch = 0

    @property
    def epoch(self) -> int:
        """The epoch of the batch that comes next; set, it begins anew."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch, self.step, self._left = _whole("epoch", epoch), 0, False

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
        """From the present step to the epoch's end."""
        anew = isinstance(self.source, SampleList)
        if anew and self._left:
            self.epoch += 1
        epoch, order = self.epoch, self.order()
        steps = Steps(order, self.spec, self.policy, self.rank, self.world_size)
        if anew and not len(steps):
            self.epoch += 1
        for batch in stream(
            steps, self.step, self.workers, threads=self.threads, pin_memory=self.pin_memory
        ):
            # Before it is given out, for whoever counts batches does not come for another.
            if anew and batch.step + 1 == len(steps):
                self.epoch = epoch + 1
            else:
                self._epoch, self.step, self._left = epoch, batch.step + 1, True
            yield batch

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
        if not isinstance(state, dict):
            raise StoreError(f"this is no loader's state: {str(state)[:80]!r}")
        if state.get("version") != _VERSION:
            raise StoreError(f"a loader's state of version {state.get('version')} is not known")
        lacking = {"fingerprint", "clips", "order", "epoch", "step"} - state.keys()
        if lacking:
            raise StoreError(f"this is no loader's state: it has no {', '.join(sorted(lacking))}")
        remembered = Remembered(state["fingerprint"], state["clips"])
        changed = remembered.fingerprint != self.samples.fingerprint
        if not (changed and allow_changed_data):
            remembered.check(self.samples)
        elif not isinstance(self.source, SampleList):
            raise StoreError(
                "every step of a plan or mixture depends on all its samples, so that it cannot go "
                f"on with others ({remembered.difference(self.samples)}): begin it anew"
            )
        if state["order"] != _identity(self):
            raise StoreError(
                f"the state is of batches made by {state['order']} and this loader makes "
                f"{_identity(self)}"
            )
        self.epoch, self.step = state["epoch"], state["step"]
        if isinstance(self.source, SampleList) and (changed or self.step >= len(self) > 0):
            self.epoch += 1


def _source(source: SampleList | Order, spec: BatchSpec) -> SampleList | Order:
    """What it is to load from. Raises TypeError, or ValueError for settings that do not apply."""
    if isinstance(source, SampleList):
        return source
    if not hasattr(source, "rows") or not hasattr(source, "samples"):
        raise TypeError(
            f"a Loader loads a sample_list(…), a plan or a mixture, not {str(source)[:80]!r}"
        )
    given = {
        "shuffle": spec.shuffle,
        "weighted": spec.weighted,
        "drop_last": spec.drop_last,
        "pad_last": spec.pad_last,
    }
    if unused := [name for name, value in given.items() if value]:
        raise ValueError(
            f"{', '.join(unused)} of BatchSpec is for lists of samples: a "
            f"{type(source).__name__} says by itself which samples a batch holds"
        )
    return source


def _whole(name: str, value: int) -> int:
    if not (isinstance(value, Integral) and value >= 0):
        raise ValueError(f"{name} is a whole number of at least 0, not {value!r}")
    return int(value)


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
