"""Which features of a store a build would compute otherwise today, and why."""

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb

from manifests.store import Store
from pipelines.features import lineage as lineages
from pipelines.features import plan, work
from pipelines.features.companion import companion_path
from pipelines.features.extractor import Extractor, FeatureError
from pipelines.features.lineage import Lineage
from pipelines.features.registry import make
from pipelines.features.weights import Weights
from pipelines.recipe import load_recipe, recipe_names


@dataclass(frozen=True)
class Standing:
    """A feature of one dataset as it stands in the store.

    clips: that have it; of: clips that could. reasons: why it is stale; none where it is not.
    """

    feature: str
    fingerprint: str
    dataset: str
    folder: str
    clips: int
    of: int
    shape: str
    lineage: Lineage | None
    reasons: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.feature}-{self.fingerprint[:8]}"


def standings(con: duckdb.DuckDBPyConnection, store: Store) -> list[Standing]:
    """Every feature in the store, by dataset and base shards."""
    known = lineages.recorded(con)
    rows = con.execute(
        """
        SELECT feature, fingerprint, split_part(shard, '/', 2) AS dataset,
               regexp_extract(shard, '^(.*/)', 1) AS folder, count(*) AS clips,
               string_agg(DISTINCT dtype || ' ' || shape, ', ' ORDER BY dtype || ' ' || shape)
        FROM feature_samples GROUP BY ALL ORDER BY dataset, feature, folder, fingerprint
        """
    ).fetchall()
    return [_standing(con, store, row, known.get((row[0], row[1]))) for row in rows]


def _standing(
    con: duckdb.DuckDBPyConnection, store: Store, row: tuple[str, ...], lineage: Lineage | None
) -> Standing:
    feature, fingerprint, dataset, folder, clips, shape = row
    counted = "SELECT count(*) FROM samples WHERE starts_with(shard, ?)"
    ((of,),) = con.execute(counted, [folder]).fetchall()
    if folder.endswith(f"/{work.VOCABULARY}/"):
        of = len(plan.vocabulary_of(con, dataset))
    reasons = tuple(_reasons(con, store, dataset, lineage)) if lineage else ()
    return Standing(
        feature, fingerprint, dataset, folder, int(clips), int(of), shape, lineage, reasons
    )


def _reasons(
    con: duckdb.DuckDBPyConnection, store: Store, dataset: str, old: Lineage
) -> Iterator[str]:
    try:
        extractor = make(old.reference, dict(old.parameters))
    except FeatureError as error:
        yield f"it cannot be computed any more: {error}"
        return
    scope = _present(con, dataset, old)
    new = lineages.lineage_of(
        extractor, old.reference, Weights(**old.weights), scope.base, scope.fingerprint
    )
    yield from lineages.differences(old, new)
    yield from _relabelled(con, store, dataset, old, extractor)


def _present(con: duckdb.DuckDBPyConnection, dataset: str, old: Lineage) -> work.Scope:
    """What the feature would be computed from today: the present labels, the recipe as it is."""
    if old.base == "labels":
        return work.vocabulary(con, dataset)
    latest = [stage for stage in plan.stages(con, dataset) if stage.recipe == old.base]
    if latest and latest[-1].fingerprint != old.base_fingerprint:
        return work.Scope(dataset, old.base, latest[-1].fingerprint)
    if old.base in recipe_names():
        return work.Scope(dataset, old.base, load_recipe(old.base).fingerprint)
    return work.Scope(dataset, old.base, old.base_fingerprint)


def _relabelled(
    con: duckdb.DuckDBPyConnection, store: Store, dataset: str, old: Lineage, extractor: Extractor
) -> Iterator[str]:
    """Shards that are there and yet outstanding: their base or their labels are others."""
    if old.base == "labels":
        return
    labels = plan.labels_of(con, dataset) if "labels" in extractor.reads else None
    stage = plan.Stage(dataset, old.base, old.base_fingerprint)
    wanted = plan.outstanding(con, store, stage, old.feature, old.fingerprint, labels)
    there = plan.standing(
        con,
        store,
        [companion_path(base.path, old.feature, old.fingerprint) for base in wanted],
    )
    if there:
        what = "labels or base" if labels is not None else "base"
        yield f"{what} of {len(there)} shards changed"
