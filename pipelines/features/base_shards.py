"""Query manifest and sidecars for what a feature is computed from, and what is outstanding."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from avstore.manifests.ingest import ingest_features, transaction
from avstore.manifests.sealed import read_parquet
from avstore.manifests.store import Store, StoreError, sidecar_of
from avstore.pipelines.features.companion import companion_path
from avstore.pipelines.features.stored_clip import labels_sha256

ClipLabels = dict[str, tuple[str, ...]]
"""Labels by clip_id."""

VOCABULARY = "vocabulary"
"""Features of a dataset's labels: shards/<dataset>/vocabulary/labels-000000.<feature>-<fp8>.tar."""


@dataclass(frozen=True)
class BaseShard:
    """Identify a base shard.

    Attributes:
        path: Relative to the store.
        sha256: Hex digest of the file.
    """

    path: str
    sha256: str


@dataclass(frozen=True)
class FeatureInput:
    """Identify what a feature is computed from: a dataset's shards of one recipe, or its labels.

    Attributes:
        dataset: The dataset.
        base: The recipe's name, or `labels`.
        fingerprint: The recipe's fingerprint, or the sha256 of the labels.
    """

    dataset: str
    base: str
    fingerprint: str

    @property
    def name(self) -> str:
        """Return `<recipe>-<fp8>`, or `vocabulary`."""
        return VOCABULARY if self.base == "labels" else f"{self.base}-{self.fingerprint[:8]}"

    @property
    def folder(self) -> str:
        """Return the companions' folder, relative to the store."""
        return f"shards/{self.dataset}/{self.name}/"


def extracted_inputs(
    con: duckdb.DuckDBPyConnection, dataset: str | None = None
) -> list[FeatureInput]:
    """Return the recipes that have shards, the one with the latest extracted clip last."""
    rows = con.execute(
        """
        WITH held AS (SELECT DISTINCT dataset, recipe, fingerprint FROM shards),
             latest AS (SELECT fingerprint, split_part(clip_id, '/', 1) AS dataset,
                               max(seq) AS seq FROM quality GROUP BY ALL)
        SELECT h.dataset, h.recipe, h.fingerprint
        FROM held h LEFT JOIN latest l USING (dataset, fingerprint)
        WHERE $dataset IS NULL OR h.dataset = $dataset
        ORDER BY l.seq NULLS FIRST, h.fingerprint
        """,
        {"dataset": dataset},
    ).fetchall()
    return [FeatureInput(*row) for row in rows]


def select_input(
    con: duckdb.DuckDBPyConnection,
    dataset: str | None,
    recipe: str | None,
    bases: Sequence[str] = (),
) -> FeatureInput:
    """Return the shards of a dataset and a recipe.

    Args:
        con: The manifest.
        dataset: Name of the dataset; may be omitted if the store has one.
        recipe: A recipe's name (its latest shards) or `<recipe>-<fp8>`; may be omitted if the
            store has one that fits.
        bases: The recipes that fit if none is named; none are given if all do.

    Raises:
        StoreError: None or several fit; the message lists what the store has.
    """
    available = extracted_inputs(con)
    fitting = [
        each
        for each in available
        if dataset in (None, each.dataset) and recipe in (None, each.base, each.name)
    ]
    needed = [each for each in fitting if each.base in bases]
    if bases and recipe is None and fitting:
        if not needed:
            raise _wrong_base(fitting, bases)
        fitting = needed
    if len({(each.dataset, each.base) for each in fitting}) == 1:
        return fitting[-1]
    names = "; ".join(f"{each.dataset} {each.name}" for each in available) or "no shards at all"
    if not fitting:
        wanted = " ".join(filter(None, (dataset, recipe)))
        raise StoreError(f"the store has no shards of {wanted or 'anything'}; it has: {names}")
    raise StoreError(f"choose one with --dataset and --recipe; the store has: {names}")


def _wrong_base(found: Sequence[FeatureInput], bases: Sequence[str]) -> StoreError:
    """Return the error for a store without shards of a needed recipe."""
    names = "; ".join(f"{each.dataset} {each.name}" for each in found)
    return StoreError(
        f"this feature needs shards of recipe {' or '.join(bases)}; the store has: {names}. Build "
        f"the dataset with --recipe {bases[0]}, or give --recipe {found[-1].base} to compute the "
        "feature from those shards all the same"
    )


def vocabulary_input(con: duckdb.DuckDBPyConnection, dataset: str) -> FeatureInput:
    """Return a dataset's labels as a feature's input."""
    labels = json.dumps(label_texts(con, dataset), sort_keys=True, ensure_ascii=False)
    return FeatureInput(dataset, "labels", hashlib.sha256(labels.encode()).hexdigest())


def base_shards(con: duckdb.DuckDBPyConnection, source: FeatureInput) -> list[BaseShard]:
    """Return the input's base shards, in path order."""
    rows = con.execute(
        "SELECT path, sha256 FROM shards WHERE dataset = ? AND fingerprint = ? ORDER BY path",
        [source.dataset, source.fingerprint],
    ).fetchall()
    return [BaseShard(*row) for row in rows]


def outstanding_shards(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    source: FeatureInput,
    feature: str,
    fingerprint: str,
    labels: ClipLabels | None = None,
) -> list[BaseShard]:
    """Return the base shards whose companion is missing or was computed from other input.

    Args:
        con: The manifest.
        store: The store.
        source: Dataset and recipe of the base shards.
        feature: Name of the feature.
        fingerprint: The feature's fingerprint.
        labels: The clips' current labels, if the feature is computed from them.
    """
    by_companion = {
        companion_path(base.path, feature, fingerprint): base for base in base_shards(con, source)
    }
    committed = committed_companions(con, store, list(by_companion))
    current = set(_base_digests(con, store, committed))
    relabelled = _relabelled(con, store, committed, labels) if labels is not None else set()
    return [
        base
        for path, base in by_companion.items()
        if (path, base.sha256) not in current or path in relabelled
    ]


def ingest_unrecorded(con: duckdb.DuckDBPyConnection, store: Store, shards: Sequence[str]) -> None:
    """Ingest the sidecars that differ from the manifest's rows, as a killed run leaves them."""
    if not shards:
        return
    _read_sidecars(con, store, shards)
    rows = con.execute(
        """
        SELECT DISTINCT shard FROM (
            SELECT shard, clip_id, "offset", crc32 FROM companions
            EXCEPT SELECT shard, clip_id, "offset", crc32 FROM feature_samples)
        """
    ).fetchall()
    with transaction(con):
        ingest_features(con, [store.root / sidecar_of(shard) for (shard,) in rows])


def committed_companions(
    con: duckdb.DuckDBPyConnection, store: Store, shards: Sequence[str]
) -> list[str]:
    """Return those companions that have a tar and a sidecar and are not dropped."""
    dropped = {row[0] for row in con.execute("SELECT shard FROM dropped").fetchall()}
    return [
        path
        for path in shards
        if path not in dropped
        and (store.root / path).is_file()
        and (store.root / sidecar_of(path)).is_file()
    ]


def _base_digests(
    con: duckdb.DuckDBPyConnection, store: Store, shards: Sequence[str]
) -> list[tuple[str, str]]:
    """Return each companion with the sha256 of the base shard it was computed from."""
    if not shards:
        return []
    _read_sidecars(con, store, shards)
    return con.execute(
        "SELECT shard, any_value(base_sha256) FROM companions GROUP BY shard"
    ).fetchall()


def _relabelled(
    con: duckdb.DuckDBPyConnection, store: Store, shards: Sequence[str], labels: ClipLabels
) -> set[str]:
    """Return the companions that hold a clip whose labels changed."""
    if not shards:
        return set()
    _read_sidecars(con, store, shards)
    rows = con.execute("SELECT shard, clip_id, labels_sha256 FROM companions").fetchall()
    return {
        shard for shard, clip_id, sha256 in rows if sha256 != labels_sha256(labels.get(clip_id, ()))
    }


def _read_sidecars(con: duckdb.DuckDBPyConnection, store: Store, shards: Sequence[str]) -> None:
    """Read the companions' sidecars as the temporary view `companions`."""
    tables = [read_parquet(store.root / sidecar_of(shard)) for shard in shards]
    con.register("companions", pa.concat_tables(tables, promote_options="permissive"))


def clip_labels(con: duckdb.DuckDBPyConnection, dataset: str) -> ClipLabels:
    """Return the current labels of every clip of a dataset."""
    rows = con.execute("SELECT clip_id, labels FROM clips WHERE dataset = ?", [dataset]).fetchall()
    return {clip_id: tuple(labels or ()) for clip_id, labels in rows}


def label_texts(con: duckdb.DuckDBPyConnection, dataset: str) -> dict[str, str]:
    """Return a dataset's labels by key, in index order: '<dataset>/label-0003' to its text.

    Raises:
        StoreError: The store has no labels of the dataset.
    """
    rows = con.execute(
        "SELECT label_id, label FROM labels WHERE dataset = ? ORDER BY label_id", [dataset]
    ).fetchall()
    if not rows:
        raise StoreError(f"{dataset} has no label vocabulary in this store")
    return {f"{dataset}/label-{number:04d}": label for number, label in rows}
