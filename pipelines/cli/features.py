"""avstore features: build, import, list, compare and drop derived features."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avstore.manifests import commands
from avstore.manifests.store import Store, StoreError, find_store
from avstore.manifests.terminal import console, plural
from avstore.pipelines.cli.features_import import import_features
from avstore.pipelines.cli.options import (
    DEFAULT_STORE,
    ExitCode,
    JsonOption,
    StoreOption,
    WaitOption,
    local_path,
)
from avstore.pipelines.cli.progress import bar, naming_what_is_kept
from avstore.pipelines.cli.tables import Row, print_json, print_rows

if TYPE_CHECKING:
    from avstore.pipelines.features.driver import FeatureOptions, FeatureResult
    from avstore.pipelines.features.feature_status import FeatureStatus

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Build, import, list, compare and drop derived features.",
)
_EXTRACTOR_KEYS = ("extractor", "version", "reads", "bases", "shape", "parameters")
_VERSION = "A feature and its fingerprint, as `avstore features list` shows them."


@app.command("list", epilog="Example: avstore features list --store data")
def list_features(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List the extractors, and the features in the store if there is one."""
    stored = store / "manifest.duckdb"
    features = _feature_rows(store) if stored.is_file() else []
    if as_json:
        print_json([*_extractor_rows(), *features])
        return
    print_rows(_extractor_rows(), _EXTRACTOR_KEYS)
    if stored.is_file():
        console().print()
        print_rows(features, ("feature", "of", "clips", "value", "weights", "state"))


def _extractor_rows() -> Iterator[Row]:
    """Yield the extractors: the shipped ones, and those of installed packages."""
    from avstore.pipelines.features.extractor import bases_of, parameters_of, reads_of
    from avstore.pipelines.features.registry import make_extractor, references

    for name in sorted(references()):
        try:
            extractor = make_extractor(name)
        except StoreError as error:  # an installed package that cannot be imported
            unknown = {"version": "", "reads": [], "bases": [], "shape": ""}
            yield {"extractor": name, **unknown, "parameters": str(error)}
            continue
        settings = ", ".join(f"{key}={value}" for key, value in parameters_of(extractor).items())
        shape = f"{extractor.dtype} {_shape_text(extractor.shape)}"
        needs = [list(reads_of(extractor)), list(bases_of(extractor))]
        values = (name, extractor.version, *needs, shape, settings)
        yield dict(zip(_EXTRACTOR_KEYS, values, strict=True))


def _feature_rows(store: Path) -> list[Row]:
    """Return the features in the store."""
    return [
        {
            "feature": found.name,
            "of": found.folder.removeprefix("shards/").rstrip("/"),
            "clips": f"{found.clips} of {found.total_clips}",
            "value": found.shape,
            "weights": _weights_text(found),
            "state": found.state,
        }
        for found in _stored_features(find_store(store))
    ]


def _shape_text(shape: tuple[int | None, ...]) -> str:
    return " x ".join("n" if size is None else str(size) for size in shape)


def _weights_text(found: "FeatureStatus") -> str:
    if found.lineage is None:
        return "not recorded"
    weights = found.lineage.weights
    return str(weights["origin"] or weights["kind"])


@app.command("build", epilog="Example: avstore features build clap-segments --dataset llp")
def build(
    features: Annotated[
        list[str] | None,
        typer.Argument(help="Extractor names (avstore features list), or module:NAME."),
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
        typer.Option("--set", help="Parameter of the extractor, NAME=VALUE (repeatable)."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Local weights, a file or model folder (default: the published ones).",
            parser=local_path,
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

    Exit code 1 if clips could not be processed.
    """
    from avstore.pipelines.features.driver import FeatureOptions, build_feature

    base = FeatureOptions(
        store=store,
        dataset=dataset,
        recipe=recipe,
        parameters=_parse_parameters(parameters or []),
        weights=weights,
        random_seed=random_weights,
        device=device,
        batch_size=batch,
        workers=workers,
        scheduler=scheduler,
        wait_s=wait,
    )
    jobs = [(name, base) for name in [*(features or []), *(extractor or [])]]
    if stale:
        stored = _stored_features(find_store(store))
        jobs += [_rebuild_job(each, base) for each in stored if each.reasons and not each.successor]
    elif not jobs:
        names = commands.avstore("features", "list")
        raise StoreError(
            f"no feature is given; give a name, or --stale; to list names, run {names}"
        )
    progress = partial(bar, console())
    with naming_what_is_kept(Store(store), console(), companions=True):
        problems = [_print_built(build_feature(name, options, progress)) for name, options in jobs]
    if any(problems):
        raise typer.Exit(ExitCode.PROBLEM)


def _parse_parameters(texts: list[str]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise StoreError(f"--set {text!r} is not NAME=VALUE")
    return dict(text.split("=", 1) for text in texts)


def _rebuild_job(found: "FeatureStatus", base: "FeatureOptions") -> "tuple[str, FeatureOptions]":
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


def _print_built(built: "FeatureResult") -> bool:
    """Print the result of a build; return whether there were problems."""
    name = f"{built.feature}-{built.fingerprint[:8]}"
    if built.up_to_date:
        console().print(f"{name}: up to date in {built.folder}")
    else:
        clips, shards = plural(built.clips, "clip"), plural(built.shards, "shard")
        console().print(f"{name}: {clips} in {shards} of {built.folder}")
    for problem in built.problems:
        console().print(f"not done: {problem}")
    return bool(built.problems)


@app.command(
    "diff", epilog="Example: avstore features diff clap-segments-1a2b3c4d clap-segments-5e6f7a8b"
)
def diff(
    old: Annotated[str, typer.Argument(help=_VERSION)],
    new: Annotated[str, typer.Argument(help="The version to compare it with.")],
    clips: Annotated[int, typer.Option(min=0, help="Clips whose values are compared.")] = 100,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Compare two versions of a feature: their settings and their values."""
    from avstore.manifests.catalogue import reading
    from avstore.pipelines.features.compare import compare_features

    found = find_store(store)
    with reading(found) as con:
        result = compare_features(con, found, old, new, clips)
    if as_json:
        print_json([asdict(result)])
        return
    out = console()
    for line in result.lines or ["the settings are the same"]:
        out.print(line)
    out.print(
        f"of {result.clips} clips: {result.equal} equal, {result.other_shape} of different shape; "
        f"largest difference {result.largest:.3g}, mean cosine {result.cosine:.6f}"
    )


@app.command("stale", epilog="Example: avstore features stale --store data --json")
def stale(as_json: JsonOption = False, store: StoreOption = DEFAULT_STORE) -> None:
    """List the features that a build would now compute differently, and why.

    Exit code 1 if one has not been replaced yet (avstore features build --stale).
    """
    found = [each for each in _stored_features(find_store(store)) if each.reasons]
    for each in found:
        facts = {
            "feature": each.name,
            "dataset": each.dataset,
            "reasons": list(each.reasons),
            "successor": each.successor,
        }
        text = f"{each.name} of {each.dataset}: {each.state}"
        typer.echo(json.dumps(facts) if as_json else text)
    if not found and not as_json:
        typer.echo("no feature is stale")
    if any(each.successor is None for each in found):
        raise typer.Exit(ExitCode.PROBLEM)


@app.command("drop", epilog="Example: avstore features drop clap-segments-1a2b3c4d")
def drop(
    feature: Annotated[str, typer.Argument(help=_VERSION)],
    wait: WaitOption = 0.0,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Drop a feature from the manifest; `avstore gc --delete` then removes its files."""
    from avstore.manifests import ledger
    from avstore.manifests.catalogue import open_write
    from avstore.manifests.drop import drop_feature
    from avstore.manifests.lock import writing
    from avstore.pipelines.build.recovery import recover
    from avstore.pipelines.cli.drop import print_dropped
    from avstore.pipelines.features.compare import find_feature

    found = find_store(store)
    run = ledger.new_run("features drop", {"feature": feature})
    with writing(found, wait), open_write(found) as writer:
        recover(writer, found)
        count = drop_feature(writer.con, found, *find_feature(writer.con, feature))
        ledger.finish_run(writer.con, found, run, "done")
        writer.publish()
    print_dropped(count, feature, found.root)


app.command(
    "import",
    epilog="Example: avstore features import convnext-audio a_feat.zip --dataset vggsound",
)(import_features)


def _stored_features(store: Store) -> "list[FeatureStatus]":
    from avstore.manifests.catalogue import reading
    from avstore.pipelines.features.feature_status import feature_statuses

    with reading(store) as con:
        return feature_statuses(con, store)
