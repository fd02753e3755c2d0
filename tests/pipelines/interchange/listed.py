"""Stores that have annotations and no media: every clip counts as stored, for tests of lists."""

from collections.abc import Sequence
from pathlib import Path

from avstore.datasets.registry import get
from avstore.manifests.catalogue import open_write
from avstore.manifests.ingest import refresh_status
from avstore.manifests.store import Store
from avstore.pipelines.build.annotations import ingest_annotations, register_streams


def listed_store(root: Path, dataset: str, files: Sequence[Path]) -> Path:
    """Return a store of the dataset's annotation files, whose clips are in no shard file."""
    spec, store = get(dataset), Store(root)
    root.mkdir()
    with open_write(store) as writer:
        con = writer.con
        ingest_annotations(con, store, spec, files)
        register_streams(con, store, spec)
        shard = f"shards/{dataset}/stella-12345678/all-000000.tar"
        con.execute(
            "INSERT INTO shards (path, dataset, recipe, fingerprint, split) "
            "VALUES (?, ?, 'stella', '12345678', 'all')",
            [shard, dataset],
        )
        con.execute(
            "INSERT INTO samples (clip_id, shard, fingerprint) "
            "SELECT clip_id, ?, '12345678' FROM clips",
            [shard],
        )
        refresh_status(con)
        writer.publish()
    return root
