"""Find outstanding feature jobs."""

from collections.abc import Iterator

import duckdb

from avstore.manifests.store import Store
from avstore.pipelines.features.base_shards import (
    ClipLabels,
    FeatureInput,
    clip_labels,
    committed_companions,
    label_texts,
    outstanding_shards,
    select_input,
    vocabulary_input,
)
from avstore.pipelines.features.companion import FeatureJob, companion_path
from avstore.pipelines.features.extractor import Extractor, bases_of
from avstore.pipelines.features.lineage import Lineage
from avstore.pipelines.features.worker_model import ModelKey


def input_of(
    con: duckdb.DuckDBPyConnection, extractor: Extractor, dataset: str | None, recipe: str | None
) -> FeatureInput:
    """Return what an extractor reads: the shards of dataset and recipe, or the dataset's labels.

    Raises:
        StoreError: None or several fit.
    """
    shards = select_input(con, dataset, recipe, bases_of(extractor))
    return vocabulary_input(con, shards.dataset) if extractor.reads == ("text",) else shards


def feature_jobs(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    source: FeatureInput,
    extractor: Extractor,
    lineage: Lineage,
    key: ModelKey,
    batch_size: int,
) -> Iterator[FeatureJob]:
    """Yield a job for each outstanding companion shard, in path order."""
    root, fingerprint = store.root.resolve(), lineage.fingerprint
    if source.base == "labels":
        path = companion_path(f"{source.folder}labels-000000.tar", extractor.name, fingerprint)
        if not committed_companions(con, store, [path]):
            yield FeatureJob(
                root,
                path,
                fingerprint,
                key,
                batch_size,
                base_sha256=source.fingerprint,
                texts=label_texts(con, source.dataset),
            )
        return
    labels = clip_labels(con, source.dataset) if "labels" in extractor.reads else None
    for base in outstanding_shards(con, store, source, extractor.name, fingerprint, labels):
        path = companion_path(base.path, extractor.name, fingerprint)
        needed = None if labels is None else _labels_of_shard(con, base.path, labels)
        yield FeatureJob(root, path, fingerprint, key, batch_size, base.path, base.sha256, needed)


def _labels_of_shard(con: duckdb.DuckDBPyConnection, shard: str, labels: ClipLabels) -> ClipLabels:
    """Return the labels of one shard's clips."""
    rows = con.execute("SELECT clip_id FROM samples WHERE shard = ?", [shard]).fetchall()
    return {clip_id: labels.get(clip_id, ()) for (clip_id,) in rows}


def companion_files(
    source: FeatureInput, extractor: Extractor, fingerprint: str, store: Store
) -> list[str]:
    """Return a feature's companion shards on disk, relative to the store, sorted."""
    pattern = f"*.{extractor.name}-{fingerprint[:8]}.tar"
    found = sorted((store.root / source.folder).glob(pattern))
    return [str(path.relative_to(store.root)) for path in found]
