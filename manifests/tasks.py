"""Register task streams in the manifest: rows of `tasks` and the view `task_clips`."""

from importlib.resources import files

import duckdb

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
]

_EMPTY = (
    "SELECT NULL::VARCHAR AS stream, NULL::INTEGER AS position, NULL::VARCHAR AS task, "
    "NULL::VARCHAR AS role, NULL::VARCHAR AS clip_id WHERE false"
)


def create_base_views(con: duckdb.DuckDBPyConnection) -> None:
    """Create the views that task queries select from."""
    for name in ("views_tasks.sql", "views_leakage.sql"):
        con.execute(files("avstore.manifests").joinpath(name).read_text())


def register_stream(con: duckdb.DuckDBPyConnection, stream: StreamSpec) -> None:
    """Write a stream's tasks to the table `tasks`, replacing a stream of the same name.

    Raises:
        StreamError: A task's query fails or returns no column `clip_id`.
    """
    create_base_views(con)
    rows = [
        (stream.name, position, task.task, role, query)
        for position, task in enumerate(stream.tasks)
        for role, query in task.queries.items()
    ]
    for name, _, task_name, role, query in rows:
        _check(con, query, f"stream {name!r}, task {task_name!r}, {role}")
    con.execute("DELETE FROM tasks WHERE stream = ?", [stream.name])
    if rows:
        con.executemany("INSERT INTO tasks VALUES (?, ?, ?, ?, ?)", rows)


def _check(con: duckdb.DuckDBPyConnection, query: str, where: str) -> None:
    try:
        columns = con.execute(f"SELECT * FROM ({query}\n) LIMIT 0").description or []
    except duckdb.Error as error:
        raise StreamError(f"{where}: {str(error).splitlines()[0]}\n  {query}") from error
    if "clip_id" not in [column[0] for column in columns]:
        raise StreamError(f"{where}: the query returns no column clip_id\n  {query}")


def create_task_view(con: duckdb.DuckDBPyConnection) -> None:
    """Create or replace the view `task_clips` (stream, position, task, role, clip_id).

    It has one row per clip, task and role, and follows the clips as they are stored.
    """
    create_base_views(con)
    rows = con.execute("SELECT * FROM tasks ORDER BY ALL").fetchall()
    parts = [
        f"SELECT DISTINCT {sql_literal(stream)} AS stream, {int(position)} AS position, "
        f"{sql_literal(task)} AS task, {sql_literal(role)} AS role, clip_id FROM ({query}\n)"
        for stream, position, task, role, query in rows
    ]
    con.execute("CREATE OR REPLACE VIEW task_clips AS " + " UNION ALL ".join(parts or [_EMPTY]))
