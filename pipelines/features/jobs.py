"""What of a feature is there to compute: the base it is of, and the jobs that are outstanding."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import duckdb

from avstore.manifests.store import Store
from avstore.pipelines.features import base_shards as plan
from avstore.pipelines.features.companion import FeatureJob, companion_path
from avstore.pipelines.features.extractor import Extractor
from avstore.pipelines.features.lineage import Lineage
from avstore.pipelines.features.worker_model import ModelKey

VOCABULARY = "vocabulary"
"""Features of a dataset's labels: shards/<dataset>/vocabulary/labels-000000.<feature>-<fp8>.tar."""


@dataclass(frozen=True)
class Scope:
    """What a feature is computed from: a dataset's shards of one recipe, or its labels.

    base, fingerprint: the recipe's name and fingerprint, or 'labels' and their sha256.
    """

    dataset: str
    base: str
    fingerprint: str

    @property
    def folder(self) -> str:
        """The companions' folder, relative to the store."""
        stage = f"{self.base}-{self.fingerprint[:8]}" if self.base != "labels" else VOCABULARY
        return f"shards/{self.dataset}/{stage}/"


def scope_of(
    con: duckdb.DuckDBPyConnection, extractor: Extractor, dataset: str | None, recipe: str | None
) -> Scope:
    """The scope that dataset and recipe name. Raises StoreError where none or several fit."""
    stage = plan.choose_stage(con, dataset, recipe)
    if extractor.reads != ("text",):
        return Scope(stage.dataset, stage.recipe, stage.fingerprint)
    return vocabulary(con, stage.dataset)


def vocabulary(con: duckdb.DuckDBPyConnection, dataset: str) -> Scope:
    """A dataset's labels as a scope."""
    labels = json.dumps(plan.vocabulary_of(con, dataset), sort_keys=True, ensure_ascii=False)
    return Scope(dataset, "labels", hashlib.sha256(labels.encode()).hexdigest())


def jobs(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    scope: Scope,
    extractor: Extractor,
    lineage: Lineage,
    key: ModelKey,
    batch_size: int,
) -> Iterator[FeatureJob]:
    """The outstanding companion shards, in path order."""
    root, print_ = store.root.resolve(), lineage.fingerprint
    if scope.base == "labels":
        path = companion_path(f"{scope.folder}labels-000000.tar", extractor.name, print_)
        if not plan.standing(con, store, [path]):
            texts = plan.vocabulary_of(con, scope.dataset)
            yield FeatureJob(
                root, path, print_, key, batch_size, None, scope.fingerprint, None, texts
            )
        return
    labels = plan.labels_of(con, scope.dataset) if "labels" in extractor.reads else None
    stage = plan.Stage(scope.dataset, scope.base, scope.fingerprint)
    for base in plan.outstanding(con, store, stage, extractor.name, print_, labels):
        path = companion_path(base.path, extractor.name, print_)
        theirs = None if labels is None else _of_shard(con, base.path, labels)
        yield FeatureJob(root, path, print_, key, batch_size, base.path, base.sha256, theirs)


def _of_shard(con: duckdb.DuckDBPyConnection, shard: str, labels: plan.Labels) -> plan.Labels:
    rows = con.execute("SELECT clip_id FROM samples WHERE shard = ?", [shard]).fetchall()
    return {clip_id: labels.get(clip_id, ()) for (clip_id,) in rows}


def companions(scope: Scope, extractor: Extractor, fingerprint: str, store: Store) -> list[str]:
    """The companion shards of a feature that lie in the store, relative to it."""
    pattern = f"*.{extractor.name}-{fingerprint[:8]}.tar"
    found = sorted((store.root / scope.folder).glob(pattern))
    return [str(path.relative_to(store.root)) for path in found]
