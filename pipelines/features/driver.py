"""Build a feature: resolve weights, plan jobs, compute them on Dask, ingest the companions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from avstore.manifests import ledger
from avstore.manifests.catalogue import Writer, open_write
from avstore.manifests.ingest import ingest_features, transaction
from avstore.manifests.lock import writing
from avstore.manifests.store import Store, find_store
from avstore.pipelines.build.cluster import completed, connect
from avstore.pipelines.build.meter import Meter, Progress, no_progress
from avstore.pipelines.build.progress import PublishedProgress
from avstore.pipelines.build.recorded_run import recorded_run
from avstore.pipelines.build.recovery import recover
from avstore.pipelines.features.base_shards import (
    FeatureInput,
    committed_companions,
    ingest_unrecorded,
)
from avstore.pipelines.features.companion import FeatureJob, FeatureJobResult, compute_companion
from avstore.pipelines.features.extractor import Extractor, parameters_of
from avstore.pipelines.features.jobs import companion_files, feature_jobs, input_of
from avstore.pipelines.features.lineage import (
    Lineage,
    forget_unused,
    lineage_of,
    record_lineage,
)
from avstore.pipelines.features.registry import make_extractor
from avstore.pipelines.features.weights import Weights, resolve_weights
from avstore.pipelines.features.worker_model import ModelKey, gpu_count

if TYPE_CHECKING:
    from distributed import Client

_TOPIC = "avstore-values"


@dataclass(frozen=True)
class FeatureOptions:
    """Define a feature build.

    Attributes:
        store: Folder of the store.
        dataset: Which dataset; may be omitted if the store has one.
        recipe: Which shards: a recipe's name, or `<recipe>-<fp8>`; may be omitted if the store
            has one.
        parameters: The extractor's parameters.
        weights: A local file or model folder.
        random_seed: Seed of random weights.
        device: `auto`, `cpu`, `cuda` or `cuda:<n>`.
        batch_size: Items per batch; None takes the extractor's.
        workers: Number of processes; None takes one per GPU, or one per core without GPUs.
        scheduler: Address of an existing Dask scheduler.
        wait_s: Seconds to wait for another writer of the store.
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
class FeatureResult:
    """Report how a feature build ended.

    Attributes:
        feature: Name of the feature.
        fingerprint: The feature's fingerprint.
        folder: The companions' folder, relative to the store.
        shards: Number of companions computed by this build.
        clips: Number of values computed by this build.
        up_to_date: Whether nothing was outstanding.
        problems: One line per shard that could not be computed.
    """

    feature: str
    fingerprint: str
    folder: str
    shards: int
    clips: int
    up_to_date: bool
    problems: tuple[str, ...]


def build_feature(
    reference: str, options: FeatureOptions, progress: Progress = no_progress
) -> FeatureResult:
    """Compute the missing and outdated companions of a feature.

    Args:
        reference: Name of the extractor, or `module:name`.
        options: What to build.
        progress: Opens a progress display.

    Raises:
        StoreError: The build cannot run. Companions committed before it stopped are kept.
    """
    store = find_store(options.store)
    extractor = make_extractor(reference, options.parameters)
    weights = resolve_weights(extractor.weights, options.weights, options.random_seed)
    run = ledger.new_run(f"features build {extractor.name}", _config(reference, extractor, options))
    with writing(store, options.wait_s), open_write(store) as writer:
        recover(writer, store)
        shown = PublishedProgress(store, options.dataset, progress)
        with recorded_run(writer, store, run, shown) as recorded:
            result = _build(writer, store, reference, extractor, weights, options, shown)
            recorded.failed = bool(result.problems)
    return result


def _config(reference: str, extractor: Extractor, options: FeatureOptions) -> dict[str, object]:
    """Return the settings that the run's ledger entry records."""
    return {
        "extractor": reference,
        "dataset": options.dataset,
        "recipe": options.recipe,
        "parameters": {name: getattr(extractor, name) for name in options.parameters},
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
) -> FeatureResult:
    """Compute and commit the outstanding companions."""
    con = writer.con
    source = input_of(con, extractor, options.dataset, options.recipe)
    lineage = lineage_of(extractor, reference, weights, source.base, source.fingerprint)
    companions = companion_files(source, extractor, lineage.fingerprint, store)
    ingest_unrecorded(con, store, committed_companions(con, store, companions))
    key = ModelKey(reference, _json(extractor), weights, options.device)
    size = options.batch_size or extractor.batch_size
    jobs = list(feature_jobs(con, store, source, extractor, lineage, key, size))
    results: list[FeatureJobResult] = []
    if jobs:
        record_lineage(con, store, lineage)
        title = f"{extractor.name} {lineage.fp8}"
        try:
            with (
                progress(title, _count_clips(con, jobs)) as advance,
                connect(options.scheduler, options.workers or _workers(options)) as client,
            ):
                client.subscribe_topic(_TOPIC, partial(_advance, advance, {}))
                for finished in completed(client, partial(_submit, client), jobs):
                    commit_companion(writer, store, finished)
                    results.append(finished)
                    if finished.problem:
                        advance.fail("shard not computed")
                client.unsubscribe_topic(_TOPIC)
        finally:
            forget_unused(con, store, lineage)
    return _summary(extractor, lineage, source, results)


def _json(extractor: Extractor) -> str:
    return json.dumps(parameters_of(extractor), sort_keys=True)


def _workers(options: FeatureOptions) -> int | None:
    """Return one worker per GPU, or None for one per core."""
    return None if options.device == "cpu" else gpu_count() or None


def _submit(client: "Client", job: FeatureJob) -> Any:
    return client.submit(_compute, job, key=f"feature-{job.path}", retries=2, pure=False)


def _compute(job: FeatureJob) -> FeatureJobResult:
    """Compute a companion on a Dask worker and log an event for each clip."""
    from distributed import get_worker  # noqa: PLC0415 -- fails outside a worker

    worker = get_worker()

    def log(done: int, kept: bool) -> None:
        worker.log_event(_TOPIC, {"shard": job.path, "done": done, "kept": kept})

    return compute_companion(job, log)


def _advance(meter: Meter, seen: dict[str, int], event: tuple[Any, dict[str, Any]]) -> None:
    """Count the clips of an event, once even if a job is computed again."""
    facts = event[1]
    new = facts["done"] - seen.get(facts["shard"], 0)
    if new > 0:
        seen[facts["shard"]] = facts["done"]
        meter(new, kept=facts["kept"])


def _count_clips(con: duckdb.DuckDBPyConnection, jobs: list[FeatureJob]) -> int:
    """Return the number of values to compute."""
    clips = dict(con.execute("SELECT path, clips FROM shards").fetchall())
    return sum(len(job.texts or ()) if job.base is None else clips[job.base] for job in jobs)


def commit_companion(writer: Writer, store: Store, result: FeatureJobResult) -> None:
    """Record a finished companion in one transaction, then publish the manifest."""
    if result.problem:
        return
    con = writer.con
    was_dropped = con.execute("SELECT 1 FROM dropped WHERE shard = ?", [result.path]).fetchall()
    with transaction(con):
        ingest_features(con, [store.root / result.sidecar])
    if was_dropped:
        ledger.save_table(con, store, "dropped")
    writer.publish(force=False)


def _summary(
    extractor: Extractor, lineage: Lineage, source: FeatureInput, results: list[FeatureJobResult]
) -> FeatureResult:
    computed = [result for result in results if not result.problem]
    return FeatureResult(
        feature=extractor.name,
        fingerprint=lineage.fingerprint,
        folder=source.folder,
        shards=len(computed),
        clips=sum(result.clips for result in computed),
        up_to_date=not results,
        problems=tuple(f"{result.path}: {result.problem}" for result in results if result.problem),
    )
