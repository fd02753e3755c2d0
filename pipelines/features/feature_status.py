"""Which features of a store a build would compute otherwise today, and why."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import duckdb

from avstore.manifests.store import Store
from avstore.pipelines.extract.recipe import load_recipe, recipe_names
from avstore.pipelines.features import base_shards as plan
from avstore.pipelines.features import jobs as work
from avstore.pipelines.features import lineage as lineages
from avstore.pipelines.features.companion import companion_path
from avstore.pipelines.features.extractor import Extractor, FeatureError
from avstore.pipelines.features.lineage import Lineage
from avstore.pipelines.features.registry import make
from avstore.pipelines.features.weights import Weights


@dataclass(frozen=True)
class Standing:
    """A feature of one dataset as it stands in the store.

    clips: that have it; of: clips that could. reasons: why it is stale; none where it is not.
    successor: what was built in its place and stands in the store.
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
    successor: str | None = None

    @property
    def state(self) -> str:
        """In words: current, or stale and why, or replaced and by what."""
        if not self.reasons:
            return "current"
        why = "; ".join(self.reasons)
        return f"replaced by {self.successor} ({why})" if self.successor else f"stale: {why}"

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
    there = Standing(feature, fingerprint, dataset, folder, int(clips), int(of), shape, lineage, ())
    if lineage is None:
        return there
    try:
        extractor = make(lineage.reference, dict(lineage.parameters))
    except FeatureError as error:
        return replace(there, reasons=(f"it cannot be computed any more: {error}",))
    new = _today(con, dataset, lineage, extractor)
    reasons = (
        *lineages.differences(lineage, new),
        *_relabelled(con, store, dataset, lineage, extractor),
    )
    stands = con.execute(
        "SELECT 1 FROM feature_samples WHERE feature = ? AND fingerprint = ? "
        "AND starts_with(shard, ?) LIMIT 1",
        [new.feature, new.fingerprint, f"shards/{dataset}/"],
    ).fetchall()
    replaced = bool(stands) and new.fingerprint != lineage.fingerprint
    successor = f"{new.feature}-{new.fp8}" if replaced else None
    return replace(there, reasons=reasons, successor=successor)


def _today(
    con: duckdb.DuckDBPyConnection, dataset: str, old: Lineage, extractor: Extractor
) -> Lineage:
    """The lineage that the same feature would have if it were built now."""
    scope = _present(con, dataset, old)
    weights = Weights(**old.weights)
    return lineages.lineage_of(extractor, old.reference, weights, scope.base, scope.fingerprint)


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
