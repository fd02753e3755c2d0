"""A small store for every test of the manifest."""

from pathlib import Path

import pytest

from avstore.manifests.catalogue import open_write
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from tests.manifests import synthetic


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """20 clips: 3 gone, 1 of the rest silent, shards of 4."""
    made = Store(tmp_path / "store")
    made.root.mkdir()
    rows = synthetic.clip_rows(20)
    with writing(made), open_write(made) as writer:
        synthetic.annotate(writer, made, rows)
        gone = {rows[i]["clip_id"]: "private" for i in (2, 7, 11)}
        synthetic.fetch(writer, made, "r1", {r["clip_id"]: gone.get(r["clip_id"]) for r in rows})
        synthetic.build(writer, made, "r1", rejected=frozenset({"toy/k00000"}))
        writer.publish()
    return made
