"""The driver of a feature build: weights, plan, compute on Dask, ingest. The only writer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avstore.manifests import ledger
from avstore.manifests.catalogue import Writer, open_write
from avstore.manifests.ingest import ingest_features, transaction
from avstore.manifests.lock import writing
from avstore.manifests.store import Store, find_store
from avstore.pipelines.build.cluster import Progress, completed, connect, no_progress
from avstore.pipelines.build.recovery import recover
from avstore.pipelines.features import base_shards as plan
from avstore.pipelines.features import jobs as work
from avstore.pipelines.features import lineage as lineages
from avstore.pipelines.features import worker_model as model
from avstore.pipelines.features.companion import FeatureDone, FeatureJob, compute
from avstore.pipelines.features.extractor import Extractor, parameters_of
from avstore.pipelines.features.lineage import Lineage
from avstore.pipelines.features.registry import make
from avstore.pipelines.features.weights import Weights, resolve
from avstore.pipelines.features.worker_model import ModelKey

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class FeatureOptions:
    """What a feature build is asked to do.

    dataset, recipe: which shards (recipe: its name, or <recipe>-<fp8>); may be left out where
    the store has one. weights: a file or folder; random_seed: random weights instead.
    device: 'auto', 'cpu', 'cuda', 'cuda:1'. batch_size: None takes the extractor's.
    workers: processes; None takes one a GPU, or one a core. wait_s: for another writer.
    """

    store: Path
    dataset: str | None = None
    recipe: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    random_seed: int | None = None
    device: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    scheduler: str | None = None
    wait_s: float = 0.0


@dataclass(frozen=True)
class FeatureBuilt:
    """How a feature build ended. shards, clips: computed now. problems: shards left undone."""

    feature: str
    fingerprint: str
    folder: str
    shards: int
    clips: int
    up_to_date: bool
    problems: tuple[str, ...]


def build_feature(
    reference: str, options: FeatureOptions, progress: Progress = no_progress
) -> FeatureBuilt:
    """Compute what is missing or stale of a feature. reference: a name, or module:name.

    Raises StoreError and its kin; what was committed by then stays.
    """
    store = find_store(options.store)
    extractor = make(reference, options.parameters)
    weights = resolve(extractor.weights, options.weights, options.random_seed)
    run = ledger.new_run(f"features build {extractor.name}", _config(reference, options))
    with writing(store, options.wait_s), open_write(store) as writer:
        recover(writer, store)
        outcome = "failed"
        try:
            built = _build(writer, store, reference, extractor, weights, options, progress)
            outcome = "failed" if built.problems else "done"
        except KeyboardInterrupt:
            outcome = "interrupted"
            raise
        finally:
            ledger.finish_run(writer.con, store, run, outcome)
            writer.publish()
    return built


def _config(reference: str, options: FeatureOptions) -> dict[str, object]:
    return {
        "extractor": reference,
        "dataset": options.dataset,
        "recipe": options.recipe,
        "parameters": dict(options.parameters),
        "weights": str(options.weights or ""),
        "random_seed": options.random_seed,
        "device": options.device,
    }


def _build(
    writer: Writer,
    store: Store,
    reference: str,
    extractor: Extractor,
    weights: Weights,
    options: FeatureOptions,
    progress: Progress,
) -> FeatureBuilt:
    con = writer.con
    scope = work.scope_of(con, extractor, options.dataset, options.recipe)
    lineage = lineages.lineage_of(extractor, reference, weights, scope.base, scope.fingerprint)
    there = work.companions(scope, extractor, lineage.fingerprint, store)
    plan.take_in(con, store, plan.standing(con, store, there))
    key = ModelKey(reference, _json(extractor), weights, options.device)
    size = options.batch_size or extractor.batch_size
    jobs = list(work.jobs(con, store, scope, extractor, lineage, key, size))
    done: list[FeatureDone] = []
    if jobs:
        lineages.record(con, store, lineage)
        title = f"{extractor.name} {lineage.fp8}"
        try:
            with (
                progress(title, len(jobs), "shards") as advance,
                connect(options.scheduler, options.workers or _workers(options)) as client,
            ):
                for finished in completed(client, partial(_submit, client), jobs):
                    commit(writer, store, finished)
                    done.append(finished)
                    advance(1)
        finally:
            lineages.forget_unused(con, store, lineage)
    return _summary(extractor, lineage, scope, done)


def _json(extractor: Extractor) -> str:
    return json.dumps(parameters_of(extractor), sort_keys=True)


def _workers(options: FeatureOptions) -> int | None:
    """One worker a GPU; on the CPU one a core."""
    return None if options.device == "cpu" else model.gpus() or None


def _submit(client: "Client", job: FeatureJob) -> Any:
    return client.submit(compute, job, key=f"feature-{job.path}", retries=2, pure=False)


def commit(writer: Writer, store: Store, done: FeatureDone) -> None:
    """One transaction for a finished companion, then let readers see it."""
    if done.problem:
        return
    con = writer.con
    was_dropped = con.execute("SELECT 1 FROM dropped WHERE shard = ?", [done.path]).fetchall()
    with transaction(con):
        ingest_features(con, [store.root / done.sidecar])
    if was_dropped:
        ledger.save_table(con, store, "dropped")
    writer.publish(force=False)


def _summary(
    extractor: Extractor, lineage: Lineage, scope: work.Scope, done: list[FeatureDone]
) -> FeatureBuilt:
    made = [shard for shard in done if not shard.problem]
    return FeatureBuilt(
        feature=extractor.name,
        fingerprint=lineage.fingerprint,
        folder=scope.folder,
        shards=len(made),
        clips=sum(shard.clips for shard in made),
        up_to_date=not done,
        problems=tuple(f"{shard.path}: {shard.problem}" for shard in done if shard.problem),
    )
