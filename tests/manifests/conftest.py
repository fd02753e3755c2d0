"""The small store that the manifest's tests share."""

from pathlib import Path

import pytest

from avstore.manifests.catalogue import open_write
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from tests.manifests import synthetic


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Build a store of 20 clips, 3 of them gone and 1 silent, in shards of 4."""
    paths = Store(tmp_path / "store")
    paths.root.mkdir()
    rows = synthetic.clip_rows(20)
    with writing(paths), open_write(paths) as writer:
        synthetic.annotate(writer, paths, rows)
        gone = {rows[i]["clip_id"]: "private" for i in (2, 7, 11)}
        synthetic.fetch(writer, paths, "r1", {r["clip_id"]: gone.get(r["clip_id"]) for r in rows})
        synthetic.build(writer, paths, "r1", rejected=frozenset({"toy/k00000"}))
        writer.publish()
    return paths
