"""The table that facets are counted on: one row per published clip and recipe, in memory.

Temporary tables of one connection to the manifest, which no other connection sees. They are filled
in parts, so that joins over millions of clips stay within the memory limit.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from avstore.manifests.errors import query_error
from avstore.manifests.schema import sql_name
from avstore.manifests.store import StoreError
from avstore.manifests.streams import sql_literal

Row = dict[str, Any]

# Short texts that many clips share: columns of the facts, and where their values come from.
KINDS = {
    "dataset": "clips",
    "split": "clips",
    "category": "clips",
    "stage": "status",
    "status": "status",
    "verdict": "status",
}
# Measured numbers: column, title and unit.
MEASURES = {
    "duration_s": ("duration", "s"),
    "loudness_lufs": ("loudness", "LUFS"),
    "loudest_dbfs": ("loudest 100 ms", "dBFS"),
    "silent_fraction": ("silent", "of the clip"),
    "clipped_fraction": ("clipped", "of the sound"),
    "still_fraction": ("still", "of the clip"),
    "black_fraction": ("black", "of the clip"),
    "largest_change": ("largest change", "of 255"),
    "brightest_luma": ("brightest pixel", "of 255"),
    "largest_gap_s": ("largest gap", "s"),
    "repeated_frames": ("repeated frames", "frames"),
    "decode_errors": ("decode errors", "errors"),
}
_RELATION = """{0}clips c
JOIN {0}status t USING (clip_id)
LEFT JOIN {0}stages g ON g.stage = t.stage AND g.dataset = c.dataset
LEFT JOIN {0}quality q ON q.clip_id = c.clip_id AND q.fingerprint = g.fingerprint
LEFT JOIN {0}samples s ON s.clip_id = c.clip_id AND s.fingerprint = g.fingerprint
WHERE (t.stage <> 'fetch' OR c.dataset NOT IN (SELECT dataset FROM {0}stages))"""
# The clips once per recipe (as the view clip_status), with what is measured of them.

_PART = 1 << 18  # clips that are joined at a time
_LONGEST_S = 30.0  # a query that takes longer is interrupted
# Beyond its memory DuckDB would write to the disk, which a guarded connection forbids.
_SPILLING = "LocalFileSystem has been disabled"
_CHOSEN = 4  # results of searches that are kept


class Facts:
    """Counts and selects clips. One query runs at a time; each takes milliseconds.

    Args:
        con: A connection to the manifest that nothing else uses.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self._lock = threading.RLock()
        self._ready = False
        self._chosen: dict[str, str] = {}
        self._numbers = iter(range(1 << 62))

    def interrupt(self) -> None:
        """End the query that runs; its caller gets a StoreError."""
        self._con.interrupt()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._con.close()

    def prepare(self) -> None:
        """Fill the tables, once. Raise StoreError if they cannot be filled."""
        with self._lock, _reported():
            if not self._ready:
                self._drop()  # what is left of a call that failed
                self._fill()
                self._ready = True

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """Run a query over `facts`, `fact_labels` and the manifest; return its rows.

        Raises:
            StoreError: It failed, or took longer than 30 s.
        """
        with self._lock, self._bounded():
            self.prepare()
            cursor = self._con.execute(sql, params)
            names = [column[0] for column in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def table(self, sql: str) -> pa.Table:
        """Run a query as `rows` does, and return its rows as an Arrow table."""
        with self._lock, self._bounded():
            self.prepare()
            return self._con.sql(sql).to_arrow_table()

    def chosen(self, condition: str) -> str:
        """Return the name of a table of the clips (`clip`) that a condition on `clips` selects."""
        with self._lock, self._bounded():
            if condition not in self._chosen:
                self._choose(condition)
            return self._chosen[condition]

    def _choose(self, condition: str) -> None:
        name = f"chosen_{next(self._numbers)}"
        self._con.execute(
            f"CREATE TEMP TABLE {sql_name(name)} AS "
            f"SELECT rowid::UINTEGER AS clip FROM clips WHERE {condition}"
        )
        self._chosen[condition] = name
        if len(self._chosen) > _CHOSEN:
            oldest = next(iter(self._chosen))
            self._con.execute(f"DROP TABLE {sql_name(self._chosen.pop(oldest))}")

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Interrupt what takes too long, and report errors."""
        timer = threading.Timer(_LONGEST_S, self._con.interrupt)
        timer.daemon = True
        timer.start()
        try:
            with _reported():
                yield
        finally:
            timer.cancel()

    def _drop(self) -> None:
        """Drop the tables. No transaction does: it would keep the memory of dropped parts."""
        for table in (
            "facts",
            "fact_labels",
            *(f"part_{t}" for t in (*_PARTS, "ids", "clips", "stages")),
        ):
            self._con.execute(f"DROP TABLE IF EXISTS {sql_name(table)}")
        for name in (*KINDS, "label", "fingerprint"):
            self._con.execute(f"DROP TYPE IF EXISTS {sql_name('kind_' + name)}")

    def _fill(self) -> None:
        for name, table in KINDS.items():
            self._create_type(name, f"SELECT DISTINCT {sql_name(name)} AS v FROM {table}")
        self._create_type("label", "SELECT DISTINCT unnest(labels) AS v FROM clips")
        self._create_type("fingerprint", "SELECT fingerprint AS v FROM stages")
        self._con.execute(
            "CREATE TEMP TABLE part_stages AS SELECT stage::kind_stage AS stage, "
            "dataset::kind_dataset AS dataset, fingerprint::kind_fingerprint AS fingerprint "
            "FROM stages WHERE dataset IN (SELECT dataset FROM clips) "
            "AND stage IN (SELECT stage FROM status)"
        )
        for start in range(0, self._clips() or 1, _PART):
            self._take_part(start)
            into = "INSERT INTO facts" if start else "CREATE TEMP TABLE facts AS"
            self._con.execute(f"{into} {_FACTS}")
        for table in (*_PARTS, "ids", "clips", "stages"):
            self._con.execute(f"DROP TABLE {sql_name('part_' + table)}")
        self._con.execute(
            "CREATE TEMP TABLE fact_labels AS "
            "SELECT rowid::UINTEGER AS clip, unnest(labels)::kind_label AS label FROM clips"
        )

    def _take_part(self, start: int) -> None:
        """Copy the rows of some clips, with numbers in place of texts.

        Joins of whole tables by clip id would need a gigabyte.
        """
        where = f"WHERE rowid >= {int(start)} AND rowid < {int(start + _PART)}"
        self._con.execute(
            "CREATE OR REPLACE TEMP TABLE part_ids AS "
            f"SELECT clip_id, rowid AS number FROM clips {where}"
        )
        self._con.execute(
            "CREATE OR REPLACE TEMP TABLE part_clips AS "
            f"SELECT rowid AS clip_id, {_kinds('clips')} FROM clips {where}"
        )
        for table, columns in _PARTS.items():
            part = sql_name("part_" + table)
            self._con.execute(
                f"CREATE OR REPLACE TEMP TABLE {part} AS SELECT i.number AS clip_id, {columns} "
                f"FROM {table} t JOIN part_ids i ON i.clip_id = t.clip_id"
            )

    def _create_type(self, name: str, values: str) -> None:
        # Dictionaries: a text takes one to four bytes a clip. A type needs at least one value.
        self._con.execute(
            f"CREATE TEMP TYPE {sql_name('kind_' + name)} AS ENUM (SELECT v FROM ({values}) "
            "WHERE v IS NOT NULL UNION SELECT '' ORDER BY v)"
        )

    def _clips(self) -> int:
        found = self._con.execute("SELECT coalesce(max(rowid), -1) + 1 FROM clips").fetchone()
        return int(found[0]) if found else 0


@contextmanager
def _reported() -> Iterator[None]:
    """Report errors of the database as those of a query, by StoreError."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise StoreError(
            f"the query was ended: it took longer than {_LONGEST_S:.0f} s, or the server stops; "
            "narrow it, or use avstore sql"
        ) from error
    except (duckdb.OutOfMemoryException, duckdb.PermissionException) as error:
        if isinstance(error, duckdb.PermissionException) and _SPILLING not in str(error):
            raise query_error(error) from error
        raise StoreError(
            "the query needs more memory than avstore browse may use; narrow it, give "
            "--memory, or use avstore sql"
        ) from error
    except duckdb.Error as error:
        raise query_error(error) from error


def _column(name: str) -> str:
    """Return the expression of a measured column."""
    return f"{'s' if name == 'duration_s' else 'q'}.{sql_name(name)}"


def _kinds(source: str) -> str:
    """Return the columns of a table that are short texts, as numbers of their values."""
    return ", ".join(f"{n}::kind_{n} AS {n}" for n, table in KINDS.items() if table == source)


_FINGERPRINT = "TRY_CAST(fingerprint AS kind_fingerprint) AS fingerprint, "
_PARTS = {
    "status": _kinds("status"),
    "quality": _FINGERPRINT
    + ", ".join(f"{name}::FLOAT AS {name}" for name in MEASURES if name != "duration_s"),
    "samples": _FINGERPRINT + "t.rowid AS sample, duration_s::FLOAT AS duration_s",
}
"""Tables that a part has the rows of, beside clips, with their columns."""
_FACTS = "SELECT c.clip_id::UINTEGER AS clip, s.sample::UINTEGER AS sample, "
_FACTS += ", ".join(f"{'c' if table == 'clips' else 't'}.{name}" for name, table in KINDS.items())
_FACTS += ", " + ", ".join(_column(name) for name in MEASURES)
_FACTS += " FROM " + _RELATION.format("part_")

MANIFEST_SELECT = (
    "SELECT DISTINCT clip_id FROM (\n    SELECT c.*, t.stage, t.status, t.verdict, "
    + ", ".join(f"{_column(name)}::FLOAT AS {sql_name(name)}" for name in MEASURES)
    + "\n    FROM "
    + _RELATION.format("").replace("\n", "\n    ")
    + "\n)"
)
"""The same rows as a query of the manifest, to be continued by WHERE."""


def equals(column: str, values: Sequence[str]) -> str:
    """Return the condition that a column has one of some values; '' is NULL."""
    named = [sql_literal(value) for value in values if value]
    parts = [f"{sql_name(column)} IN ({', '.join(named)})"] if named else []
    parts += [f"{sql_name(column)} IS NULL"] if "" in values else []
    return f"({' OR '.join(parts)})"
