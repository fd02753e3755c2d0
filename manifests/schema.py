"""Create the manifest's tables and views, and migrate an older manifest."""

from functools import cache
from importlib.resources import files

import duckdb

from avstore.manifests import comments
from avstore.manifests.status import refresh_status
from avstore.manifests.store import StoreError

SCHEMA_VERSION = 11

_VIEWS = (
    *("views.sql", "views_members.sql", "views_tasks.sql", "views_leakage.sql"),
    "views_features.sql",
)

# What a manifest defines beside its tables, as (kind, name, SQL).
_DEFINITIONS = """
SELECT 'view' AS kind, schema_name, view_name AS name, sql FROM duckdb_views()
WHERE NOT internal AND NOT temporary AND database_name = current_database()
UNION ALL
SELECT CASE function_type WHEN 'macro' THEN 'macro' ELSE 'macro table' END, schema_name,
       function_name, macro_definition || ' ' || parameters::VARCHAR
FROM duckdb_functions()
WHERE NOT internal AND database_name = current_database()
  AND function_type IN ('macro', 'table_macro')
"""


def schema_version(con: duckdb.DuckDBPyConnection) -> int:
    """Return the manifest's schema version, 0 for an empty database.

    Raises:
        StoreError: The manifest was written by a newer version.
    """
    tables = "SELECT 1 FROM duckdb_tables() WHERE table_name = 'meta'"
    if not con.execute(tables).fetchall():
        return 0
    rows = con.execute("SELECT max(schema_version) FROM meta").fetchall()
    found = int(rows[0][0] or 0)
    if found > SCHEMA_VERSION:
        raise StoreError(
            f"the manifest has schema version {found}, but this avstore supports at most "
            f"{SCHEMA_VERSION}: update avstore, or delete manifest.duckdb and run avstore index"
        )
    return found


def create_schema(con: duckdb.DuckDBPyConnection, commented: bool = True) -> None:
    """Create tables and views, or migrate an older manifest, in one transaction.

    Args:
        con: Writing connection.
        commented: Also comment on tables, views and columns.
    """
    found = schema_version(con)
    con.begin()
    try:
        _drop_definitions(con)
        con.execute(_sql("schema.sql"))
        for number in range(found + 1 if found else SCHEMA_VERSION + 1, SCHEMA_VERSION + 1):
            con.execute(_sql(f"migrations/{number:03d}.sql"))
        for name in _VIEWS:
            con.execute(_sql(name))
        if commented:
            write_comments(con)
        if found != SCHEMA_VERSION:
            con.execute("DELETE FROM meta")
            con.execute("INSERT INTO meta VALUES (?)", [SCHEMA_VERSION])
        if 0 < found < SCHEMA_VERSION:
            refresh_status(con)
    except BaseException:
        con.rollback()
        raise
    con.commit()


def create_task_views(con: duckdb.DuckDBPyConnection, tasks: str | None) -> None:
    """Create `task_clips` from a SELECT (None: without rows) and comment on it."""
    con.execute("DROP VIEW IF EXISTS task_clips")
    if tasks:
        con.execute(f"CREATE VIEW task_clips AS {tasks}")
    con.execute(_sql("views_tasks.sql"))
    write_comments(con)


def write_comments(con: duckdb.DuckDBPyConnection) -> None:
    """Comment on all tables, views, macros and columns, as the SQL files do."""
    comments.write_comments(con, _described())


@cache
def _described() -> tuple[comments.Described, ...]:
    """Return what schema.sql and the views define, with the texts of their comments."""
    return tuple(item for name in ("schema.sql", *_VIEWS) for item in comments.describe(_sql(name)))


def definitions(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return the SQL of the manifest's views and macros by kind and name, such as `view missing`.

    A name outside the main schema has the schema's name before it.
    """
    rows = con.execute(_DEFINITIONS).fetchall()
    return {
        f"{kind} {name}" if schema == "main" else f"{kind} {schema}.{name}": sql
        for kind, schema, name, sql in rows
    }


def _drop_definitions(con: duckdb.DuckDBPyConnection) -> None:
    """Drop views and macros, which the code creates again; those of others never run in a writer.

    `task_clips` stays: it follows from the table `tasks`.
    """
    for kind, schema, name, _ in con.execute(_DEFINITIONS).fetchall():
        if (kind, name) != ("view", "task_clips"):
            con.execute(f"DROP {kind} IF EXISTS {sql_name(schema)}.{sql_name(name)}")


def sql_name(name: str) -> str:
    """Return a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _sql(name: str) -> str:
    return files("avstore.manifests").joinpath(name).read_text()
