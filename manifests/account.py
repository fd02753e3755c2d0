"""The closed account: every published clip has exactly one status at every stage."""

from dataclasses import dataclass

import duckdb


@dataclass(frozen=True)
class Account:
    """How many clips are where, at one stage. wanted = the sum of the others."""

    dataset: str
    stage: str
    wanted: int
    stored: int
    rejected: int
    gone: int
    retryable: int
    pending: int


class AccountError(Exception):
    """The account does not close: a defect of ours, never of the data."""


def accounts(con: duckdb.DuckDBPyConnection, dataset: str | None = None) -> list[Account]:
    """The account of every stage (of one dataset)."""
    rows = con.execute(
        "SELECT * FROM account WHERE ? IS NULL OR dataset = ?", [dataset, dataset]
    ).fetchall()
    return [Account(*row) for row in rows]


def check_accounts(con: duckdb.DuckDBPyConnection, dataset: str) -> list[Account]:
    """The dataset's accounts; raises AccountError where one does not close."""
    (published,) = con.execute(
        "SELECT count(*) FROM clips WHERE dataset = ?", [dataset]
    ).fetchone() or (0,)
    found = accounts(con, dataset)
    for a in found:
        parts = a.stored + a.rejected + a.gone + a.retryable + a.pending
        if not published == a.wanted == parts:
            raise AccountError(
                f"the account of {dataset} at {a.stage} does not close: {published} published, "
                f"{a.wanted} with a status, {parts} = {a.stored} stored + {a.rejected} rejected + "
                f"{a.gone} gone + {a.retryable} retryable + {a.pending} pending; "
                "please report this with the output of avstore verify"
            )
    return found


def reasons(con: duckdb.DuckDBPyConnection, dataset: str, stage: str) -> list[tuple[str, str, int]]:
    """(status, verdict, clips) of what is not stored, or is flagged; unknown first."""
    return con.execute(
        """
        SELECT t.status, t.verdict, count(*) AS clips
        FROM status t JOIN clips c USING (clip_id)
        WHERE c.dataset = ? AND t.stage = ? AND t.verdict IS NOT NULL
        GROUP BY t.status, t.verdict
        ORDER BY t.verdict <> 'unknown', clips DESC, t.verdict
        """,
        [dataset, stage],
    ).fetchall()
