"""Which base shards still need a companion: a function of manifest and sidecars."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from avstore.manifests.ingest import ingest_features, transaction
from avstore.manifests.store import Store, StoreError, sidecar_of
from avstore.pipelines.features.companion import companion_path
from avstore.pipelines.features.stored_clip import canonical_labels

Labels = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Base:
    """A base shard: its path relative to the store, and its sha256."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Stage:
    """The extraction that a feature is computed from."""

    dataset: str
    recipe: str
    fingerprint: str

    @property
    def name(self) -> str:
        return f"{self.recipe}-{self.fingerprint[:8]}"


def stages(con: duckdb.DuckDBPyConnection, dataset: str | None = None) -> list[Stage]:
    """The stages that have shards, oldest first by when their last clip was extracted."""
    rows = con.execute(
        """
        WITH held AS (SELECT DISTINCT dataset, recipe, fingerprint FROM shards),
             latest AS (SELECT fingerprint, split_part(clip_id, '/', 1) AS dataset,
                               max(extracted_at) AS at FROM quality GROUP BY ALL)
        SELECT h.dataset, h.recipe, h.fingerprint
        FROM held h LEFT JOIN latest l USING (dataset, fingerprint)
        WHERE $dataset IS NULL OR h.dataset = $dataset
        ORDER BY l.at NULLS FIRST, h.fingerprint
        """,
        {"dataset": dataset},
    ).fetchall()
    return [Stage(*row) for row in rows]


def choose_stage(con: duckdb.DuckDBPyConnection, dataset: str | None, recipe: str | None) -> Stage:
    """The stage of a dataset and a recipe (its name: the latest; or <recipe>-<fp8>).

    Raises StoreError, naming what there is, where none or several fit.
    """
    there = stages(con)
    fitting = [
        stage
        for stage in there
        if dataset in (None, stage.dataset) and recipe in (None, stage.recipe, stage.name)
    ]
    if len({(stage.dataset, stage.recipe) for stage in fitting}) == 1:
        return fitting[-1]
    names = "; ".join(f"{stage.dataset} {stage.name}" for stage in there) or "no shards at all"
    if not fitting:
        wanted = " ".join(filter(None, (dataset, recipe)))
        raise StoreError(f"the store has no shards of {wanted or 'anything'}; it has: {names}")
    raise StoreError(f"name one with --dataset and --recipe; the store has: {names}")


def bases(con: duckdb.DuckDBPyConnection, stage: Stage) -> list[Base]:
    """The stage's base shards, in path order."""
    rows = con.execute(
        "SELECT path, sha256 FROM shards WHERE dataset = ? AND fingerprint = ? ORDER BY path",
        [stage.dataset, stage.fingerprint],
    ).fetchall()
    return [Base(*row) for row in rows]


def outstanding(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    stage: Stage,
    feature: str,
    fingerprint: str,
    labels: Labels | None = None,
) -> list[Base]:
    """The base shards whose companion is missing, of another base, or of other labels.

    labels: the clips' present ones, where the feature is computed from them.
    """
    all_bases = bases(con, stage)
    wanted = {companion_path(base.path, feature, fingerprint): base for base in all_bases}
    there = standing(con, store, list(wanted))
    current = {(path, sha256) for path, sha256 in _made_of(con, store, there)}
    stale = _relabelled(con, store, there, labels) if labels is not None else set()
    return [
        base for path, base in wanted.items() if (path, base.sha256) not in current or path in stale
    ]


def take_in(con: duckdb.DuckDBPyConnection, store: Store, shards: Sequence[str]) -> int:
    """Ingest sidecars that differ from the manifest's rows (a run killed between); how many."""
    if not shards:
        return 0
    _read(con, store, shards)
    rows = con.execute(
        """
        SELECT DISTINCT shard FROM (
            SELECT shard, clip_id, "offset", crc32 FROM companions
            EXCEPT SELECT shard, clip_id, "offset", crc32 FROM feature_samples)
        """
    ).fetchall()
    with transaction(con):
        ingest_features(con, [store.root / sidecar_of(shard) for (shard,) in rows])
    return len(rows)


def standing(con: duckdb.DuckDBPyConnection, store: Store, shards: Sequence[str]) -> list[str]:
    """Of these companions, those that were committed and not dropped."""
    dropped = {row[0] for row in con.execute("SELECT shard FROM dropped").fetchall()}
    return [
        path
        for path in shards
        if path not in dropped
        and (store.root / path).is_file()
        and (store.root / sidecar_of(path)).is_file()
    ]


def _made_of(
    con: duckdb.DuckDBPyConnection, store: Store, shards: Sequence[str]
) -> list[tuple[str, str]]:
    if not shards:
        return []
    _read(con, store, shards)
    return con.execute(
        "SELECT shard, any_value(base_sha256) FROM companions GROUP BY shard"
    ).fetchall()


def _relabelled(
    con: duckdb.DuckDBPyConnection, store: Store, shards: Sequence[str], labels: Labels
) -> set[str]:
    """Companions that hold a clip whose labels are others now."""
    if not shards:
        return set()
    _read(con, store, shards)
    rows = con.execute("SELECT shard, clip_id, labels_sha256 FROM companions").fetchall()
    return {
        shard
        for shard, clip_id, found in rows
        if found != hashlib.sha256(canonical_labels(labels.get(clip_id, ())).encode()).hexdigest()
    }


def _read(con: duckdb.DuckDBPyConnection, store: Store, shards: Sequence[str]) -> None:
    con.execute(
        "CREATE OR REPLACE TEMP TABLE companions AS "
        "SELECT * FROM read_parquet(?, union_by_name = true)",
        [[str(store.root / sidecar_of(shard)) for shard in shards]],
    )


def labels_of(con: duckdb.DuckDBPyConnection, dataset: str) -> Labels:
    """The present labels of every clip of a dataset."""
    rows = con.execute("SELECT clip_id, labels FROM clips WHERE dataset = ?", [dataset]).fetchall()
    return {clip_id: tuple(labels or ()) for clip_id, labels in rows}


def vocabulary_of(con: duckdb.DuckDBPyConnection, dataset: str) -> dict[str, str]:
    """A dataset's labels in index order: '<dataset>/label-0003' to its text."""
    rows = con.execute(
        "SELECT label_id, label FROM labels WHERE dataset = ? ORDER BY label_id", [dataset]
    ).fetchall()
    if not rows:
        raise StoreError(f"{dataset} has no label vocabulary in this store")
    return {f"{dataset}/label-{number:04d}": label for number, label in rows}
