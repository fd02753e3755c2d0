"""Log losses and scores to TensorBoard or Weights & Biases, if installed."""

from pathlib import Path
from typing import Any, Protocol

from avstore.train import dist
from avstore.train.errors import UserError


class Tracker(Protocol):
    """Takes named values of a step."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Log values by name at a step of the run."""


class NoTracker:
    """Logs nothing."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Do nothing."""


class TensorBoard:
    """Writes event files to the folder `tensorboard` of the run."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415
        except ImportError as error:
            raise UserError(
                "--track tensorboard needs TensorBoard: pip install tensorboard"
            ) from error
        self.writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def log(self, values: dict[str, float], step: int) -> None:
        """Log values by name at a step of the run."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)


class WandB:
    """Logs a run of Weights & Biases; WANDB_MODE=offline keeps it on this machine."""

    def __init__(self, folder: Path, name: str) -> None:
        try:
            import wandb  # type: ignore[import-not-found]  # noqa: PLC0415
        except ImportError as error:
            raise UserError("--track wandb needs Weights & Biases: pip install wandb") from error
        self.run: Any = wandb.init(project="avstore", name=name, dir=str(folder))

    def log(self, values: dict[str, float], step: int) -> None:
        """Log values by name at a step of the run."""
        self.run.log(values, step=step)


def make_tracker(kind: str, folder: Path, name: str) -> Tracker:
    """Return the tracker of that kind on rank 0, and one that logs nothing on the others.

    Raises:
        UserError: The package is not installed.
    """
    if kind == "none" or dist.rank() > 0:
        return NoTracker()
    return TensorBoard(folder) if kind == "tensorboard" else WandB(folder, name)
