"""Keep the table `status` equal to the view `derived_status` by updating only what changed.

`status` is ordered by `clips.position`, so DuckDB's zone maps find the rows of neighbouring clips
without scanning the table, and an update's cost does not grow with the manifest. Changes that the
incremental updates do not cover recompute the rows from the view.
"""

import duckdb
import pyarrow as pa


def refresh_status(con: duckdb.DuckDBPyConnection, clip_ids: pa.Table | None = None) -> None:
    """Recompute `status` from the other tables. Run it inside the change's transaction.

    Args:
        con: Writing connection.
        clip_ids: Arrow table with a column `clip_id`; None: all clips.
    """
    if clip_ids is None:
        con.execute("DELETE FROM status")
        con.execute("INSERT INTO status SELECT * FROM derived_status ORDER BY stage, position")
        return
    con.register("changed", clip_ids)
    con.execute("DELETE FROM status WHERE clip_id IN (SELECT clip_id FROM changed)")
    con.execute(
        "INSERT INTO status SELECT * FROM derived_status "
        "WHERE clip_id IN (SELECT clip_id FROM changed) ORDER BY stage, position"
    )
    con.unregister("changed")


def position_span(
    con: duckdb.DuckDBPyConnection, table: str, hint: tuple[int, int] | None = None
) -> tuple[int, int] | None:
    """Return the first and last `clips.position` of the clips of a table.

    Args:
        con: Connection to the manifest.
        table: Table with a column `clip_id`.
        hint: First and last position to try before the whole table is scanned.

    Returns:
        The closed range of positions, or None if one of the clips is not published.
    """
    (count,) = _one(con, f"SELECT count(DISTINCT clip_id) FROM {table}")
    for low, high in ([hint] if hint else []) + [(0, 2**62)]:
        found, first, last = _one(
            con,
            f"SELECT count(*), min(position), max(position) FROM clips "
            f"WHERE position BETWEEN {int(low)} AND {int(high)} "
            f"AND clip_id IN (SELECT clip_id FROM {table})",
        )
        if found == count:
            return first, last
    return None


def _one(con: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    (row,) = con.execute(query).fetchall()
    return tuple(row)


def note_attempts(con: duckdb.DuckDBPyConnection, attempts: pa.Table) -> None:
    """Update `status` after fetch attempts were inserted.

    Args:
        con: Writing connection.
        attempts: The rows that were inserted, with the columns of `attempts`.
    """
    con.register("new_attempts", attempts)
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE fetched AS
        SELECT clip_id, min(seq) AS earliest, max(seq) AS seq,
               arg_max_null(started_at, seq) AS at,
               arg_max_null(fetch_outcome(outcome, error_class, tool_version), seq) AS outcome,
               arg_max_null(fetch_verdict(outcome, error_class, tool_version), seq) AS verdict,
               arg_max_null(not_before, seq) AS not_before,
               count(*) FILTER (charged) AS charged
        FROM new_attempts WHERE stage = 'fetch' GROUP BY clip_id
        """
    )
    con.unregister("new_attempts")
    span = position_span(con, "fetched")
    if span is None or _out_of_order(con, span) or _retried_or_rejected(con, span):
        refresh_status(con, con.sql("SELECT clip_id FROM fetched").to_arrow_table())
    else:
        _update_fetched(con, span)
    con.execute("DROP TABLE fetched")


def _out_of_order(con: duckdb.DuckDBPyConnection, span: tuple[int, int]) -> bool:
    (count,) = _one(
        con,
        f"SELECT count(*) FROM status s JOIN fetched f USING (clip_id) "
        f"WHERE s.stage = 'fetch' AND {_within(span)} AND f.earliest <= s.seq",
    )
    return count > 0


def _retried_or_rejected(con: duckdb.DuckDBPyConnection, span: tuple[int, int]) -> bool:
    """Return whether a clip is being retried, or is or was rejected before extraction."""
    (count,) = _one(
        con,
        f"SELECT count(*) FROM status s JOIN fetched f USING (clip_id) "
        f"WHERE s.stage = 'fetch' AND {_within(span)} "
        "AND (f.outcome IN ('pending', 'rejected') OR s.status = 'rejected')",
    )
    return count > 0


def _within(span: tuple[int, int]) -> str:
    return f"s.position BETWEEN {int(span[0])} AND {int(span[1])}"


def _update_fetched(con: duckdb.DuckDBPyConnection, span: tuple[int, int]) -> None:
    con.execute(
        f"""
        UPDATE status s SET status = f.outcome, verdict = f.verdict,
               attempts = s.attempts + f.charged, not_before = f.not_before, updated_at = f.at,
               seq = f.seq
        FROM fetched f
        WHERE s.clip_id = f.clip_id AND s.stage = 'fetch' AND {_within(span)}
        """
    )
    con.execute(
        f"""
        UPDATE status s SET
               status = CASE WHEN f.outcome IN ('gone', 'absent', 'retryable') THEN f.outcome
                             ELSE 'pending' END,
               verdict = CASE WHEN f.outcome IN ('gone', 'absent', 'retryable') THEN f.verdict END,
               not_before = f.not_before,
               updated_at = CASE WHEN f.outcome IN ('gone', 'absent', 'retryable') THEN f.at END,
               seq = CASE WHEN f.outcome IN ('gone', 'absent', 'retryable') THEN f.seq END
        FROM fetched f
        WHERE s.clip_id = f.clip_id AND s.stage <> 'fetch' AND {_within(span)}
          AND s.status NOT IN ('stored', 'rejected')
          AND extraction_status(false, s.verdict) <> 'retryable'
        """
    )


def extraction_states(
    con: duckdb.DuckDBPyConnection, span: tuple[int, int]
) -> set[tuple[bool, str]]:
    """Return the extraction statuses of the clips in `incoming`, before it is ingested.

    Returns:
        Pairs (whether the stage is incoming's own, status).
    """
    rows = con.execute(
        f"""
        SELECT DISTINCT s.stage = i.recipe || '-' || left(i.fingerprint, 8), s.status
        FROM status s JOIN incoming i USING (clip_id)
        WHERE s.stage <> 'fetch' AND {_within(span)}
        """
    ).fetchall()
    return {(bool(own), str(status)) for own, status in rows}


def note_extracted(con: duckdb.DuckDBPyConnection, span: tuple[int, int]) -> None:
    """Update `status` after `incoming` was ingested, none of whose clips was stored before."""
    con.execute(
        f"""
        UPDATE status s SET status = extraction_status(i.stored, i.verdict),
               verdict = i.verdict, attempts = 1, not_before = NULL, updated_at = i.extracted_at,
               seq = i.quality_seq
        FROM incoming i
        WHERE s.clip_id = i.clip_id AND s.stage = i.recipe || '-' || left(i.fingerprint, 8)
          AND {_within(span)}
        """
    )
