"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from avstore.manifests import mirror as remote


def _folder(value: str | Path) -> Path:
    if "://" in str(value):
        raise typer.BadParameter(
            f"{value} is no folder; this command works on one (sql, status and export read any)"
        )
    return Path(value)


def _mirrored(value: str | Path) -> Path:
    """The folder; of an address, that of its manifest's copy here."""
    return remote.mirror_store(str(value))[0].root if "://" in str(value) else Path(value)


_FOLDER, _ANY = "The store's folder.", "The store's folder, or its address (s3://…)."
StoreOption = Annotated[
    Path,
    typer.Option("--store", help=_FOLDER, envvar="AVSTORE_STORE", parser=_folder, metavar="DIR"),
]
# For commands that ask only the manifest.
ManifestOption = Annotated[
    Path,
    typer.Option("--store", help=_ANY, envvar="AVSTORE_STORE", parser=_mirrored, metavar="STORE"),
]
DEFAULT_STORE = Path("data")


class ExitCode:
    """What the shell sees.

    OK. PROBLEM: the command ran and found something wrong (verify). USAGE: the call or its input
    is wrong. BUSY: another process writes to the store. FAILED: the machine failed us (disk,
    permission, cluster). INTERRUPTED: Ctrl-C; rerun to go on.
    """

    OK = 0
    PROBLEM = 1
    USAGE = 2
    BUSY = 3
    FAILED = 4
    INTERRUPTED = 130
