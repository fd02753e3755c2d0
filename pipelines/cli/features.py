"""avstore features: build, import, list, report, compare and drop derived features."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avstore.manifests.store import Store, StoreError, find_store
from avstore.manifests.terminal import console
from avstore.pipelines.cli.features_build import build_features
from avstore.pipelines.cli.features_cluster import cluster_features
from avstore.pipelines.cli.features_import import import_features
from avstore.pipelines.cli.features_labels import report_labels
from avstore.pipelines.cli.options import (
    DEFAULT_STORE,
    ExitCode,
    JsonOption,
    StoreOption,
    WaitOption,
)
from avstore.pipelines.cli.tables import Row, print_json, print_rows

if TYPE_CHECKING:
    from avstore.pipelines.features.feature_status import FeatureStatus

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Build, import, list, report, compare and drop derived features.",
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
    from avstore.pipelines.features.extractor import bases_of, parameter_names, reads_of
    from avstore.pipelines.features.registry import make_extractor, references

    for name in sorted(references()):
        try:
            extractor = make_extractor(name)
        except StoreError as error:  # an installed package that cannot be imported
            unknown = {"version": "", "reads": [], "bases": [], "shape": ""}
            yield {"extractor": name, **unknown, "parameters": str(error)}
            continue
        settings = ", ".join(
            f"{key}={getattr(extractor, key)}" for key in parameter_names(extractor)
        )
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


app.command("build", epilog="Example: avstore features build --for valor")(build_features)
app.command("labels", epilog="Example: avstore features labels --split train --output labels.csv")(
    report_labels
)
app.command(
    "cluster",
    epilog="Example: avstore features cluster clip-vitl14 --dataset yt360 --output groups.csv",
)(cluster_features)
app.command(
    "import",
    epilog="Example: avstore features import convnext-audio a_feat.zip --dataset vggsound",
)(import_features)


def _stored_features(store: Store) -> "list[FeatureStatus]":
    from avstore.manifests.catalogue import reading
    from avstore.pipelines.features.feature_status import feature_statuses

    with reading(store) as con:
        return feature_statuses(con, store)
