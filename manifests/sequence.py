"""Number the events of a store, so that their order does not depend on a clock.

Fetch attempts, extractions and runs share one sequence, `seq`. A store has one writer at a time,
which continues after the largest number in the manifest. Events that an older version recorded have
no number; they get a negative one from their time and so come before all others, in their order.
"""

import itertools
from collections.abc import Iterator

import duckdb

_UNNUMBERED = -(1 << 62)


def numbered(seq: str, time: str) -> str:
    """Return SQL for an event's number: its own, or one from its time.

    Args:
        seq: SQL of its number, which may be null.
        time: SQL of its time, a column of type TIMESTAMP.
    """
    return f"coalesce({seq}, coalesce(epoch_us({time}), 0) {_UNNUMBERED})"


def numbers(con: duckdb.DuckDBPyConnection) -> Iterator[int]:
    """Return the numbers after all in the manifest; the caller holds the store's lock."""
    (row,) = con.execute(
        "SELECT greatest(0, (SELECT max(seq) FROM attempts), (SELECT max(seq) FROM quality), "
        "(SELECT max(seq) FROM runs))"
    ).fetchall()
    return itertools.count(int(row[0]) + 1)
