"""Each method on the systems that it fits, small enough to train for a few steps."""

from collections.abc import Callable

import torch

from avstore.train.data import Batch
from avstore.train.methods import METHODS, Method, Setup, find_method
from avstore.train.objective import Objective
from avstore.train.optim import make_optimizer
from avstore.train.sections import OptimConfig
from avstore.train.systems.cavmae.model_config import ModelConfig
from avstore.train.systems.uavm.model_config import UAVMConfig
from tests.train.methods.replay import Replay, as_batch
from tests.train.systems.cavmae import objectives as cavmae
from tests.train.systems.uavm import features as uavm

CONFIG = ModelConfig(
    width=32, heads=2, depth=1, joint_depth=1, decoder_width=16, decoder_depth=1, decoder_heads=2,
    image_size=32, fbank_frames=128, mask_ratio=0.75, contrast_weight=1.0,
)  # fmt: skip
UAVM = UAVMConfig(
    classes=5, input_width=6, width=8, heads=2, own_depth=1, shared_depth=1, rows=4
)  # fmt: skip
UAVM_SEED = 3  # steps 0 and 1 train video, 2 and 3 audio

SYSTEMS: dict[str, Callable[[], Objective]] = {
    "cavmae": lambda: cavmae.system(CONFIG),
    "uavm": lambda: uavm.system(UAVM, seed=UAVM_SEED),
}
OF_LOGITS = ("lwf", "icarl")
OF_PATCHES = ("random", "mats", "flava", "stella", "stella_plus", "avm")

CASES = [
    *((name, "cavmae") for name in METHODS if name not in OF_LOGITS),
    *((name, "uavm") for name in METHODS if name not in OF_PATCHES),
]


def make(name: str, system: str = "cavmae", **options: object) -> Method:
    """Return a method on a small system, with its optimiser."""
    torch.manual_seed(0)
    found = find_method(name)
    if "memory_size" in found.Options.model_fields:
        options = {"memory_size": 6, **options}
    method = found(SYSTEMS[system](), found.Options(**options), Setup())
    method.optimizer = make_optimizer(method, OptimConfig(lr=3e-3), method.objective.layout)
    return method.train()


def batch(rows: int = 4, seed: int = 1, system: str = "cavmae") -> Batch:
    """Return rows of a system; for UAVM those of step `seed`."""
    generator = torch.Generator().manual_seed(seed)
    if system == "cavmae":
        video = torch.randn(rows, 4, 3, 32, 32, generator=generator)
        return as_batch(video, torch.randn(rows, 1, 128, 128, generator=generator))
    audio, video = torch.randn(2, rows, UAVM.rows, UAVM.input_width, generator=generator)
    classes = [(seed + row) % UAVM.classes for row in range(rows)]
    return uavm.as_batch(audio, video, classes, UAVM.classes, seed, 0.1)


def steps(
    method: Method,
    count: int,
    data: Batch | None = None,
    replay: Replay | None = None,
    system: str = "cavmae",
) -> list[dict[str, float]]:
    """Train for some steps; return their losses."""
    history, replay = [], replay or Replay(method)
    for step in range(count):
        torch.manual_seed(100 + step)
        losses = method(*replay(data or batch(seed=step, system=system)))
        method.optimizer.zero_grad()
        sum(losses.values()).backward()
        method.optimizer.step()
        method.after_step()
        history.append({name: float(value.detach()) for name, value in losses.items()})
    return history


def next_task(method: Method, system: str) -> None:
    """End the first task, of one batch, and begin the second."""
    plain = batch(seed=1, system=system)
    if isinstance(plain.labels, torch.Tensor):
        plain.labels.round_()  # evaluation does not smooth
    method.task_ended(0, lambda: [plain])
    method.task_started(1)
