"""Name the features that a training config reads, with the recipes that each is computed from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from avstore.manifests.nearest import did_you_mean
from avstore.manifests.store import StoreError
from avstore.pipelines.features.base_shards import FeatureInput, extracted_inputs
from avstore.pipelines.features.extractor import FeatureError, bases_of
from avstore.pipelines.features.lineage import recorded_lineages
from avstore.pipelines.features.registry import make_extractor

_TEACHERS = ("valor-clap-labels", "valor-clip-labels")
_HAN = ("vggish", "resnet152", "r2plus1d18")
_PLUS_PLUS = ("clap-map", "clip-vitl14", "r2plus1d18")
FEATURE_SETS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "han": ("llp", _HAN),
    "valor": ("llp", (*_HAN, *_TEACHERS)),
    "valor_plus": ("llp", (*_HAN, *_TEACHERS)),
    "valor_plus_plus": ("llp", (*_PLUS_PLUS, *_TEACHERS)),
    "valor_ave": ("ave", _PLUS_PLUS),
    "valor_ave_weak": ("ave", (*_PLUS_PLUS, *_TEACHERS)),
}
"""Dataset and features by the name of the config that reads them, in the order of a build."""

SET_PARAMETERS: Mapping[str, tuple[str, ...]] = {"valor_ave_weak": ("dataset=ave",)}
"""Parameters NAME=VALUE of a set's features, by the set's name, which --set replaces."""

_RECIPES: Mapping[str, tuple[str, ...]] = {
    "vggish": ("llp", "llp_published"),
    "clip-vitl14": ("valor", "valor_published"),
}
"""Recipes for the features whose extractors take any; the first is the one to build with."""


_HELD = """
SELECT features, count(*) FROM (
  SELECT clip_id, list(DISTINCT f.feature) AS features
  FROM feature_samples f JOIN clips c USING (clip_id)
  JOIN (SELECT unnest($names) AS feature, unnest($versions) AS fingerprint)
    USING (feature, fingerprint)
  WHERE c.dataset = $d GROUP BY clip_id)
GROUP BY features
"""


@dataclass(frozen=True)
class PlannedFeature:
    """Plan one feature of a set.

    Attributes:
        feature: Its name.
        recipes: The recipes that it can be computed from; the first is the one to build with.
        source: The shards that it is computed from; None if the store has none that fit.
        imported: Fingerprint of its imported version, which is used instead; None without one.
    """

    feature: str
    recipes: tuple[str, ...]
    source: FeatureInput | None
    imported: str | None

    @property
    def is_computed(self) -> bool:
        """Whether a build computes it: it is not imported, and its shards are there."""
        return self.imported is None and self.source is not None


@dataclass(frozen=True)
class FeatureCount:
    """Count the clips that have a feature.

    Attributes:
        feature: Its name.
        of: The shards that it was computed from, `imported`, or the recipe that is missing.
        clips: Published clips that have it.
        missing: Published clips that lack it.
    """

    feature: str
    of: str
    clips: int
    missing: int


def find_set(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the dataset and the features of a set.

    Raises:
        FeatureError: There is no such set.
    """
    if name not in FEATURE_SETS:
        raise FeatureError(
            f"--for {name!r} is not a config with features of its own"
            f"{did_you_mean(name, FEATURE_SETS)}; choose one of {', '.join(FEATURE_SETS)}"
        )
    return FEATURE_SETS[name]


def plan_set(
    con: duckdb.DuckDBPyConnection, dataset: str, features: Sequence[str], recipe: str | None = None
) -> list[PlannedFeature]:
    """Plan the features of a set.

    Args:
        con: The manifest.
        dataset: The dataset.
        features: Names of the features.
        recipe: Shards to prefer for the features that can be computed from them: a recipe's name
            or `<recipe>-<fp8>`.

    Raises:
        StoreError: No feature can be computed from the shards of `recipe`.
    """
    available = extracted_inputs(con, dataset)
    imported = {
        lineage.feature: lineage.fingerprint
        for lineage in recorded_lineages(con).values()
        if lineage.is_imported and lineage.parameters["dataset"] == dataset
    }
    planned = []
    for feature in features:
        recipes = _recipes_of(feature)
        source = _choose(available, recipes, recipe)
        planned.append(PlannedFeature(feature, recipes, source, imported.get(feature)))
    if recipe and not any(each.source and _is_named(each.source, recipe) for each in planned):
        needed = sorted({name for each in planned for name in each.recipes})
        names = ", ".join(each.name for each in available) or "none"
        raise StoreError(
            f"no feature is computed from shards of {recipe!r}; the features need shards of "
            f"{', '.join(needed)}, and the store has of {dataset}: {names}"
        )
    return planned


def _recipes_of(feature: str) -> tuple[str, ...]:
    return bases_of(make_extractor(feature)) or _RECIPES.get(feature, ())


def _is_named(source: FeatureInput, recipe: str) -> bool:
    return recipe in (source.base, source.name)


def _choose(
    available: Sequence[FeatureInput], recipes: Sequence[str], recipe: str | None
) -> FeatureInput | None:
    """Return the latest shards of the named recipe if it fits, else of the first that has any."""
    fitting = [each for each in available if not recipes or each.base in recipes]
    named = [each for each in fitting if recipe and _is_named(each, recipe)]
    ordered = sorted(fitting, key=lambda each: -recipes.index(each.base) if recipes else 0)
    return next(reversed(named or ordered), None)


def missing_recipes(planned: Sequence[PlannedFeature]) -> dict[str, list[str]]:
    """Return the features that cannot be computed, by the recipe whose shards they need."""
    missing: dict[str, list[str]] = {}
    for each in planned:
        if not each.is_computed and each.imported is None:
            missing.setdefault(each.recipes[0] if each.recipes else "", []).append(each.feature)
    return missing


def count_clips(
    con: duckdb.DuckDBPyConnection,
    dataset: str,
    planned: Sequence[PlannedFeature],
    built: Mapping[str, str],
) -> tuple[list[FeatureCount], int, int]:
    """Count the published clips that have each feature, and all of them.

    Args:
        con: The manifest.
        dataset: The dataset.
        planned: The features.
        built: Fingerprint of each computed feature, by its name.

    Returns:
        The counts, the number of clips with all features, and the number of published clips.
    """
    versions = {**{each.feature: each.imported for each in planned if each.imported}, **built}
    given = {"d": dataset, "names": [*versions], "versions": [*versions.values()]}
    held = con.execute(_HELD, given).fetchall()
    by_feature = {name: sum(clips for names, clips in held if name in names) for name in versions}
    whole = sum(clips for names, clips in held if len(names) == len(planned))
    ((published,),) = con.execute(
        "SELECT count(*) FROM clips WHERE dataset = ?", [dataset]
    ).fetchall()
    return list(_counts(planned, by_feature, published)), whole, published


def _counts(
    planned: Sequence[PlannedFeature], by_feature: Mapping[str, int], published: int
) -> Iterator[FeatureCount]:
    for each in planned:
        clips = by_feature.get(each.feature, 0)
        of = f"no shards of recipe {each.recipes[0]}" if each.recipes else "no shards"
        if each.imported:
            of = "imported"
        elif each.source:
            of = each.source.name
        yield FeatureCount(each.feature, of, clips, published - clips)
