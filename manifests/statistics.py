"""Statistics of a store's fbanks, by name: kept in the manifest and in the ledger."""

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
    """mean, std: of the unnormalised fbank, over all its values. query: which clips."""

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
    """Keep them, in place of earlier ones of the name. Raises StoreBusyError while one writes."""
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
    """All that the manifest has, by name."""
    rows = con.execute("SELECT * FROM statistics ORDER BY name").fetchall()
    return [Statistics(*row) for row in rows]
