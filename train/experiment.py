"""From a configuration to the parts of a run: device, model, method, optimiser, loader spec."""

from typing import Any

import torch
from pydantic import ValidationError
from torch.nn.parallel import DistributedDataParallel

from avstore.train import dist, fidelity
from avstore.train.config import Config, describe
from avstore.train.data import BatchSpec
from avstore.train.errors import UserError
from avstore.train.methods import Method, Setup
from avstore.train.optim import make_optimizer
from avstore.train.step import Stepper, seed_everything
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.weights import load_initial


def check_options(method_class: type[Method], config: Config) -> Any:
    """The method's options, checked."""
    options = dict(config.options)
    if config.fidelity == "published":
        options = fidelity.publish_options(options, set(method_class.Options.model_fields))
    try:
        return method_class.Options.model_validate(options)
    except ValidationError as error:
        raise UserError(f"options of method {config.method!r}: {describe(error)}") from error


def pick_device(asked: str | None) -> torch.device:
    """The device that was asked for, or the GPU of this process, or the CPU."""
    if asked is None:
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {asked}: no GPU is available here")
    if asked == "cuda":
        torch.cuda.set_device(dist.local_rank())
        return torch.device("cuda", dist.local_rank())
    return torch.device(asked)


def build(
    config: Config,
    method_class: type[Method],
    options: Any,
    device: torch.device,
    first_task_clips: int = 0,
) -> Stepper:
    """Model, method and optimiser, the same on every process before the first step."""
    seed_everything(config.seed, 0, rank=0)
    model = CAVMAE(config.model)
    method = method_class(model, options, Setup(dist.world_size(), first_task_clips))
    load_initial(method, config.init, config.avm_init)
    method.to(device)
    wrapped: torch.nn.Module = method
    if dist.active():
        wrapped = DistributedDataParallel(method, broadcast_buffers=False)
    optimizer = make_optimizer(method, config.optim, config.model.depth)
    return Stepper(method, wrapped, optimizer, config, device)


def batch_spec(
    config: Config, *, evaluation: bool = False, drop_last: bool = False, pad_last: bool = False
) -> BatchSpec:
    """What the loader is asked for."""
    m, d = config.model, config.data
    return BatchSpec(
        batch_size=config.eval_batch if evaluation else config.batch_size,
        frames=m.frames,
        image_size=m.image_size,
        fbank_frames=m.fbank_frames,
        seconds=d.seconds,
        random=not evaluation,
        noise=d.noise,
        mean=d.mean,
        std=d.std,
        drop_last=drop_last,
        pad_last=pad_last and not drop_last,
        decode=d.finish,
        fbank=d.finish,
    )
