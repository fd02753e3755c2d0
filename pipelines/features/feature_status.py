"""Find the features whose values a build would compute differently today, and why."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import duckdb

from avstore.manifests.store import Store
from avstore.pipelines.extract.recipe import load_recipe, recipe_names
from avstore.pipelines.features.base_shards import (
    VOCABULARY,
    FeatureInput,
    clip_labels,
    committed_companions,
    extracted_inputs,
    label_texts,
    outstanding_shards,
    vocabulary_input,
)
from avstore.pipelines.features.companion import companion_path
from avstore.pipelines.features.extractor import Extractor, FeatureError
from avstore.pipelines.features.lineage import (
    IMPORTED,
    Lineage,
    lineage_differences,
    lineage_of,
    recorded_lineages,
)
from avstore.pipelines.features.registry import make_extractor
from avstore.pipelines.features.weights import Weights


@dataclass(frozen=True)
class FeatureStatus:
    """Describe one version of a feature of one dataset in the store.

    Attributes:
        feature: Name of the feature.
        fingerprint: The feature's fingerprint.
        dataset: The dataset.
        folder: The companions' folder, relative to the store.
        clips: Number of clips that have it.
        total_clips: Number of clips that can have it.
        shape: Types and shapes of its values.
        lineage: What its values depend on; None if it is not recorded.
        reasons: Why it is stale; empty if it is current.
        successor: The version in the store that replaces it.
    """

    feature: str
    fingerprint: str
    dataset: str
    folder: str
    clips: int
    total_clips: int
    shape: str
    lineage: Lineage | None
    reasons: tuple[str, ...]
    successor: str | None = None

    @property
    def state(self) -> str:
        """Return 'current', 'imported', 'stale: …' or 'replaced by <successor> (<reasons>)'."""
        if not self.reasons:
            return "imported" if self.lineage and self.lineage.is_imported else "current"
        why = "; ".join(self.reasons)
        return f"replaced by {self.successor} ({why})" if self.successor else f"stale: {why}"

    @property
    def name(self) -> str:
        """Return `<feature>-<fp8>`."""
        return f"{self.feature}-{self.fingerprint[:8]}"


def feature_statuses(con: duckdb.DuckDBPyConnection, store: Store) -> list[FeatureStatus]:
    """Return the status of every feature in the store, by dataset and base shards."""
    known = recorded_lineages(con)
    rows = con.execute(
        """
        SELECT feature, fingerprint, split_part(shard, '/', 2) AS dataset,
               regexp_extract(shard, '^(.*/)', 1) AS folder, count(*) AS clips,
               string_agg(DISTINCT dtype || ' ' || shape, ', ' ORDER BY dtype || ' ' || shape)
        FROM feature_samples GROUP BY ALL ORDER BY dataset, feature, folder, fingerprint
        """
    ).fetchall()
    return [_status(con, store, row, known.get((row[0], row[1]))) for row in rows]


def _status(
    con: duckdb.DuckDBPyConnection, store: Store, row: tuple[str, ...], lineage: Lineage | None
) -> FeatureStatus:
    feature, fingerprint, dataset, folder, clips, shape = row
    total = _total_clips(con, dataset, folder)
    status = FeatureStatus(
        feature, fingerprint, dataset, folder, int(clips), total, shape, lineage, ()
    )
    if lineage is None or lineage.is_imported:
        return status
    try:
        extractor = make_extractor(lineage.reference, dict(lineage.parameters))
    except FeatureError as error:
        return replace(status, reasons=(f"it cannot be computed any more: {error}",))
    new = _current_lineage(con, dataset, lineage, extractor)
    reasons = (
        *lineage_differences(lineage, new),
        *_changed_inputs(con, store, dataset, lineage, extractor),
    )
    stored = con.execute(
        "SELECT 1 FROM feature_samples WHERE feature = ? AND fingerprint = ? "
        "AND starts_with(shard, ?) LIMIT 1",
        [new.feature, new.fingerprint, f"shards/{dataset}/"],
    ).fetchall()
    replaced = bool(stored) and new.fingerprint != lineage.fingerprint
    successor = f"{new.feature}-{new.fp8}" if replaced else None
    return replace(status, reasons=reasons, successor=successor)


def _total_clips(con: duckdb.DuckDBPyConnection, dataset: str, folder: str) -> int:
    """Return how many clips, or labels of a vocabulary, can have a feature."""
    if folder.endswith(f"/{IMPORTED}/"):
        ((published,),) = con.execute(
            "SELECT count(*) FROM clips WHERE dataset = ?", [dataset]
        ).fetchall()
        return int(published)
    if folder.endswith(f"/{VOCABULARY}/"):
        return len(label_texts(con, dataset))
    query = "SELECT count(*) FROM samples WHERE starts_with(shard, ?)"
    ((count,),) = con.execute(query, [folder]).fetchall()
    return int(count)


def _current_lineage(
    con: duckdb.DuckDBPyConnection, dataset: str, old: Lineage, extractor: Extractor
) -> Lineage:
    """Return the lineage that the same feature has if it is built now."""
    source = _current_input(con, dataset, old)
    weights = Weights(**old.weights)
    return lineage_of(extractor, old.reference, weights, source.base, source.fingerprint)


def _current_input(con: duckdb.DuckDBPyConnection, dataset: str, old: Lineage) -> FeatureInput:
    """Return the current labels, or the recipe's latest shards, else the shipped recipe."""
    if old.base == "labels":
        return vocabulary_input(con, dataset)
    shards = [source for source in extracted_inputs(con, dataset) if source.base == old.base]
    if shards and shards[-1].fingerprint != old.base_fingerprint:
        return shards[-1]
    if old.base in recipe_names():
        return FeatureInput(dataset, old.base, load_recipe(old.base).fingerprint)
    return FeatureInput(dataset, old.base, old.base_fingerprint)


def _changed_inputs(
    con: duckdb.DuckDBPyConnection, store: Store, dataset: str, old: Lineage, extractor: Extractor
) -> Iterator[str]:
    """Report companions that exist but whose base shard or labels changed."""
    if old.base == "labels":
        return
    labels = clip_labels(con, dataset) if "labels" in extractor.reads else None
    source = FeatureInput(dataset, old.base, old.base_fingerprint)
    bases = outstanding_shards(con, store, source, old.feature, old.fingerprint, labels)
    paths = [companion_path(base.path, old.feature, old.fingerprint) for base in bases]
    changed = committed_companions(con, store, paths)
    if changed:
        what = "labels or base" if labels is not None else "base"
        yield f"{what} of {len(changed)} shards changed"
