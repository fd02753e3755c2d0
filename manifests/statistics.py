"""Named statistics of a store's fbanks, kept in the manifest and in the ledger."""

from dataclasses import dataclass
from datetime import datetime

import duckdb

from avstore.manifests import ledger
from avstore.manifests.catalogue import open_write
from avstore.manifests.ingest import transaction
from avstore.manifests.lock import writing
from avstore.manifests.store import Store


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of the fbanks of a set of clips.

    Attributes:
        name: Name to refer to them by.
        dataset: Dataset of the clips.
        stage: Extraction stage, <recipe>-<fp8>.
        query: SQL query that selects the clips.
        clips: Number of clips.
        frames: Number of fbank frames.
        mean: Mean over all values of the unnormalised fbanks.
        std: Standard deviation over the same values.
        samples_sha256: Fingerprint of the sample list.
        computed_at: UTC time.
    """

    name: str
    dataset: str
    stage: str
    query: str
    clips: int
    frames: int
    mean: float
    std: float
    samples_sha256: str
    computed_at: datetime


def save_statistics(store: Store, found: Statistics, wait_s: float = 0.0) -> None:
    """Save statistics, replacing earlier ones of the same name.

    Args:
        store: The store's paths.
        found: The statistics.
        wait_s: Seconds to wait for another writer.

    Raises:
        StoreBusyError: Another process is writing to the store.
    """
    with writing(store, wait_s), open_write(store) as writer:
        with transaction(writer.con):
            writer.con.execute("DELETE FROM statistics WHERE name = ?", [found.name])
            writer.con.execute(
                f"INSERT INTO statistics VALUES ({', '.join('?' * len(vars(found)))})",
                list(vars(found).values()),
            )
            ledger.save_table(writer.con, store, "statistics")
        writer.publish()


def load_statistics(con: duckdb.DuckDBPyConnection) -> list[Statistics]:
    """Return the manifest's statistics, ordered by name."""
    rows = con.execute("SELECT * FROM statistics ORDER BY name").fetchall()
    return [Statistics(*row) for row in rows]
