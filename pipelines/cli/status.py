"""avstore status: count the clips of every dataset and stage, and show the build that runs."""

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from avstore.manifests.store import Store, StoreError, find_store
from avstore.manifests.terminal import console
from avstore.pipelines.cli.completion import dataset_names
from avstore.pipelines.cli.options import DEFAULT_STORE, ManifestOption
from avstore.pipelines.cli.progress import kept_text, stage_text

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(add_completion=False)
_WATCH_EVERY_S = 3.0
_QUIET_S = 30.0  # after which status says for how long no clip has finished


@app.command("status", epilog="Example: avstore status vggsound --store data --watch")
def run(
    dataset: Annotated[
        str | None, typer.Argument(help="Dataset (default: all).", autocompletion=dataset_names)
    ] = None,
    store: ManifestOption = DEFAULT_STORE,
    eta: Annotated[
        bool, typer.Option("--eta", help="Show when fetching will end instead.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it every 3 s until the running build ends.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Output as one JSON object (docs/manifest.md).")
    ] = False,
) -> None:
    """Show how many clips are stored, per dataset and stage, and why others are not.

    Every published clip is counted exactly once in each stage. While a build runs: who writes,
    the stage, clips a second, the time left, and failures so far by reason.
    """
    out, found = console(), find_store(store)
    if eta:
        for line in _eta_lines(found, dataset):
            out.print(line)
        return
    try:
        running = _show(found, dataset, out, as_json)
        if watch and not (running or as_json):
            out.print("No build is running.")
        while watch and running:
            time.sleep(_WATCH_EVERY_S)
            if out.is_terminal and not as_json:
                out.clear()
            running = _show(found, dataset, out, as_json, watched=True)
    except KeyboardInterrupt:
        if not watch:
            raise


def _show(
    store: Store, dataset: str | None, out: "Console", as_json: bool, watched: bool = False
) -> bool:
    """Print the state once; return whether a process writes to the store.

    watched: One did at the call before.
    """
    state = _state(store, dataset)
    running = state["writer"] is not None
    if as_json:
        out.print(json.dumps(state, default=str))
        return running
    if watched and not out.is_terminal:
        out.print()
    _print(state, out)
    if not state["accounts"]:
        out.print(f"{store.root} holds no dataset yet")
    if watched and not running and (state["build"] or {}).get("state") == "done":
        out.print("The build is done.")
    return running


def _state(store: Store, dataset: str | None) -> dict[str, Any]:
    """Return what status shows, with the keys of `--json` (docs/manifest.md)."""
    from avstore.manifests.account import accounts, reasons, require_dataset
    from avstore.manifests.catalogue import reading
    from avstore.manifests.lock import current_holder
    from avstore.manifests.partials import count_kept
    from avstore.pipelines.build.progress import read_progress

    # The writer first: a build that ends now is then shown as running, and its end next time.
    writer, latest = current_holder(store), read_progress(store)
    clips, shards = (0, 0) if writer else count_kept(store)
    state: dict[str, Any] = {"store": str(store.root), "writer": writer, "build": None}
    if latest:
        how, facts = latest
        names = ("dataset", "writer", "stage", "stages", "updated")
        state["build"] = {"state": how, **{name: facts.get(name) for name in names}}
    state["kept"] = {"clips": clips, "shards": shards}
    with reading(store) as con:
        found = accounts(con, dataset)
        if not found and dataset:
            require_dataset(con, dataset)
        state["accounts"] = [
            {
                **vars(each),
                "reasons": [
                    {"status": status, "reason": reason, "clips": count}
                    for status, reason, count in reasons(con, each.dataset, each.stage)
                ],
            }
            for each in found
        ]
        rows = con.execute(
            "SELECT dataset, feature || '-' || left(fingerprint, 8), wanted, stored, unreadable, "
            "missing, extra FROM feature_account WHERE $dataset IS NULL OR dataset = $dataset",
            {"dataset": dataset},
        ).fetchall()
        state["features"] = [dict(zip(_FEATURE_KEYS, row, strict=True)) for row in rows]
    return state


_FEATURE_KEYS = ("dataset", "feature", "wanted", "stored", "unreadable", "missing", "extra")


def _print(state: Mapping[str, Any], out: "Console") -> None:
    """Print the state for people."""
    from avstore.manifests.account import Account
    from avstore.pipelines.cli.summary import counts_text

    for line in _writer_lines(state):
        out.print(line)
    for facts in state["accounts"]:
        each = Account(**{name: value for name, value in facts.items() if name != "reasons"})
        counts = f" {each.stage}: {counts_text(each)}"
        out.print(Text.assemble((each.dataset, "bold"), counts))
        for reason in facts["reasons"]:
            out.print(f"  {reason['clips']:>7} {reason['reason']:<16} {reason['status']}")
    for facts in state["features"]:
        parts = " + ".join(f"{facts[name]} {name}" for name in _FEATURE_KEYS[3:6] if facts[name])
        text = f" {facts['feature']}: {facts['wanted']} wanted = {parts}"
        out.print(Text.assemble((facts["dataset"], "bold"), text))


def _writer_lines(state: Mapping[str, Any]) -> Iterator[str]:
    """Say who writes to the store, or how the latest build ended unless it is done."""
    from avstore.manifests.lock import describe_holder

    build, writer, root = state["build"], state["writer"], Store(Path(state["store"]))
    if writer:
        yield f"The store is being written by {describe_holder(writer)}."
        if build and build["state"] == "running":
            yield from _running_lines(build)
        yield "What it has published:"
    elif build and build["state"] in ("interrupted", "failed"):
        kept = state["kept"]["clips"] and kept_text(root)
        command = (build["writer"] or {}).get("command", "the latest build")
        yield (
            f"{command} {_HOW[build['state']]} at {build['updated']}"
            + (f"; {kept}" if kept else "")
            + "; run the same command again to continue."
        )
        yield from (f"  {stage_text(stage)}" for stage in build["stages"])


_HOW = {"interrupted": "was interrupted", "failed": "failed"}


def _running_lines(build: Mapping[str, Any]) -> Iterator[str]:
    """Describe every stage of the running build, and since when none has advanced."""
    from avstore.pipelines.fetch.rate_limit import format_duration

    for stage in build["stages"]:
        yield f"  {stage_text(stage)}"
    quiet = (datetime.now(UTC) - datetime.fromisoformat(build["updated"])).total_seconds()
    if quiet > _QUIET_S:
        yield f"  nothing finished in the last {format_duration(quiet)}"


def _eta_lines(store: Store, dataset: str | None) -> list[str]:
    """Describe when fetching of one dataset, or of every dataset, will end."""
    from avstore.manifests import ledger
    from avstore.manifests.catalogue import reading
    from avstore.pipelines.fetch.eta import describe_forecast, forecast

    now, lines = ledger.now(), []
    with reading(store) as con:
        names = [row[0] for row in con.execute("SELECT name FROM datasets ORDER BY 1").fetchall()]
        if dataset and dataset not in names:
            raise StoreError(
                f"the store holds no dataset {dataset!r}; it holds: {', '.join(names)}"
            )
        for name in [dataset] if dataset else names:
            lines.append(f"{name}:")
            lines.extend(f"  {line}" for line in describe_forecast(forecast(con, name, now), now))
    return lines
