"""Create the manifest's tables and views, and migrate an older manifest."""

from importlib.resources import files

import duckdb

from avstore.manifests.status import refresh_status
from avstore.manifests.store import StoreError

SCHEMA_VERSION = 5


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


def create_schema(con: duckdb.DuckDBPyConnection) -> None:
    """Create tables and views, or migrate an older manifest, in one transaction."""
    found = schema_version(con)
    con.begin()
    try:
        con.execute(_sql("schema.sql"))
        for number in range(found + 1 if found else SCHEMA_VERSION + 1, SCHEMA_VERSION + 1):
            con.execute(_sql(f"migrations/{number:03d}.sql"))
        con.execute(_sql("views.sql"))
        if found != SCHEMA_VERSION:
            con.execute("DELETE FROM meta")
            con.execute("INSERT INTO meta VALUES (?)", [SCHEMA_VERSION])
        if 0 < found < SCHEMA_VERSION:
            refresh_status(con)
    except BaseException:
        con.rollback()
        raise
    con.commit()


def _sql(name: str) -> str:
    return files("avstore.manifests").joinpath(name).read_text()
