"""Register task streams in the manifest: rows of `tasks` and the view `task_clips`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from avstore.manifests import schema
from avstore.manifests.catalogue import guard
from avstore.manifests.streams import (
    ROLES,
    StreamError,
    StreamSpec,
    TaskSpec,
    parse_stream,
    sql_literal,
)

__all__ = [
    "ROLES",
    "StreamError",
    "StreamSpec",
    "TaskSpec",
    "create_task_view",
    "parse_stream",
    "register_stream",
    "select_columns",
]

_LOG = logging.getLogger("avstore")


@contextmanager
def empty_manifest(commented: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a guarded connection to an empty manifest in memory, with the code's views.

    Args:
        commented: Also comment on tables, views and columns.
    """
    with duckdb.connect() as con:
        schema.create_schema(con, commented=commented)
        yield guard(con)


def register_stream(con: duckdb.DuckDBPyConnection, stream: StreamSpec) -> None:
    """Write a stream's tasks to the table `tasks`, replacing a stream of the same name.

    Raises:
        StreamError: A task's query fails, returns no column `clip_id`, or reaches beyond the
            manifest.
    """
    rows = [
        (stream.name, position, task.task, role, query)
        for position, task in enumerate(stream.tasks)
        for role, query in task.queries.items()
    ]
    with empty_manifest() as empty:
        for name, _, task_name, role, query in rows:
            if why := _refusal(empty, query):
                where = f"stream {name!r}, task {task_name!r}, {role}"
                raise StreamError(f"{where}: {why}\n  {query}")
    con.execute("DELETE FROM tasks WHERE stream = ?", [stream.name])
    if rows:
        con.executemany("INSERT INTO tasks VALUES (?, ?, ?, ?, ?)", rows)


def select_columns(con: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    """Return the columns of one SELECT, which may then be part of another query.

    Raises:
        StreamError: It is more than one statement, or no SELECT.
        duckdb.Error: It fails.
    """
    select = f"SELECT * FROM ({query}\n) LIMIT 0"
    if len(con.extract_statements(select)) != 1:
        raise StreamError("more than one statement; write one SELECT")
    return [column[0] for column in con.execute(select).description or []]


def _refusal(empty: duckdb.DuckDBPyConnection, query: str) -> str | None:
    """Return why a query cannot be part of a view, or None; `empty` is an empty manifest."""
    try:
        columns = select_columns(empty, query)
    except (duckdb.Error, StreamError) as error:
        return str(error).splitlines()[0]
    return None if "clip_id" in columns else "the query returns no column clip_id"


def create_task_view(con: duckdb.DuckDBPyConnection) -> None:
    """Create or replace the view `task_clips` (stream, position, task, role, clip_id).

    It has one row per clip, task and role, and follows the clips as they are stored. A query that
    fails or reaches beyond the manifest is left out with a warning.
    """
    rows = _usable(con.execute("SELECT * FROM tasks ORDER BY ALL").fetchall())
    parts = [
        f"SELECT DISTINCT {sql_literal(stream)} AS stream, {int(position)} AS position, "
        f"{sql_literal(task)} AS task, {sql_literal(role)} AS role, clip_id FROM ({query}\n)"
        for stream, position, task, role, query in rows
    ]
    schema.create_task_views(con, " UNION ALL ".join(parts) or None)


def _usable(rows: list[tuple[str, int, str, str, str]]) -> list[tuple[str, int, str, str, str]]:
    """Return the rows of `tasks` whose queries can be part of the view; warn about the others."""
    usable = []
    with empty_manifest() as empty:
        for row in rows:
            if why := _refusal(empty, row[-1]):
                _LOG.warning("stream %r, task %r, %s is left out: %s", row[0], *row[2:4], why)
            else:
                usable.append(row)
    return usable
