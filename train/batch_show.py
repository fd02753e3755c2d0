"""List the clips of any step of a run, for `avstore batch show`."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from avstore.manifests.store import StoreError
from avstore.train.config import Config
from avstore.train.data import EpochOrder, SampleList, open_store, steps_per_epoch
from avstore.train.data.request import request_sample
from avstore.train.data.spec import DEFAULT_POLICY
from avstore.train.errors import UserError
from avstore.train.experiment import batch_spec
from avstore.train.methods import find_method
from avstore.train.runs import RECORD
from avstore.train.tasks import load_tasks, union


def run_record(
    config: Config, lists: list[SampleList], store: Path, distributed: bool
) -> dict[str, Any]:
    """Return what a run writes when it starts, from which its batches can be found again."""
    return {
        "config": config.model_dump(mode="json"),
        "lists": [samples.fingerprint for samples in lists],
        "store": str(store),
        "distributed": distributed,
    }


def batch_samples(run: Path, step: int, store: str | None = None) -> list[dict[str, Any]]:
    """Return the samples of a step's global batch, in its order.

    Args:
        run: The run's folder.
        step: Step of the whole run, from 0.
        store: Where the store is now; by default where it was.

    Returns:
        A row a sample with the keys task, epoch, clip_id, labels (ids), shard, offset (of the first
        member that is read) and members.

    Raises:
        StoreError: The run, its store or the step does not exist, or the store holds other clips.
    """
    try:
        recorded = json.loads((run / RECORD).read_text())
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{run} is not the folder of a run: {RECORD} cannot be read ({error}); give the --out "
            "of train/run.py"
        ) from error
    try:
        return _rows(recorded, step, store or recorded["store"])
    except UserError as error:
        raise StoreError(str(error)) from error


def _rows(recorded: dict[str, Any], step: int, place: str) -> list[dict[str, Any]]:
    config = Config.model_validate(recorded["config"])
    store = open_store(place)
    stream = load_tasks(store, config.stream)
    lists = [task.train for task in stream.tasks]
    names = stream.names
    if find_method(config.method).union_of_tasks:
        lists, names = [union(store, stream)], ["joint"]
    for name, samples, fingerprint in zip(names, lists, recorded["lists"], strict=True):
        if samples.fingerprint != fingerprint:
            raise StoreError(
                f"{place} holds other clips of task {name} than the run was trained on; give "
                "--store with the store of that time"
            )
    left = step
    for number, (name, samples) in enumerate(zip(names, lists, strict=True)):
        full = len(samples) >= config.batch_size
        spec = batch_spec(config, drop_last=full, pad_last=bool(recorded["distributed"]))
        per_epoch = steps_per_epoch(samples, spec)
        if 0 <= left < config.epochs * per_epoch:
            epoch, own = divmod(left, per_epoch)
            order = EpochOrder(samples, spec, config.seed, number * config.epochs + epoch)
            return [{"task": name, "epoch": epoch, **row} for row in _samples(order, own)]
        left -= config.epochs * per_epoch
    raise StoreError(f"step {step} is not one of the run's {step - left} steps, from 0")


def _samples(order: EpochOrder, step: int) -> list[dict[str, Any]]:
    rows = order.rows(step)
    out = []
    for at, index in enumerate(rows.indices.tolist()):
        request = request_sample(order, rows, at, index, order.spec, DEFAULT_POLICY)
        first = min(request.members, key=lambda item: item.offset)
        out.append(
            {
                "clip_id": request.sample.clip_id,
                "labels": order.samples.label_ids(index),
                "shard": request.sample.shard.path,
                "offset": int(np.int64(first.offset)),
                "members": [
                    item.name.removeprefix(f"{request.sample.key}.") for item in request.members
                ],
            }
        )
    return out
