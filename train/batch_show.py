"""List the clips of any step of a run, for `avstore batch show`."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from avstore.manifests.shard_reader import ByteRange
from avstore.manifests.store import StoreError
from avstore.train.config import RunConfig, parse_config
from avstore.train.data import (
    BatchSpec,
    ContinualPlan,
    OpenStore,
    PlanSpec,
    QuerySource,
    SampleList,
    open_store,
)
from avstore.train.data.request import request_sample
from avstore.train.data.spec import DEFAULT_POLICY
from avstore.train.errors import UserError
from avstore.train.experiment import batch_spec, wanted_of
from avstore.train.methods import find_method
from avstore.train.runs import RECORD
from avstore.train.systems.cavmae.downstream import TASKS, DownstreamConfig, data_of
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.tasks import load_tasks, training_parts


def run_record(config: RunConfig, plan: ContinualPlan, store: Path) -> dict[str, Any]:
    """Return what a run writes when it starts, from which its batches can be found again."""
    return {
        "config": config.model_dump(mode="json"),
        "plan": asdict(plan.spec),
        "lists": list_fingerprints(plan),
        "store": str(store),
    }


def list_fingerprints(plan: ContinualPlan) -> dict[str, str]:
    """Return the sha256 of each task's clip ids, in order, by the task's name."""
    clips = plan.samples.clip_ids
    return {
        task.name: hashlib.sha256("\n".join(clips[i] for i in task.indices).encode()).hexdigest()
        for task in plan.tasks
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
            f"{run} is not the folder of a run that trains: {RECORD} cannot be read ({error}); "
            "give the --out of train/run.py or train/evaluate.py, of a run's folder one task-NN"
        ) from error
    try:
        return _rows(recorded, step, store or recorded["store"])
    except UserError as error:
        raise StoreError(str(error)) from error


def _rows(recorded: dict[str, Any], step: int, place: str) -> list[dict[str, Any]]:
    table, store = recorded["config"], open_store(place)
    spec, samples, tasks = _evaluation(table, store) if "task" in table else _run(table, store)
    plan = ContinualPlan(samples, tasks, PlanSpec(**recorded["plan"]), table["seed"])
    for name, fingerprint in list_fingerprints(plan).items():
        if recorded["lists"].get(name) != fingerprint:
            raise StoreError(
                f"{place} holds other clips of task {name} than the run was trained on; give "
                "--store with the store of that time"
            )
    if not 0 <= step < len(plan):
        raise StoreError(f"step {step} is not one of the run's {len(plan)} steps, from 0")
    at = plan.position(step)
    found = {"task": plan.tasks[at.task].name, "epoch": at.epoch}
    return [{**found, **row} for row in _samples(plan, spec, step)]


def _run(
    table: dict[str, Any], store: OpenStore
) -> tuple[BatchSpec, SampleList, tuple[QuerySource, ...]]:
    """Return what a run of train/run.py loads: its spec, and the clips of each task."""
    config = parse_config(table)
    spec = batch_spec(config, training=True)
    wanted = wanted_of(config)
    stream = load_tasks(store, config.stream, wanted)
    joint = find_method(config.method).union_of_tasks
    videos = config.data.shuffle == "videos"
    parts = training_parts(
        store,
        stream,
        together=joint,
        features=spec.features,
        videos=videos,
        media=wanted.media,
    )
    return spec, *parts


def _evaluation(
    table: dict[str, Any], store: OpenStore
) -> tuple[BatchSpec, SampleList, tuple[QuerySource, ...]]:
    """Return what a run of train/evaluate.py loads."""
    config = DownstreamConfig.model_validate(table)
    task = TASKS[config.task]
    data = data_of(config, store)
    with torch.device("meta"):  # no weights are needed
        objective = task(CAVMAE(config.model), config, data)
    return objective.spec(training=True), data.train, data.parts


def _samples(plan: ContinualPlan, spec: BatchSpec, step: int) -> list[dict[str, Any]]:
    """Return what is read of each clip, one row for each shard that it is read from."""
    rows, spec = plan.rows(step), spec.at(step)
    out = []
    for at, index in enumerate(rows.indices.tolist()):
        request = request_sample(plan, rows, at, index, spec, DEFAULT_POLICY)
        features = (feature.member for feature in request.features)
        items = (*request.members, *request.groups, *features)
        by_shard: dict[str, list[ByteRange]] = {}
        for item in items:
            by_shard.setdefault(item.shard.path, []).append(item)
        for shard, own in by_shard.items():
            out.append(
                {
                    "replayed": bool(rows.origin[at]),
                    "clip_id": request.sample.clip_id,
                    "labels": plan.samples.label_ids(index),
                    "shard": shard,
                    "offset": min(int(item.offset) for item in own),
                    "members": [item.name.removeprefix(f"{request.sample.key}.") for item in own],
                }
            )
    return out
