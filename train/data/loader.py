"""Iterate over batches with a position that can be saved and restored, as torchdata's loaders."""

from collections.abc import Iterator
from numbers import Integral
from typing import Any, NoReturn

from avstore.manifests.store import StoreError
from avstore.train.data.batch import Batch
from avstore.train.data.members_check import require_members
from avstore.train.data.order import EpochOrder, Order
from avstore.train.data.resume_check import SampleListRecord
from avstore.train.data.samples import SampleList
from avstore.train.data.spec import DEFAULT_POLICY, BatchSpec, ErrorPolicy
from avstore.train.data.steps import Steps
from avstore.train.data.workers import stream

_STATE_VERSION = 1


class Loader:
    """This rank's batches: of a list, one epoch for each pass; or of an order, once.

    The position is (epoch, step) of the next batch and holds for any number of ranks and workers:
    a state saved with one number of either can be loaded with another. `epoch` can be set. A pass
    over a list that is left early has ended its epoch. An order (a plan, a mixture) is passed
    once: batches that were yielded are not yielded again, and the settings of `spec` that choose
    samples do not apply.

    Args:
        source: A list, or an order.
        spec: Settings.
        seed: Seed in [0, 2^64), for lists.
        rank: This process's rank.
        world_size: Number of ranks.
        workers: Worker processes; 0 loads in this process.
        threads: Threads of each process that loads; 0 for one with workers, else one for each core,
            at most 4.
        policy: What to do about samples that cannot be read.
        pin_memory: Whether to put batches into page-locked memory, if there is a GPU.

    Raises:
        TypeError: If `source` or `policy` has the wrong type.
        ValueError: If a setting is invalid, does not apply to an order, or leaves no batch.
        StoreError: If `spec` reads pictures or sound of clips that have features alone.

    Example:
        >>> store = open_store("data")
        >>> samples = sample_list(store, "SELECT clip_id FROM clips WHERE split = 'train'")
        >>> spec = BatchSpec(batch_size=8, frames=1, image_size=24)
        >>> loader = Loader(samples, spec, seed=0)
        >>> [(batch.epoch, len(batch)) for batch in loader]
        [(0, 8), (0, 8), (0, 2)]
        >>> batch = next(iter(loader))
        >>> state = loader.state_dict()
        >>> resumed = Loader(samples, spec, seed=0, workers=2)
        >>> resumed.load_state_dict(state)
        >>> (batch.epoch, batch.step), (resumed.epoch, resumed.step)
        ((1, 0), (1, 1))
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
        policy: ErrorPolicy = DEFAULT_POLICY,
        pin_memory: bool = False,
    ) -> None:
        for name, value in (("workers", workers), ("threads", threads)):
            _require_count(name, value)
        if not isinstance(policy, ErrorPolicy):
            raise TypeError(f"policy={policy!r} is not an ErrorPolicy, such as ErrorPolicy('skip')")
        _check_source(source, spec)
        samples = source if isinstance(source, SampleList) else source.samples
        require_members(samples, spec)
        self.source, self.spec, self.seed, self.policy = source, spec, seed, policy
        self.rank, self.world_size = rank, world_size
        self.workers, self.threads = workers, threads
        self.pin_memory = pin_memory
        self.epoch = 0
        self._loops = 0
        _ = samples.outline  # once, here, so that saving a state does not wait for it

    @property
    def epoch(self) -> int:
        """The epoch of the next batch; setting it goes to the epoch's first step."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        # _left: whether a pass of this epoch has yielded batches, so that the next pass is of the
        # next epoch.
        self._epoch, self.step, self._left = _require_count("epoch", epoch), 0, False

    @property
    def samples(self) -> SampleList:
        """The list that the order indexes."""
        return self.source if isinstance(self.source, SampleList) else self.source.samples

    def order(self) -> Order:
        """Return the order of the current epoch."""
        if isinstance(self.source, SampleList):
            return EpochOrder(self.source, self.spec, self.seed, self.epoch)
        return self.source

    def __len__(self) -> int:
        """Return the steps of an epoch, the same on every rank."""
        return len(self.order())

    def __getitem__(self, item: object) -> NoReturn:
        """Raise TypeError: a Loader is iterated over, and needs no torch DataLoader around it."""
        raise TypeError(
            "a Loader has no items: iterate over it (for batch in loader), without a torch "
            "DataLoader; to index samples, or for a DataLoader of your own, use Dataset(samples, "
            "spec)"
        )

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches from the current step to the end of the epoch.

        Raises:
            RuntimeError: If another loop over this loader began meanwhile.
        """
        repeats = isinstance(self.source, SampleList)
        if repeats and self._left:
            self.epoch += 1
        epoch, order = self.epoch, self.order()
        steps = Steps(order, self.spec, self.policy, self.rank, self.world_size)
        self._loops += 1
        own = self._loops
        for batch in stream(
            steps, self.step, self.workers, threads=self.threads, pin_memory=self.pin_memory
        ):
            if own != self._loops:
                raise RuntimeError(
                    "another loop over this Loader began, and its position is that loop's: run one "
                    "loop at a time, or make a Loader for each"
                )
            # Before the yield: a caller that counts batches never asks for one after the last.
            if repeats and batch.step + 1 == len(steps):
                self.epoch = epoch + 1
            else:
                self._epoch, self.step, self._left = epoch, batch.step + 1, True
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the last batch that was yielded, for a checkpoint."""
        record = SampleListRecord.of(self.samples)
        return {
            "version": _STATE_VERSION,
            "order": _describe_order(self),
            "fingerprint": record.fingerprint,
            "clips": record.clips,
            "epoch": self.epoch,
            "step": self.step,
        }

    def load_state_dict(self, state: dict[str, Any], allow_changed_data: bool = False) -> None:
        """Continue from a state.

        Args:
            state: State of `state_dict`.
            allow_changed_data: Continue with a new epoch if the samples have changed.

        Raises:
            ChangedDataError: If the samples have changed.
            StoreError: If the batches would differ (seed, batch size, order), or it is no state.
        """
        _check_state(state)
        record = SampleListRecord(state["fingerprint"], state["clips"])
        changed = record.fingerprint != self.samples.fingerprint
        if not (changed and allow_changed_data):
            record.check(self.samples)
        elif not isinstance(self.source, SampleList):
            raise StoreError(
                "every step of a plan or mixture depends on all its samples, and these have "
                f"changed ({record.difference(self.samples)}): start a new run"
            )
        if state["order"] != _describe_order(self):
            raise StoreError(
                f"the state is of batches made by {state['order']} and this loader makes "
                f"{_describe_order(self)}; use the same settings"
            )
        self.epoch, self.step = state["epoch"], state["step"]
        if isinstance(self.source, SampleList) and (changed or self.step >= len(self) > 0):
            self.epoch += 1


def _check_source(source: SampleList | Order, spec: BatchSpec) -> None:
    """Raise TypeError for something else, or ValueError for settings that do not apply to it."""
    if isinstance(source, SampleList):
        return
    if not hasattr(source, "rows") or not hasattr(source, "samples"):
        raise TypeError(
            f"source={str(source)[:80]!r} is not a SampleList or an order: a Loader loads a "
            "sample_list(…), a plan or a mixture"
        )
    settings = {
        "shuffle": spec.shuffle,
        "weighted": spec.weighted,
        "drop_last": spec.drop_last,
        "pad_last": spec.pad_last,
    }
    if unused := [name for name, value in settings.items() if value]:
        raise ValueError(
            f"{', '.join(unused)} of BatchSpec applies to lists of samples only: a "
            f"{type(source).__name__} chooses the samples of its batches itself"
        )


def _check_state(state: dict[str, Any]) -> None:
    """Raise StoreError for something else than a state of this version."""
    if not isinstance(state, dict):
        raise StoreError(f"this is no state of a Loader: {str(state)[:80]!r}")
    if state.get("version") != _STATE_VERSION:
        raise StoreError(
            f"the state of a Loader has version {state.get('version')}; only version "
            f"{_STATE_VERSION} can be loaded"
        )
    missing = {"fingerprint", "clips", "order", "epoch", "step"} - state.keys()
    if missing:
        raise StoreError(f"this is no state of a Loader: it has no {', '.join(sorted(missing))}")


def _require_count(name: str, value: int) -> int:
    if not (isinstance(value, Integral) and value >= 0):
        raise ValueError(f"{name}={value!r} is not an integer of at least 0")
    return int(value)


def _describe_order(loader: Loader) -> str:
    """Describe what chooses the samples of a step, beside the list; it is part of the state."""
    spec, source = loader.spec, loader.source
    if isinstance(source, SampleList):
        how = "weighted" if spec.weighted else spec.chosen_shuffle
        block = f" {spec.block}" if how == "block" else ""
        end = " drop_last" if spec.drop_last else " pad_last" if spec.pad_last else ""
        return f"{how}{block} seed {loader.seed}, batches of {spec.batch_size}{end}"
    name = getattr(source, "fingerprint", None) or type(source).__name__
    return f"{name} seed {source.seed}, {len(source)} steps"
