"""Options, arguments and exit codes that commands share."""

from pathlib import Path
from typing import Annotated

import typer

from avstore.manifests.store import StoreError
from avstore.manifests.terminal import set_quiet
from avstore.pipelines.cli.completion import dataset_names


def _folder(value: str | Path) -> Path:
    if "://" in str(value):
        raise typer.BadParameter(
            f"{value} is not a folder; this command needs one (sql, status and export also read "
            "remote stores)"
        )
    return Path(value).expanduser()  # the environment may have ~


def _folder_or_mirror(value: str | Path) -> Path:
    """Return the folder; for an address, the folder of the local copy of its manifest."""
    if "://" not in str(value):
        return Path(value).expanduser()
    from avstore.manifests.mirror import mirror_store

    return mirror_store(str(value))[0].root


def local_path(value: str | Path) -> Path:
    """Return the path of a file to read.

    Raises:
        StoreError: It is an address.
    """
    if "://" in str(value) and not Path(value).exists():
        raise StoreError(f"{value} is an address; download it first, and give the file's path")
    return Path(value).expanduser()


def split_paths(value: str) -> list[str]:
    """Return a path that exists, commas included; else the parts between commas."""
    if Path(value).expanduser().exists():
        return [value]
    return [part.strip() for part in value.split(",") if part.strip()]


DEFAULT_STORE = Path("data")
StoreOption = Annotated[
    Path,
    typer.Option(
        "--store", help="Store folder.", envvar="AVSTORE_STORE", parser=_folder, metavar="DIR"
    ),
]
# For commands that read only the manifest.
ManifestOption = Annotated[
    Path,
    typer.Option(
        "--store",
        help="Store folder, or address (s3://…).",
        envvar="AVSTORE_STORE",
        parser=_folder_or_mirror,
        metavar="STORE",
    ),
]
# For commands that read shards of local and remote stores.
AddressOption = Annotated[
    str,
    typer.Option("--store", help="Store folder, or fsspec URL.", envvar="AVSTORE_STORE"),
]
WaitOption = Annotated[
    float, typer.Option("--wait", help="Seconds to wait for another writer; -1 waits forever.")
]
ClipsRecipeOption = Annotated[
    str | None,
    typer.Option("--recipe", help="Recipe, where a clip is stored by several (default: the only)."),
]


def _without_progress(as_json: bool) -> bool:
    if as_json:
        set_quiet()
    return as_json


JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Output as one JSON object per line, without progress.",
        callback=_without_progress,
    ),
]
NamesOption = Annotated[
    str | None,
    typer.Option(
        "--names",
        help="File names, such as '{id}_{start:.3f}', of id, key, start, end, start_ms, end_ms, "
        "label, split (default: the usual forms).",
    ),
]
DatasetArgument = Annotated[
    str,
    typer.Argument(
        help="Dataset name, such as vggsound, or module:NAME.", autocompletion=dataset_names
    ),
]
DatasetOrListArgument = Annotated[
    str,
    typer.Argument(
        help="Dataset name, such as vggsound, or module:NAME; or your own data: a list "
        "(.csv, .tsv, .jsonl, .parquet) or a folder of videos.",
        autocompletion=dataset_names,
    ),
]
StoredDatasetArgument = Annotated[
    str, typer.Argument(help="Name of a dataset in the store.", autocompletion=dataset_names)
]


class ExitCode:
    """Exit codes of every command.

    Attributes:
        OK: The command succeeded.
        PROBLEM: The command ran and found a problem, such as a damaged shard.
        USAGE: The call or its input is wrong.
        BUSY: Another process is writing to the store.
        FAILED: The machine failed: disk, permission, network or cluster.
        INTERRUPTED: Ctrl-C was pressed; run the command again to continue.
    """

    OK = 0
    PROBLEM = 1
    USAGE = 2
    BUSY = 3
    FAILED = 4
    INTERRUPTED = 130
