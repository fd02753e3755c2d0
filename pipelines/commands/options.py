"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

StoreOption = Annotated[
    Path, typer.Option("--store", help="The store's folder.", envvar="AVSTORE_STORE")
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
