"""Make the parts of a run: device, model, method, optimiser, loader spec."""

import torch
from pydantic import ValidationError
from torch.nn.parallel import DistributedDataParallel

from avstore.train import dist
from avstore.train.config import PUBLISHED_OPTIONS, Config, validation_message
from avstore.train.data import Augment, BatchSpec
from avstore.train.errors import UserError
from avstore.train.methods import Method, Options, Setup
from avstore.train.optim import make_optimizer
from avstore.train.step import Stepper, seed_everything
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.weights import load_initial


def check_options(method_class: type[Method], config: Config) -> Options:
    """Return the method's options, validated.

    Raises:
        UserError: Naming the option and what is allowed.
    """
    options = dict(config.options)
    if config.fidelity == "published":
        known = method_class.Options.model_fields
        own = {key: value for key, value in PUBLISHED_OPTIONS.values() if key in known}
        options = {**own, **options}
    try:
        return method_class.Options.model_validate(options)
    except ValidationError as error:
        reason = validation_message(error, method_class.Options)
        raise UserError(f"options of method {config.method!r}: {reason}") from error


def pick_device(name: str | None) -> torch.device:
    """Return the device of that name, by default this process's GPU or the CPU.

    Raises:
        UserError: A GPU is requested and none is available.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {name}: no GPU is available; use --device cpu")
    if name == "cuda":
        torch.cuda.set_device(dist.local_rank())
        return torch.device("cuda", dist.local_rank())
    return torch.device(name)


def build_stepper(
    config: Config,
    method_class: type[Method],
    options: Options,
    device: torch.device,
    first_task_clips: int = 0,
) -> Stepper:
    """Build model, method and optimiser, with equal weights on every process.

    Args:
        config: The run's configuration.
        method_class: The continual-learning method.
        options: The method's options, from `check_options`.
        device: Where to train.
        first_task_clips: Clips of the first task, for memories that are a share of it.
    """
    seed_everything(config.seed, 0, rank=0)
    model = CAVMAE(config.model)
    method = method_class(model, options, Setup(dist.world_size(), first_task_clips))
    load_initial(method, config.init, config.avm_init)
    method.to(device)
    wrapped: torch.nn.Module = method
    if dist.active():
        wrapped = DistributedDataParallel(method, broadcast_buffers=False)
    optimizer = make_optimizer(method, config.optim, config.model.blocks)
    return Stepper(method, wrapped, optimizer, config, device)


def batch_spec(
    config: Config, *, evaluation: bool = False, drop_last: bool = False, pad_last: bool = False
) -> BatchSpec:
    """Return what the loader must deliver.

    Args:
        config: The run's configuration.
        evaluation: Whether to load the middle window without augmentation.
        drop_last: Whether to leave out the last batch of an epoch if it is not full.
        pad_last: Whether to fill that batch with repeated rows.
    """
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
        frame_choice=None if evaluation else d.frame_choice,
        augment=Augment(crop=d.crop),
    )
