"""Lightning's data module over lists and orders; only this module needs Lightning."""

from dataclasses import replace
from typing import Any

try:
    from lightning import LightningDataModule
except ImportError as error:
    raise ImportError("DataModule needs Lightning: pip install lightning") from error

from avstore.train.data.loader import Loader
from avstore.train.data.order import Order
from avstore.train.data.samples import SampleList
from avstore.train.data.spec import BatchSpec


class DataModule(LightningDataModule):
    """A `LightningDataModule`: a Loader for training, and one for validation, tests and prediction.

    Rank and world size are the trainer's. Lightning's checkpoints keep the training loader's
    position; a further `fit` continues from it too.

    Args:
        train: What to train on: a list, or an order; None without training.
        spec: Settings of training.
        evaluation: What to validate, test and predict on; None without.
        eval_spec: Its settings; None for those of training with random=False, without `shuffle`,
            `weighted` and `drop_last`.
        options: Options of each `Loader`: seed, workers, threads, policy, pin_memory.

    Example:
        >>> spec = BatchSpec(batch_size=8, frames=1, image_size=24)
        >>> data = DataModule(samples, spec, evaluation=samples, seed=3)
        >>> len(data.train_dataloader()), len(data.val_dataloader())
        (3, 3)
    """

    def __init__(
        self,
        train: SampleList | Order | None,
        spec: BatchSpec,
        *,
        evaluation: SampleList | None = None,
        eval_spec: BatchSpec | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.train, self.spec, self.options = train, spec, options
        self.evaluation = evaluation
        plain = replace(spec, random=False, shuffle=None, weighted=False, drop_last=False)
        self.eval_spec = eval_spec or plain
        self.loader: Loader | None = None
        self._state: dict[str, Any] = {}

    def train_dataloader(self) -> Loader:
        """Return the training loader, at the position of the one before or of a checkpoint.

        Raises:
            ValueError: If there is nothing to train on.
        """
        if self.train is None:
            raise ValueError("there is nothing to train on: DataModule(train=…) takes a list")
        state = self.state_dict()
        self.loader = self._load(self.train, self.spec)
        if state:
            self.loader.load_state_dict(state)
        return self.loader

    def val_dataloader(self) -> Loader | list[Loader]:
        """Return a loader of the evaluation list; an empty list without one."""
        return self._load(self.evaluation, self.eval_spec) if self.evaluation is not None else []

    def test_dataloader(self) -> Loader | list[Loader]:
        """Return what `val_dataloader` returns."""
        return self.val_dataloader()

    def predict_dataloader(self) -> Loader | list[Loader]:
        """Return what `val_dataloader` returns."""
        return self.val_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """Return the training loader's position; empty before the first one."""
        return self.loader.state_dict() if self.loader else self._state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a position, now or when the training loader is made."""
        self._state = state_dict
        if self.loader and state_dict:
            self.loader.load_state_dict(state_dict)

    def _load(self, source: SampleList | Order, spec: BatchSpec) -> Loader:
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return Loader(source, spec, rank=rank, world_size=world_size, **self.options)
