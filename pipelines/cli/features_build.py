"""avstore features build: compute features, one by one or all that a training config reads."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avstore.manifests import commands
from avstore.manifests.advice import recipe_build
from avstore.manifests.store import Store, StoreError, find_store
from avstore.manifests.terminal import console, plural
from avstore.pipelines.cli.feature_settings import Job, Settings
from avstore.pipelines.cli.options import DEFAULT_STORE, ExitCode, StoreOption, WaitOption
from avstore.pipelines.cli.progress import bar, naming_what_is_kept
from avstore.pipelines.cli.tables import print_rows

if TYPE_CHECKING:
    from avstore.pipelines.features.driver import FeatureOptions, FeatureResult
    from avstore.pipelines.features.feature_sets import PlannedFeature
    from avstore.pipelines.features.feature_status import FeatureStatus


def build_features(
    features: Annotated[
        list[str] | None,
        typer.Argument(help="Extractor names (avstore features list), or module:NAME."),
    ] = None,
    for_config: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="CONFIG",
            help="All features that a training config reads, each from the shards of the recipe "
            "that it needs: han, valor, valor_plus, valor_plus_plus, valor_ave, valor_ave_weak.",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Dataset, if the store has several (default: the only one).")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Recipe, or recipe and fingerprint, of the shards (default: the only)."),
    ] = None,
    extractor: Annotated[
        list[str] | None, typer.Option(help="Your extractor, module:NAME (repeatable).")
    ] = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="Rebuild all stale features with their settings.")
    ] = False,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Parameter of the extractor, NAME=VALUE, or of one of several, "
            "FEATURE.NAME=VALUE (repeatable).",
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Local weights, a file or model folder, or of one of several features, "
            "FEATURE=PATH (repeatable; default: the published ones).",
            metavar="PATH",
        ),
    ] = None,
    random_weights: Annotated[
        int | None, typer.Option(help="Seed of random weights, for trials.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda, cuda:1.")] = "auto",
    batch: Annotated[
        int | None, typer.Option(min=1, help="Items per batch (default: the extractor's).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes (default: one per GPU or core).")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a running Dask scheduler (default: local workers)."),
    ] = None,
    wait: WaitOption = 0.0,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Compute features of the clips that lack them, or with --stale all stale features.

    Exit code 1 if clips could not be processed, or with --for if shards of a recipe are missing.
    """
    from avstore.pipelines.features.driver import FeatureOptions

    base = FeatureOptions(
        store=store,
        dataset=dataset,
        recipe=recipe,
        random_seed=random_weights,
        device=device,
        batch_size=batch,
        workers=workers,
        scheduler=scheduler,
        wait_s=wait,
    )
    texts = parameters or [], weights or []
    names = [*(features or []), *(extractor or [])]
    if for_config and (names or stale):
        raise StoreError("--for names the features itself; leave out other features and --stale")
    if for_config:
        has_problem = _build_set(for_config, base, *texts)
    else:
        given = Settings(*texts, names)
        jobs = [(name, given.options(name, base)) for name in names]
        has_problem = _build_jobs(base, jobs + (_stale_jobs(base) if stale else _required(jobs)))
    if has_problem:
        raise typer.Exit(ExitCode.PROBLEM)


def _required(jobs: list[Job]) -> list[Job]:
    """Return no further job, if there is one.

    Raises:
        StoreError: There is none.
    """
    if not jobs:
        names = commands.avstore("features", "list")
        raise StoreError(
            "no feature is given; give a name, --for CONFIG, or --stale; to list names, run "
            f"{names}"
        )
    return []


def _stale_jobs(base: "FeatureOptions") -> list[Job]:
    from avstore.manifests.catalogue import reading
    from avstore.pipelines.features.feature_status import feature_statuses

    store = find_store(base.store)
    with reading(store) as con:
        stored = feature_statuses(con, store)
    return [_rebuild_job(each, base) for each in stored if each.reasons and not each.successor]


def _rebuild_job(found: "FeatureStatus", base: "FeatureOptions") -> Job:
    """Return the build that replaces a stale feature: same parameters, weights and dataset."""
    lineage = found.lineage
    if lineage is None:
        raise StoreError(f"the settings of {found.name} are not recorded; build it by its name")
    weights = lineage.weights
    return lineage.reference, replace(
        base,
        dataset=found.dataset,
        recipe=None if lineage.base == "labels" else lineage.base,
        parameters=dict(lineage.parameters),
        weights=Path(weights["path"]) if weights["kind"] == "file" else None,
        random_seed=weights["seed"],
    )


def _build_jobs(base: "FeatureOptions", jobs: Sequence[Job]) -> bool:
    """Build features one after another; return whether there were problems."""
    return any(bool(built.problems) for built in _built(base, jobs))


def _built(base: "FeatureOptions", jobs: Sequence[Job]) -> "list[FeatureResult]":
    """Build features one after another, and print the result of each."""
    from avstore.pipelines.features.driver import build_feature

    progress, results = partial(bar, console()), []
    with naming_what_is_kept(Store(base.store), console(), companions=True):
        for name, options in jobs:
            results.append(build_feature(name, options, progress))
            _print_built(results[-1])
    return results


def _print_built(built: "FeatureResult") -> None:
    """Print the result of a build."""
    name = f"{built.feature}-{built.fingerprint[:8]}"
    if built.up_to_date:
        console().print(f"{name}: up to date in {built.folder}")
    else:
        clips, shards = plural(built.clips, "clip"), plural(built.shards, "shard")
        console().print(f"{name}: {clips} in {shards} of {built.folder}")
    for problem in built.problems:
        console().print(f"not done: {problem}")


def _build_set(
    name: str, base: "FeatureOptions", parameters: list[str], weights: list[str]
) -> bool:
    """Build all features of a set and count their clips; return whether something is missing."""
    from avstore.manifests.catalogue import reading
    from avstore.pipelines.features import feature_sets

    dataset, features = feature_sets.find_set(name)
    own = feature_sets.SET_PARAMETERS.get(name, ())
    given = Settings([*own, *parameters], weights, features, is_set=True)
    dataset = base.dataset or dataset
    store = find_store(base.store)
    with reading(store) as con:
        planned = feature_sets.plan_set(con, dataset, features, base.recipe)
        lacking = [
            f"the store has no shards of {dataset} by recipe {recipe}, needed by "
            f"{', '.join(names)}; to build them, run {recipe_build(con, store, dataset, recipe)}"
            for recipe, names in feature_sets.missing_recipes(planned).items()
        ]
    if lacking and not any(each.is_computed or each.imported for each in planned):
        raise StoreError("; ".join(lacking))
    jobs = _set_jobs(planned, replace(base, dataset=dataset), given)
    for line in lacking:
        console().print(f"not done: {line}", soft_wrap=True)
    for each in planned:
        if each.imported:
            console().print(f"{each.feature}-{each.imported[:8]}: imported; it is not computed")
    results = _built(base, jobs)
    built = {each.feature: each.fingerprint for each in results}
    with reading(store) as con:
        counts, whole, published = feature_sets.count_clips(con, dataset, planned, built)
    print_rows([vars(each) for each in counts], ("feature", "of", "clips", "missing"))
    clips = plural(published, "published clip")
    console().print(f"all {len(planned)} features of {name}: {whole} of {clips} of {dataset}")
    return bool(lacking) or any(each.problems for each in results)


def _set_jobs(
    planned: "Sequence[PlannedFeature]", base: "FeatureOptions", given: Settings
) -> list[Job]:
    """Return the builds of the features that are computed; all weights are found first."""
    from avstore.pipelines.features.registry import make_extractor
    from avstore.pipelines.features.weights import WeightsError, resolve_weights

    jobs = [
        (each.feature, replace(given.options(each.feature, base), recipe=each.source.name))
        for each in planned
        if each.source and each.is_computed
    ]
    for name, options in jobs:
        extractor = make_extractor(name, options.parameters)
        try:
            resolve_weights(extractor.weights, options.weights, options.random_seed)
        except WeightsError as error:
            text = str(error).replace("--weights FILE", f"--weights {name}=FILE")
            raise WeightsError(f"{name}: {text}") from error
    return jobs
