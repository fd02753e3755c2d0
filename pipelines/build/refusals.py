"""Refuse a build whose store has lost shards, or whose source has none of the clips."""

from collections.abc import Sequence

import duckdb

from avstore.datasets.spec import DatasetSpec
from avstore.manifests import commands
from avstore.manifests.advice import repair_command
from avstore.manifests.names import shard_file
from avstore.manifests.store import Store, StoreError
from avstore.manifests.terminal import plural
from avstore.pipelines.fetch.source import MediaRequest

_GIVEN_UP = """
SELECT (SELECT count(*) FROM clips WHERE dataset = $dataset), count(DISTINCT s.clip_id),
       arg_min(s.verdict, a.seq),
       arg_min(a.error_message, a.seq)
FROM status s LEFT JOIN attempts a USING (clip_id, stage)
WHERE split_part(s.clip_id, '/', 1) = $dataset AND s.stage = 'fetch'
  AND s.status IN ('gone', 'absent', 'rejected')
"""


def refuse_lost_shards(con: duckdb.DuckDBPyConnection, store: Store, dataset: str) -> None:
    """Raise StoreError unless every shard of a dataset in the manifest exists with its size."""
    rows = con.execute(
        "SELECT path, bytes FROM shards WHERE dataset = ? ORDER BY path", [dataset]
    ).fetchall()
    for path, size in rows:
        file = shard_file(store, path)
        if not file.is_file() or file.stat().st_size != size:
            problem = f"is not {size} bytes long" if file.is_file() else "is missing"
            raise StoreError(
                f"{path} {problem}, but is in the manifest; repair the store first; run: "
                f"{repair_command(store)}"
            )


def refuse_nothing_found(
    con: duckdb.DuckDBPyConnection,
    spec: DatasetSpec,
    source: object,
    wanted: Sequence[MediaRequest],
    run_id: str,
) -> None:
    """Raise StoreError if the source had none of the clips: the call is wrong then.

    Args:
        con: The manifest.
        spec: The dataset.
        source: The source, for the message.
        wanted: The requested clips; at least one.
        run_id: The run that requested them.
    """
    if _fetched(con, spec.name):
        return
    bad = _bad_rows(con, spec.name)
    if error := _fetch_error(con, run_id):
        raise StoreError(f"none of the {len(wanted)} clips came from {source}: {error}{bad}")
    raise StoreError(
        f"none of the {len(wanted)} clips was found in {source}; for example, "
        f"{_remedy(spec, wanted[0])}{bad}"
    )


def refuse_nothing_stored(con: duckdb.DuckDBPyConnection, store: Store, dataset: str) -> None:
    """Raise StoreError if earlier builds gave up on every clip: there is nothing to build.

    Args:
        con: The manifest.
        store: The store, for the message.
        dataset: Name of the dataset.
    """
    row = con.execute(_GIVEN_UP, {"dataset": dataset}).fetchone()
    clips, given_up, reason, message = row or (0, 0, "", "")
    if not clips or given_up < clips:
        return
    again = commands.avstore("retry", dataset, "--where", "true", store=store.root)
    raise StoreError(
        f"earlier builds gave up on all {plural(clips, 'clip')} of {dataset} ({reason}: "
        f"{message}); to let the next build try them again, run: {again}"
    )


def _fetched(con: duckdb.DuckDBPyConnection, dataset: str) -> int:
    """Return how many clips have media."""
    (count,) = con.execute(
        "SELECT count(*) FROM status s JOIN clips c USING (clip_id) "
        "WHERE c.dataset = ? AND s.stage = 'fetch' AND s.status = 'stored'",
        [dataset],
    ).fetchone() or (0,)
    return int(count)


def _bad_rows(con: duckdb.DuckDBPyConnection, dataset: str) -> str:
    """Return how many annotation rows could not be used, with the first reason; '' for none."""
    rows = con.execute(
        "SELECT row, reason FROM annotation_errors WHERE dataset = ? ORDER BY file, row", [dataset]
    ).fetchall()
    if not rows:
        return ""
    (number, reason), *_ = rows
    return f"; {plural(len(rows), 'annotation row')} could not be used (row {number}: {reason})"


def _remedy(spec: DatasetSpec, example: MediaRequest) -> str:
    """Return what a clip that was not found needs, and what to do."""
    if spec.own_data is not None and example.file:
        return (
            f"there is no file {example.file}; paths in a list start from the list's folder, "
            "or from --source"
        )
    names = ", ".join(name.stem for name in example.names)
    return (
        f"{example.clip_id} needs a file named {names} (any container); avstore match, with "
        "the same options, shows which files match nothing, and why"
    )


def _fetch_error(con: duckdb.DuckDBPyConnection, run_id: str) -> str | None:
    """Return the error of a clip in this run that the source has and failed to give."""
    row = con.execute(
        "SELECT error_message FROM attempts WHERE run_id = ? AND stage = 'fetch' "
        "AND error_class <> 'not_in_source' LIMIT 1",
        [run_id],
    ).fetchone()
    return str(row[0]) if row else None
