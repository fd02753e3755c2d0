"""avstore retry: give clips that could not be fetched or extracted another attempt."""

from typing import Annotated

import typer

from avstore.manifests.terminal import console, plural
from avstore.pipelines.cli.options import (
    DEFAULT_STORE,
    JsonOption,
    StoredDatasetArgument,
    StoreOption,
    WaitOption,
)
from avstore.pipelines.cli.tables import print_json

app = typer.Typer(add_completion=False)
_EXAMPLES = 5


@app.command(
    "retry", epilog="Example: avstore retry vggsound --where \"class = 'timeout'\" --dry-run"
)
def run(
    dataset: StoredDatasetArgument,
    where: Annotated[
        str,
        typer.Option(
            help="SQL condition on the failed clips; columns: clip_id, key, split, labels, status, "
            "class, message, attempts, not_before, tried_at, tool."
        ),
    ],
    store: StoreOption = DEFAULT_STORE,
    dry_run: Annotated[bool, typer.Option(help="List the clips without changing them.")] = False,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Mark failed clips so that the next build tries them again."""
    from avstore.manifests.catalogue import open_write
    from avstore.manifests.lock import writing
    from avstore.manifests.store import find_store
    from avstore.pipelines.build.recovery import recover
    from avstore.pipelines.fetch.retry import mark_for_retry, matching_failures

    out = console()
    found_store = find_store(store)
    clips = matching_failures(found_store, dataset, where)
    if clips and not dry_run:
        with writing(found_store, wait), open_write(found_store) as writer:
            recover(writer, found_store)
            mark_for_retry(writer, found_store, dataset, [clip_id for clip_id, _, _ in clips])
    if as_json:
        keys = ("clip_id", "class", "message")
        print_json(dict(zip(keys, clip, strict=True)) | {"marked": not dry_run} for clip in clips)
        return
    for clip_id, reason, message in clips[:_EXAMPLES]:
        out.print(f"  {clip_id}  {reason}  {message}")
    if len(clips) > _EXAMPLES:
        out.print(f"  … and {len(clips) - _EXAMPLES:,} more")
    if not clips:
        out.print(f"no failed clip of {dataset} matches: {where}")
    elif dry_run:
        out.print(f"{plural(len(clips), 'clip')} would be tried again")
    else:
        out.print(
            f"{plural(len(clips), 'clip')} will be tried again by the next build of {dataset}"
        )
