"""The interface of a downstream task: a head on a backbone, with its loss and its scores."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from avstore.train.data import Batch, BatchSpec
from avstore.train.objective import Objective
from avstore.train.parameters import ParameterLayout
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig
from avstore.train.systems.cavmae.downstream.data import DownstreamData
from avstore.train.systems.cavmae.layout import layout
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.system import batch_spec
from avstore.train.systems.cavmae.weights import load_backbone, read_head
from avstore.train.systems.state_dicts import fit_state_dict, read_state_dict, saved_config

_BACKBONE = "model."


class Downstream(Objective):
    """A backbone and a head; `rows_of` groups what they score. A frozen backbone is in no state.

    Attributes:
        roles: Roles of a stream's clips to score: the first that has any.
        segments: Modality of the segment labels that the lists need, None without.
        model: The backbone.
        head: Layers on top of the backbone.
        config: The run's configuration.
        data: Store and clips.
        has_new_head: Whether the head has its initial weights.
    """

    roles: ClassVar[tuple[str, ...]] = ("eval", "retrieval")
    segments: ClassVar[str | None] = None
    head: nn.Module
    has_new_head: bool = True

    def __init__(self, model: CAVMAE, config: DownstreamConfig, data: DownstreamData) -> None:
        super().__init__()
        self.model = model.requires_grad_(not config.frozen)
        self.config, self.data = config, data
        self.idle = not config.frozen  # nothing trains the decoder
        if config.frozen:
            self.register_state_dict_post_hook(_leave_out_backbone)  # type: ignore[no-untyped-call]
            self.register_load_state_dict_pre_hook(_keep_backbone)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> "Downstream":
        """Set the training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        self.model.train(mode and not self.config.frozen)
        return self

    def spec(self, *, training: bool) -> BatchSpec:
        """Return what the loader must deliver."""
        return batch_spec(self.config, training=training)

    def backbone(self, compute: Callable[..., Any], *inputs: Tensor) -> Any:
        """Return what the backbone computes, without gradient if it is frozen."""
        with torch.set_grad_enabled(not self.config.frozen and torch.is_grad_enabled()):
            return compute(*inputs)

    @abstractmethod
    def logits(self, batch: Batch) -> Tensor:
        """Return the logits of a batch [B, ...]."""

    def weights(self) -> dict[str, Any]:
        """Return the head's weights, and the backbone's by its own names if it is trained."""
        state = self.state_dict()
        return {name.removeprefix(_BACKBONE): value for name, value in state.items()}

    def load(self, path: Path) -> None:
        """Load the backbone to start from, and the head if it is of this task on this stream.

        A file with a head alone names the weights that its frozen backbone had.

        Raises:
            UserError: The file does not fit.
        """
        saved, head = saved_config(path), read_head(path)
        alone = bool(head) and len(head) == len(read_state_dict(path))
        first = saved.get("init") if alone else None
        load_backbone(self.model, Path(first) if first and Path(first).is_file() else path)
        same = (saved.get("task"), saved.get("stream")) == (self.config.task, self.config.stream)
        if head and same:
            fit_state_dict(self.head, head, path)
            self.has_new_head = False

    @property
    def layout(self) -> ParameterLayout:
        """Tables, tokens and blocks of the backbone."""
        return layout(self.config.model)

    def at_window(self, start: float) -> BatchSpec:
        """Return the spec of evaluation on frames a second apart, from `start` seconds."""
        spec = self.spec(training=False)
        times = tuple(start + k for k in range(spec.frames))
        return replace(spec, frame_choice="times", frame_times=times)


def _leave_out_backbone(_module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    for name in [name for name in state if name.startswith(prefix + _BACKBONE)]:
        del state[name]


def _keep_backbone(module: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
    own = module.model.state_dict(prefix=prefix + _BACKBONE)
    state.update({name: value for name, value in own.items() if name not in state})
