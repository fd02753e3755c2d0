"""Make the parts of a run: device, model, method, optimiser, loader spec, plan."""

import json
import math
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import ValidationError
from torch.nn.parallel import DistributedDataParallel

from avstore.train import dist
from avstore.train.config import PUBLISHED_OPTIONS, Config, RunConfig, validation_message
from avstore.train.data import (
    BatchSpec,
    ContinualPlan,
    OpenStore,
    PlanSpec,
    QuerySource,
    SampleList,
    known_statistics,
)
from avstore.train.data.request import BASE_MEMBERS
from avstore.train.errors import UserError
from avstore.train.initial_weights import load_initial
from avstore.train.loader_settings import arrangement, refuse_unused
from avstore.train.methods import Method, Options, ReplayMethod, Setup
from avstore.train.methods.base import RESERVOIRS, Memory
from avstore.train.objective import Objective
from avstore.train.optim import make_optimizer
from avstore.train.results import RESULTS
from avstore.train.step import Stepper, seed_everything
from avstore.train.systems import find_system
from avstore.train.tasks import Stream, Wanted

Configured = TypeVar("Configured", bound=RunConfig)


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
    """Build system, method and optimiser, with equal weights on every process.

    Args:
        config: The run's configuration.
        method_class: The continual-learning method.
        options: The method's options, from `check_options`.
        device: Where to train.
        first_task_clips: Clips of the first task, for memories that are a share of it.
    """
    seed_everything(config.seed, 0)
    objective = build_objective(config)
    setup = Setup(config.batch_size, dist.rank(), dist.world_size(), first_task_clips)
    method = method_class(objective, options, setup)
    load_initial(method, config.init, config.avm_init)
    return stepper_of(config, method, device)


def stepper_of(config: RunConfig, method: Method, device: torch.device) -> Stepper:
    """Return what trains a method on a device: alone, or with the other processes.

    Raises:
        UserError: A rate is set for a part that the system does not have.
    """
    method.to(device)
    objective = method.objective
    headed = any(name.startswith("head.") for name, _ in objective.named_parameters())
    for key, known in (("layer_decay", bool(objective.layout.levels)), ("head_lr", headed)):
        if not known and getattr(config.optim, key) != 1:
            raise UserError(
                f"config {config.name!r}: optim.{key} means nothing to "
                f"{type(objective).__name__}, which has no such part; leave it out"
            )
    wrapped: torch.nn.Module = method
    if dist.active():
        wrapped = DistributedDataParallel(
            method, broadcast_buffers=False, find_unused_parameters=objective.idle
        )
    optimizer = make_optimizer(method, config.optim, objective.layout)
    return Stepper(method, wrapped, optimizer, config, device)


def batch_spec(config: Config, *, training: bool) -> BatchSpec:
    """Return what the loader must deliver to the system of a configuration.

    Raises:
        UserError: Settings of the input exclude each other, or mean nothing to the system.
    """
    system = find_system(config.system)
    try:
        refuse_unused(config.data, system.unused, f"the system {config.system}")
        found: BatchSpec = system.batch_spec(config, training=training)
    except ValueError as error:
        raise UserError(f"config {config.name!r}: {error}") from error
    return found


def build_objective(config: Config) -> Objective:
    """Return the system of a configuration, with new weights."""
    specs = (batch_spec(config, training=kind) for kind in (True, False))
    found: Objective = find_system(config.system).build(config, *specs)
    return found


def make_plan(
    config: RunConfig,
    method: Method,
    samples: SampleList,
    tasks: tuple[QuerySource, ...],
) -> ContinualPlan:
    """Return which rows each step of a run trains on.

    Args:
        config: The run's configuration.
        method: The method, which says what it replays.
        samples: All tasks' training clips.
        tasks: The part of each task.
    """
    # Without a memory, too, steps are the same on 1, 2 and 4 processes.
    shares = math.lcm(math.gcd(RESERVOIRS, config.batch_size), dist.world_size())
    memory = method.memory if isinstance(method, ReplayMethod) else Memory(0, shares)
    spec = PlanSpec(
        batch_size=config.batch_size,
        epochs=max(config.epochs, 1),  # with 0 epochs, no step of the plan is taken
        replay=method.replay * config.batch_size,
        memory=memory.rows,
        reservoirs=memory.reservoirs,
        drop_last=config.data.drop_last,
        shuffle=arrangement(config.data),
        block=config.data.block,
        passes=config.data.video_passes,
    )
    return ContinualPlan(samples, tasks, spec, config.seed)


def wanted_of(config: Config) -> Wanted:
    """Return what a run of train/run.py needs of its stream's clips."""
    system = find_system(config.system)
    training, evaluation = (batch_spec(config, training=kind) for kind in (True, False))
    return Wanted(
        system.roles,
        evaluation.features,
        system.segments,
        train_features=training.features,
        media=reads_media(training),
        train_segments=system.segments if training.labels.startswith("segments") else None,
        validate=config.select_on == "val",
    )


def reads_media(spec: BatchSpec) -> bool:
    """Return whether a batch has derived features, and pictures or sound beside them."""
    return bool(spec.features) and not set(spec.read).isdisjoint(BASE_MEMBERS)


def with_statistics(config: Configured, store: OpenStore) -> Configured:
    """Return a configuration with the mean and deviation that its `data.statistics` names."""
    if config.data.statistics is None:
        return config
    mean, std = known_statistics(store, config.data.statistics)
    data = config.data.model_copy(update={"mean": mean, "std": std})
    return config.model_copy(update={"data": data})


def finished(folder: Path, config: RunConfig, stream: Stream) -> bool:
    """Return whether this run is complete.

    Raises:
        UserError: The folder holds a finished run with other settings or other clips.
    """
    path = folder / RESULTS
    if not path.is_file():
        return False
    results = json.loads(path.read_text())
    if results["fingerprint"] != config.fingerprint:
        raise config.other_settings(folder, results)
    if results["lists"] != stream.fingerprints:
        raise UserError(f"{folder} holds a finished run on other clips; give another --out")
    return True


def check_split(config: RunConfig) -> None:
    """Check that every process gets the same number of rows of every batch.

    Raises:
        UserError: Batches cannot be divided among the processes.
    """
    world = dist.world_size()
    if config.batch_size % world:
        raise UserError(
            f"batch_size {config.batch_size} cannot be divided among {world} processes; use a "
            f"multiple of {world}"
        )
