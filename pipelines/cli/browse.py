"""avstore browse: look at a store in the browser."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from avstore.manifests.terminal import console
from avstore.pipelines.cli.options import AddressOption

app = typer.Typer(add_completion=False)
_DEFAULT_RUNS = Path("runs")


@app.command("browse", epilog="Example: avstore browse --store data --no-open")
def run(
    store: AddressOption = "data",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1 (default: a free one).")
    ] = 0,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Print the address; open no browser.")
    ] = False,
    runs: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of training runs (default: runs, if it is)."),
    ] = None,
    memory: Annotated[
        int, typer.Option(min=100, help="Memory for queries of the manifest, in MB.")
    ] = 350,
    cache: Annotated[
        int, typer.Option(min=0, help="Cache of a remote store's shards on disk, in MB.")
    ] = 2000,
) -> None:
    """Look at a store in the browser: clips, classes, task streams, training runs.

    The pages are served on this machine alone, read-only, until Ctrl-C.
    """
    from avstore.manifests.library import open_store
    from avstore.pipelines.browse.server import listen, serve
    from avstore.pipelines.browse.session import Session
    from avstore.pipelines.cli.browse_runs import run_library

    library = run_library(runs, _DEFAULT_RUNS)
    opened = open_store(store, cache_bytes=cache * 10**6)
    opened.memory_bytes = memory * 10**6
    listener = listen(port)
    out = console()

    def announce(address: str) -> None:
        out.print(f"{address}\nThe address is yours alone: it holds a token. Press Ctrl-C to stop.")

    serve(
        Session(opened),
        listener,
        library,
        open_browser=not no_open and _has_display(),
        announce=announce,
    )


def _has_display() -> bool:
    """Return whether a browser can open; without a display it would take the terminal."""
    return sys.platform == "darwin" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
