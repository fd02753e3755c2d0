"""`avstore features`: compute derived features from shards, and see what they were made of."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from avstore.manifests import ledger
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.drop import drop_feature
from avstore.manifests.lock import writing
from avstore.manifests.store import Store, StoreError, find_store
from avstore.pipelines.build.recovery import recover
from avstore.pipelines.cli.options import DEFAULT_STORE, ExitCode, StoreOption
from avstore.pipelines.cli.progress import bar, console
from avstore.pipelines.features.compare import compare_features, find_feature
from avstore.pipelines.features.driver import FeatureOptions, FeatureResult, build_feature
from avstore.pipelines.features.extractor import parameters_of
from avstore.pipelines.features.feature_status import FeatureStatus, feature_statuses
from avstore.pipelines.features.registry import make_extractor, references

app = typer.Typer(no_args_is_help=True, help="Derived features: build, list, compare, drop.")

Dataset = Annotated[str | None, typer.Option(help="Which dataset, where the store has several.")]
Wait = Annotated[float, typer.Option(help="Seconds to wait for another writer; -1: for ever.")]


@app.command("list")
def list_features(store: StoreOption = DEFAULT_STORE) -> None:
    """Every extractor, and what the store has of each (of the store only where there is one)."""
    name_column = Column("extractor", no_wrap=True)
    table = Table(name_column, "version", "reads", "shape", "parameters")
    for name in sorted(references()):
        try:
            extractor = make_extractor(name)
        except StoreError as error:  # a package that is installed and broken
            table.add_row(name, "", "", "", str(error))
            continue
        settings = ", ".join(f"{key}={value}" for key, value in parameters_of(extractor).items())
        shape = f"{extractor.dtype} {_shape(extractor.shape)}"
        table.add_row(name, extractor.version, ", ".join(extractor.reads), shape, settings)
    console().print(table)
    if not (store / "manifest.duckdb").is_file():
        return
    there = Table(Column("feature", no_wrap=True), "of", "clips", "value", "weights", "state")
    for found in _statuses(find_store(store)):
        there.add_row(
            found.name,
            found.folder.removeprefix("shards/").rstrip("/"),
            f"{found.clips} of {found.total_clips}",
            found.shape,
            _weights(found),
            found.state,
        )
    console().print(there)


def _shape(shape: tuple[int | None, ...]) -> str:
    return " x ".join("n" if size is None else str(size) for size in shape)


def _weights(found: FeatureStatus) -> str:
    if found.lineage is None:
        return "not recorded"
    weights = found.lineage.weights
    return str(weights["origin"] or weights["kind"])


@app.command()
def build(
    features: Annotated[
        list[str] | None, typer.Argument(help="Names (avstore features list), or module:name.")
    ] = None,
    dataset: Dataset = None,
    recipe: Annotated[
        str | None, typer.Option(help="Of which shards: a recipe, or <recipe>-<fp8>.")
    ] = None,
    extractor: Annotated[
        list[str] | None, typer.Option(help="An extractor of your own, module:name.")
    ] = None,
    stale: Annotated[bool, typer.Option("--stale", help="All stale ones, as they were.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter, name=value; may be repeated.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A local file or model folder with the weights.")
    ] = None,
    random_weights: Annotated[
        int | None, typer.Option(help="Random weights of this seed, for trials.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    batch: Annotated[int | None, typer.Option(min=1, help="Items a batch.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; by default one a GPU or core.")
    ] = None,
    scheduler: Annotated[str | None, typer.Option(help="An existing Dask scheduler.")] = None,
    wait: Wait = 0.0,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Compute what a store lacks of these features, or what is stale of them."""
    base = FeatureOptions(
        store=store,
        dataset=dataset,
        recipe=recipe,
        parameters=_parameters(set_ or []),
        weights=weights,
        random_seed=random_weights,
        device=device,
        batch_size=batch,
        workers=workers,
        scheduler=scheduler,
        wait_s=wait,
    )
    wanted = [(name, base) for name in [*(features or []), *(extractor or [])]]
    if stale:
        wanted += [_again(found, base) for found in _stale(find_store(store))]
    elif not wanted:
        raise StoreError("name a feature (avstore features list), or give --stale")
    problems = [
        _report(build_feature(name, options, partial(bar, console()))) for name, options in wanted
    ]
    if any(problems):
        raise typer.Exit(ExitCode.PROBLEM)


def _parameters(words: list[str]) -> dict[str, str]:
    for word in words:
        if "=" not in word:
            raise StoreError(f"--set {word!r} must be name=value")
    return dict(word.split("=", 1) for word in words)


def _again(found: FeatureStatus, base: FeatureOptions) -> tuple[str, FeatureOptions]:
    """The build that makes a stale feature anew: same parameters, weights and dataset."""
    lineage = found.lineage
    if lineage is None:
        raise StoreError(f"how {found.name} was made is not recorded; build it by its name")
    kept = lineage.weights
    return lineage.reference, replace(
        base,
        dataset=found.dataset,
        recipe=None if lineage.base == "labels" else lineage.base,
        parameters=dict(lineage.parameters),
        weights=Path(kept["path"]) if kept["kind"] == "file" else None,
        random_seed=kept["seed"],
    )


def _report(built: FeatureResult) -> bool:
    """Say how a build ended; whether something was left undone."""
    name = f"{built.feature}-{built.fingerprint[:8]}"
    if built.up_to_date:
        console().print(f"{name}: up to date in {built.folder}")
    else:
        console().print(f"{name}: {built.clips} clips in {built.shards} shards of {built.folder}")
    for problem in built.problems:
        console().print(f"not done: {problem}", markup=False)
    return bool(built.problems)


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="<feature>-<fp8>")],
    new: Annotated[str, typer.Argument(help="<feature>-<fp8>")],
    clips: Annotated[int, typer.Option(min=0, help="Compare the values of so many clips.")] = 100,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """What two versions of a feature differ in: their making, and their numbers."""
    found = find_store(store)
    with open_read(found) as con:
        result = compare_features(con, found, old, new, clips)
    out = console()
    for line in result.lines or ["made the same way"]:
        out.print(line, markup=False)
    out.print(
        f"of {result.clips} clips: {result.equal} the same, {result.other_shape} of another shape; "
        f"largest difference {result.largest:.3g}, mean cosine {result.cosine:.6f}"
    )


@app.command()
def stale(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """The features that a build would compute otherwise today, and why.

    Exit status 1 where one has not been replaced yet (avstore features build --stale).
    """
    found = [each for each in _statuses(find_store(store)) if each.reasons]
    for each in found:
        facts = {
            "feature": each.name,
            "dataset": each.dataset,
            "reasons": list(each.reasons),
            "successor": each.successor,
        }
        words = f"{each.name} of {each.dataset}: {each.state}"
        typer.echo(json.dumps(facts) if as_json else words)
    if not found and not as_json:
        typer.echo("no feature is stale")
    if any(each.successor is None for each in found):
        raise typer.Exit(ExitCode.PROBLEM)


@app.command()
def drop(
    feature: Annotated[str, typer.Argument(help="<feature>-<fp8>, as avstore features list.")],
    wait: Wait = 0.0,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Forget a feature's companion shards; avstore gc then removes their files."""
    found = find_store(store)
    run = ledger.new_run("features drop", {"feature": feature})
    with writing(found, wait), open_write(found) as writer:
        recover(writer, found)
        count = drop_feature(writer.con, found, *find_feature(writer.con, feature))
        ledger.finish_run(writer.con, found, run, "done")
        writer.publish()
    console().print(
        f"{count} shards of {feature} dropped; their files stay until avstore gc --delete"
    )


def _stale(store: Store) -> list[FeatureStatus]:
    """What is stale and not replaced."""
    return [found for found in _statuses(store) if found.reasons and not found.successor]


def _statuses(store: Store) -> list[FeatureStatus]:
    with open_read(store) as con:
        return feature_statuses(con, store)
