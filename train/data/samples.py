"""The list of samples that a query names, with the byte ranges of their members."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manifests.catalogue import open_read
from manifests.store import Store as StorePaths
from manifests.store import StoreError, find_store


@dataclass(frozen=True)
class Store:
    """A store opened for reading."""

    paths: StorePaths

    @property
    def root(self) -> Path:
        return self.paths.root

    def query(self, sql: str, params: Sequence[Any] = ()) -> pa.Table:
        """The rows of a query over the manifest. Raises StoreError where it fails."""
        with open_read(self.paths) as con:
            try:
                return con.sql(sql, params=list(params)).to_arrow_table()
            except duckdb.Error as error:
                raise StoreError(f"the query failed: {error}") from error


def open_store(path: Path | str) -> Store:
    """The store at `path`: STORE itself, STORE/shards or below. Raises StoreError."""
    if not Path(path).exists():
        raise StoreError(f"{path} does not exist; build shards first (make vggsound-shards)")
    return Store(find_store(Path(path)))


@dataclass(frozen=True)
class SampleList:
    """Samples in a fixed order, held as Arrow columns (no Python object a sample).

    table: clip_id, shard, names, offsets, sizes, frame_count, fbank_frames, label_ids.
    fingerprint: sha256 over the clips and their shards' sha256, in order.
    missing: clips that the query named and no shard has.
    """

    root: Path
    table: pa.Table
    fingerprint: str
    missing: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def row(self, index: int) -> dict[str, Any]:
        """One sample's columns."""
        return {name: self.table.column(name)[index].as_py() for name in self.table.column_names}

    @property
    def clip_ids(self) -> list[str]:
        return [str(value) for value in self.table.column("clip_id").to_pylist()]


def sample_list(store: Store, sql: str, params: Sequence[Any] = ()) -> SampleList:
    """The samples of the clips that `sql` returns (column clip_id), in order of clip_id.

    With several recipes in the store the clip's latest shard path is taken.
    Raises StoreError for a query that fails or that no stored clip answers.
    """
    wanted = store.query(f"SELECT DISTINCT clip_id FROM ({sql})", params)
    with open_read(store.paths) as con:
        con.register("wanted", wanted)
        table = con.sql(
            """
            SELECT s.clip_id, s.shard, s.members AS names, s.offsets, s.sizes, s.frame_count,
                   s.fbank_frames, c.label_ids, h.sha256
            FROM wanted w JOIN samples s USING (clip_id) JOIN clips c USING (clip_id)
            JOIN shards h ON h.path = s.shard
            QUALIFY row_number() OVER (PARTITION BY s.clip_id ORDER BY s.shard DESC) = 1
            ORDER BY s.clip_id
            """
        ).to_arrow_table()
        missing = con.execute(
            "SELECT clip_id FROM wanted WHERE clip_id NOT IN (SELECT clip_id FROM samples)"
        ).fetchall()
    if table.num_rows == 0:
        raise StoreError(
            f"no stored clip answers the query ({wanted.num_rows} named, {len(missing)} of them "
            f"not stored): {' '.join(sql.split())[:200]}"
        )
    digest = hashlib.sha256()
    for clip_id, sha256 in zip(
        table.column("clip_id").to_pylist(), table.column("sha256").to_pylist(), strict=True
    ):
        digest.update(f"{clip_id} {sha256}\n".encode())
    return SampleList(
        store.root,
        table.drop_columns(["sha256"]),
        digest.hexdigest(),
        tuple(row[0] for row in missing),
    )


def permutation(length: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of an epoch: a function of these three numbers alone."""
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return generator.permutation(length)
