"""Optional tracking: TensorBoard or Weights & Biases, where one has them installed."""

from pathlib import Path
from typing import Any, Protocol

from avstore.train import dist
from avstore.train.errors import UserError


class Tracker(Protocol):
    """Takes named values at a step."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Write them down."""


class Silent:
    """Tracks nothing."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Nothing."""


class TensorBoard:
    """Event files under the run's folder."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415
        except ImportError as error:
            raise UserError("--track tensorboard needs: pip install tensorboard") from error
        self.writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)


class WandB:
    """A run of Weights & Biases named as the folder; WANDB_MODE=offline keeps it here."""

    def __init__(self, folder: Path, name: str) -> None:
        try:
            import wandb  # type: ignore[import-not-found]  # noqa: PLC0415
        except ImportError as error:
            raise UserError("--track wandb needs: pip install wandb") from error
        self.run: Any = wandb.init(project="avstore", name=name, dir=str(folder))

    def log(self, values: dict[str, float], step: int) -> None:
        self.run.log(values, step=step)


def make_tracker(kind: str, folder: Path, name: str) -> Tracker:
    """The tracker that was asked for, on the first process only."""
    if kind == "none" or dist.rank() > 0:
        return Silent()
    return TensorBoard(folder) if kind == "tensorboard" else WandB(folder, name)
