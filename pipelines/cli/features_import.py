"""avstore features import: released features of clips whose videos the store need not have."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avstore.manifests import commands
from avstore.manifests.names import is_name
from avstore.manifests.store import Store
from avstore.manifests.terminal import console, plural
from avstore.pipelines.cli.options import (
    DEFAULT_STORE,
    ExitCode,
    JsonOption,
    NamesOption,
    StoreOption,
    WaitOption,
    local_path,
    split_paths,
)
from avstore.pipelines.cli.progress import bar
from avstore.pipelines.cli.tables import print_json

if TYPE_CHECKING:
    from avstore.datasets.spec import DatasetSpec
    from avstore.pipelines.interchange.clip_arrays import SourceCounts
    from avstore.pipelines.interchange.feature_importer import FeatureImportResult


def import_features(
    feature: Annotated[str, typer.Argument(help="Name of the feature, such as convnext-audio.")],
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders or archives (zip, tar) with one .npy or .npz a clip, or addresses of "
            "archives.",
            metavar="SOURCE...",
        ),
    ],
    dataset: Annotated[str, typer.Option(help="Dataset of the clips, a name or module:NAME.")],
    annotations: Annotated[
        list[str] | None,
        typer.Option(
            help="Published annotation files; or lists of UAVM, with their split: "
            "train=train.json (repeatable, or separated by commas; default: the store's)."
        ),
    ] = None,
    names: NamesOption = None,
    value: Annotated[
        str | None,
        typer.Option(
            help="Type and shape of the arrays, such as 'float32 n x 1024' (default: what the "
            "published layout or the extractor declares, else the most common)."
        ),
    ] = None,
    shard_clips: Annotated[int, typer.Option(min=1, help="Clips per shard.")] = 1000,
    wait: WaitOption = 0.0,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Import released features, one array a clip; the store needs no videos.

    Archives are read as they are, never unpacked. The command can be run again at any time.
    Exit code 1 if arrays of clips could not be used.
    """
    from avstore.pipelines.interchange.feature_importer import (
        FeatureImportOptions,
        import_feature,
    )

    lists = [part for text in annotations or () for part in split_paths(text)]
    spec, files = _dataset(dataset, lists, Store(store))
    arguments = ["features", "import", feature, *map(_absolute, sources), "--dataset", dataset]
    options = FeatureImportOptions(
        feature=feature,
        sources=sources,
        annotations=files,
        names=names,
        value=value,
        shard_clips=shard_clips,
        wait_s=wait,
        arguments=[
            *arguments,
            *(word for text in lists for word in ("--annotations", _absolute(text))),
            *(("--names", names) if names else ()),
            *(("--value", value) if value else ()),
        ],
    )
    done = import_feature(Store(store), spec, options, partial(bar, console()))
    if as_json:
        print_json([_facts(done)])
    else:
        _print(done, store)
    if done.account.unreadable or any(source.damage for source in done.sources):
        raise typer.Exit(ExitCode.PROBLEM)


def _absolute(text: str) -> str:
    """Return a path, also one after SPLIT=, as an absolute one; an address as it is."""
    if "://" in text:
        return text
    split, mark, file = text.rpartition("=")
    if mark and not Path(text).expanduser().exists():
        return f"{split}={Path(file).expanduser().absolute()}"
    return str(Path(text).expanduser().absolute())


def _dataset(
    name: str, annotations: Sequence[str], store: Store
) -> tuple["DatasetSpec", Sequence[Path]]:
    """Return the dataset and its annotation files, of third-party lists too."""
    from avstore.pipelines.build.annotation_files import fetched_files
    from avstore.pipelines.cli.own_data import find_spec
    from avstore.pipelines.interchange.foreign_lists import is_foreign_list, with_foreign_lists

    spec = find_spec(name, store)
    if not annotations:
        return spec, [] if store.manifest.is_file() else fetched_files(store.root, spec.name)
    files: dict[Path, str] = {}
    for text in annotations:
        split, mark, rest = text.partition("=")
        own = bool(mark) and is_name("split", split) and not Path(text).exists()
        files[local_path(rest if own else text)] = split if own else "train"
    if all(is_foreign_list(path) for path in files):
        spec = with_foreign_lists(spec, "train", files)
    return spec, list(files)


def _facts(done: "FeatureImportResult") -> dict[str, object]:
    from dataclasses import asdict

    return {
        "feature": done.lineage.feature,
        "fingerprint": done.lineage.fingerprint,
        **done.lineage.parameters,
        **asdict(done.account),
        "sources": done.lineage.weights["sources"],
        "damage": [source.damage for source in done.sources if source.damage],
        "reasons": {reason: count for reason, count, _ in done.reasons},
    }


def _print(done: "FeatureImportResult", store: Path) -> None:
    out = console()
    lineage, account = done.lineage, done.account
    for source in done.sources:
        out.print(_source_line(source), soft_wrap=True)
        if source.damage:
            out.print(f"  not read to its end: {source.damage}", soft_wrap=True)
    values = f"{lineage.feature}-{lineage.fp8} of {lineage.parameters['dataset']}"
    out.print(f"{values} ({lineage.parameters['value']})", soft_wrap=True)
    out.print(
        f"{plural(account.wanted, 'published clip')} = {account.stored} stored + "
        f"{account.unreadable} unreadable + {account.missing} missing; "
        f"{plural(account.extra, 'array')} of no published clip",
        soft_wrap=True,
    )
    for reason, count, example in done.reasons:
        out.print(f"  {count:>7} {reason}, such as {example}", soft_wrap=True)
    if account.stored < account.wanted or done.reasons:
        query = "FROM feature_clips WHERE status <> 'stored'"
        out.print("Which clips, and why: " + commands.avstore("sql", query, store=store))


def _source_line(source: "SourceCounts") -> str:
    parts = [f"{plural(source.new, 'value')} stored", f"{source.known} known"]
    parts += [f"{source.unused} not used"] if source.unused else []
    parts += [f"{count} of {name} left out" for name, count in source.other_features.items()]
    return f"{source.name}: {', '.join(parts)}"
