"""The closed summary: every published clip has exactly one status at every stage."""

from dataclasses import dataclass

import duckdb

from avstore.manifests.nearest import did_you_mean
from avstore.manifests.store import StoreError


@dataclass(frozen=True)
class Account:
    """Number of clips by status at one stage.

    Attributes:
        dataset: Name of the dataset.
        stage: `fetch` or <recipe>-<fp8>.
        wanted: Published clips: the sum of the other counts.
        stored: Clips with a sample (or, at `fetch`, with media).
        rejected: Clips that failed validation.
        gone: Clips that no longer exist, as the site that published them says.
        absent: Clips that the sources so far lack and another may have.
        retryable: Clips that may be fetched later.
        pending: Clips that were not tried yet.
    """

    dataset: str
    stage: str
    wanted: int
    stored: int
    rejected: int
    gone: int
    absent: int
    retryable: int
    pending: int


class AccountError(Exception):
    """The summary does not add up: a defect of avstore, never of the data."""


def require_dataset(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Raise StoreError, which names the others, if the store holds no dataset of that name."""
    rows = con.execute("SELECT name FROM datasets ORDER BY name").fetchall()
    names = [row[0] for row in rows]
    if name not in names:
        known = ", ".join(names) or "none"
        raise StoreError(
            f"the store holds no dataset {name!r}{did_you_mean(name, names)}; it holds: {known}"
        )


def accounts(con: duckdb.DuckDBPyConnection, dataset: str | None = None) -> list[Account]:
    """Return the counts of every stage, of one dataset or (None) of all."""
    rows = con.execute(
        "SELECT * FROM account WHERE ? IS NULL OR dataset = ?", [dataset, dataset]
    ).fetchall()
    return [Account(*row) for row in rows]


def check_accounts(con: duckdb.DuckDBPyConnection, dataset: str) -> list[Account]:
    """Return a dataset's counts of every stage.

    Raises:
        AccountError: The counts of a stage do not add up.
    """
    (published,) = con.execute(
        "SELECT count(*) FROM clips WHERE dataset = ?", [dataset]
    ).fetchone() or (0,)
    found = accounts(con, dataset)
    for a in found:
        parts = a.stored + a.rejected + a.gone + a.absent + a.retryable + a.pending
        if not published == a.wanted == parts:
            raise AccountError(
                f"the summary of {dataset} at {a.stage} does not add up: {published} published, "
                f"{a.wanted} with a status, {parts} = {a.stored} stored + {a.rejected} rejected + "
                f"{a.gone} gone + {a.absent} absent + {a.retryable} retryable + "
                f"{a.pending} pending; "
                "please report this with the output of avstore verify"
            )
    return found


def reasons(con: duckdb.DuckDBPyConnection, dataset: str, stage: str) -> list[tuple[str, str, int]]:
    """Return (status, verdict, clips) of clips that are not stored or flagged; unknown first."""
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
