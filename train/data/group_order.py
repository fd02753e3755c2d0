"""Draw groups in turn, such as source videos, and a random clip of each."""

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.train.data.groups import Groups, groups_of, require_column
from avstore.train.data.order import Indices, Rows
from avstore.train.data.rng import Purpose, uniform, words
from avstore.train.data.samples import SampleList
from avstore.train.data.setting_checks import require_at_least
from avstore.train.data.shuffle import shuffled


@dataclass(frozen=True)
class GroupOrder:
    """Epochs over groups of clips: each group `repeats` times, with a random clip of it each time.

    An epoch is `repeats` permutations of the groups, one behind the other, as AVSA draws videos: so
    groups of few clips come as often as those of many, and a group comes twice in a batch only
    where two permutations meet.

    Attributes:
        samples: The list, made with sample_list(columns=[by]).
        by: Column of the query that names each clip's group, such as source_id.
        batch_size: Rows of a global batch.
        seed: Seed in [0, 2^64).
        epochs: Number of epochs.
        repeats: Permutations of an epoch (AVSA: 32 in pre-training).
        drop_last: Leave out each epoch's last partial batch.

    Raises:
        StoreError: If the list has no such column, or a clip has no group.
        ValueError: If a number is less than 1, or drop_last leaves no batch.

    Example:
        >>> sql = "SELECT clip_id, split FROM clips"
        >>> samples = sample_list(open_store("data"), sql, columns=["split"])
        >>> order = GroupOrder(samples, "split", batch_size=4, seed=0, repeats=6)
        >>> len(order), order.groups
        (3, 2)
        >>> batch = next(iter(Loader(order, BatchSpec(4))))
        >>> sorted(batch["split"])
        ['test', 'test', 'train', 'train']
    """

    samples: SampleList
    by: str
    batch_size: int
    seed: int
    epochs: int = 1
    repeats: int = 1
    drop_last: bool = False

    def __post_init__(self) -> None:
        require_at_least(self, 1, "batch_size", "epochs", "repeats")
        require_column(self.samples, self.by)
        if not len(self):
            raise ValueError(
                f"batch_size={self.batch_size} with drop_last leaves no batch of {self.repeats} x "
                f"{self.groups} rows: make batch_size smaller, or repeats larger"
            )

    def __len__(self) -> int:
        return self.epochs * self.steps_per_epoch

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self._groups)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches of an epoch."""
        whole, rest = divmod(self.repeats * self.groups, self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over all that the order depends on: samples, groups and settings."""
        settings = (self.by, self.batch_size, self.seed, self.epochs, self.repeats, self.drop_last)
        digest = hashlib.sha256(f"{self.samples.fingerprint} {settings}".encode())
        digest.update(self._groups.members.tobytes() + self._groups.sizes.tobytes())
        return digest.hexdigest()

    def rows(self, step: int) -> Rows:
        """Return the global batch of a step.

        Raises:
            IndexError: If the step is not in [0, len(self)).
        """
        if not 0 <= step < len(self):
            raise IndexError(f"step {step} is not in [0, {len(self)}), the steps of the order")
        epoch, own = divmod(step, self.steps_per_epoch)
        count = self.repeats * self.groups
        places = np.arange(own * self.batch_size, min((own + 1) * self.batch_size, count))
        laps = epoch * self.repeats + places // self.groups
        group = shuffled(places % self.groups, self.groups, self.seed, laps)
        draws = _draws(count, self.seed, epoch)[places]
        return Rows(
            step,
            epoch,
            self._groups.draw(group, draws),
            places,
            np.zeros(len(places), np.int16),
            np.zeros(len(places), np.bool_),
            np.full(len(places), epoch),
            np.full(len(places), -1),
        )

    def pool(self, rows: Rows, row: int) -> Indices:
        """Return all samples: a group of one clip has no other to replace it by."""
        return self.samples.all_indices

    @cached_property
    def _groups(self) -> Groups:
        return groups_of(self.samples, self.by, self.samples.all_indices)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}


@lru_cache(maxsize=2)
def _draws(count: int, seed: int, epoch: int) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each place of an epoch."""
    return uniform(words(count, seed, Purpose.GROUP, epoch))
