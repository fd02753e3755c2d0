"""Record imported features: their fingerprint, their archives, and the arrays that were not stored.

An imported feature's fingerprint is that of its name, its dataset, and the type and shape of its
values. Archives add clips to it, and never replace a value.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import pyarrow as pa

from avstore.manifests import ledger
from avstore.manifests.columns import arrow_table, table_schema
from avstore.manifests.ingest import transaction
from avstore.manifests.sealed import read_parquet
from avstore.manifests.store import Store, StoreError, sidecar_of
from avstore.pipelines.features.lineage import (
    IMPORTED,
    Lineage,
    forget_unused,
    record_lineage,
    recorded_lineages,
)
from avstore.pipelines.interchange.feature_layouts import ValueSpec

_VERSION = "1"
Problem = dict[str, str | None]
"""A row of `feature_problems`."""


@dataclass(frozen=True)
class FeatureAccount:
    """Number of published clips by status: wanted = stored + unreadable + missing.

    Attributes:
        wanted: Published clips of the dataset.
        stored: Clips that have the feature.
        unreadable: Clips whose array could not be used.
        missing: Clips of which no archive has an array.
        extra: Arrays of no published clip.
    """

    wanted: int
    stored: int
    unreadable: int
    missing: int
    extra: int


def imported_lineage(feature: str, dataset: str, spec: ValueSpec) -> Lineage:
    """Return the lineage of an imported feature, without archives."""
    return Lineage(
        feature=feature,
        version=_VERSION,
        parameters={"dataset": dataset, "value": spec.text},
        weights={"kind": IMPORTED, "sha256": None, "origin": "", "sources": []},
        libraries={},
        base=IMPORTED,
        base_fingerprint="",
        reference="import",
    )


def find_imported(con: duckdb.DuckDBPyConnection, feature: str, dataset: str) -> Lineage | None:
    """Return the recorded lineage of an imported feature.

    Raises:
        StoreError: The store has several, with values of different types or shapes.
    """
    found = [
        lineage
        for (name, _), lineage in recorded_lineages(con).items()
        if name == feature and lineage.is_imported and lineage.parameters["dataset"] == dataset
    ]
    if len(found) > 1:
        values = " or ".join(f"--value '{each.parameters['value']}'" for each in found)
        raise StoreError(f"{dataset} has several imported versions of {feature}; choose {values}")
    return found[0] if found else None


def recorded(con: duckdb.DuckDBPyConnection, lineage: Lineage) -> Lineage | None:
    """Return the recorded lineage of the same fingerprint, which names archives."""
    return recorded_lineages(con).get((lineage.feature, lineage.fingerprint))


def forget(con: duckdb.DuckDBPyConnection, store: Store, lineage: Lineage) -> None:
    """Delete the records of an imported feature without a value."""
    key = [lineage.feature, lineage.fingerprint]
    con.execute("DELETE FROM feature_problems WHERE feature = ? AND fingerprint = ?", key)
    ledger.save_table(con, store, "feature_problems")
    forget_unused(con, store, lineage)


def sources_of(lineage: Lineage) -> list[dict[str, Any]]:
    """Return the recorded archives: name, bytes, sha256 (None: not read as a whole)."""
    return [dict(source) for source in lineage.weights.get("sources", ())]


def with_source(lineage: Lineage, source: Mapping[str, Any]) -> Lineage:
    """Return the lineage with an archive, in place of one with its name and size."""
    same = (source["name"], source["bytes"])
    others = [each for each in sources_of(lineage) if (each["name"], each["bytes"]) != same]
    sources = [*others, dict(source)]
    origin = ", ".join(dict.fromkeys(str(each["name"]) for each in sources))
    return replace(lineage, weights={**lineage.weights, "origin": origin, "sources": sources})


def save_source(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    lineage: Lineage,
    name: str,
    problems: Sequence[Problem],
) -> None:
    """Record an archive's lineage, and its problems in place of those of an earlier import."""
    record_lineage(con, store, lineage)
    key = [lineage.feature, lineage.fingerprint]
    rows = [{"feature": key[0], "fingerprint": key[1], **problem} for problem in problems]
    table: pa.Table = arrow_table(rows, table_schema("feature_problems"))
    with transaction(con):
        con.execute(
            "DELETE FROM feature_problems WHERE feature = ? AND fingerprint = ? AND source = ?",
            [*key, name],
        )
        con.register("new_problems", table)
        con.execute("INSERT INTO feature_problems BY NAME SELECT * FROM new_problems")
        con.unregister("new_problems")
    ledger.save_table(con, store, "feature_problems")


def stored_members(
    con: duckdb.DuckDBPyConnection, store: Store, lineage: Lineage
) -> dict[str, tuple[int, int]]:
    """Return the size and CRC-32 of the released file of each stored clip."""
    rows = con.execute(
        "SELECT DISTINCT shard FROM feature_samples WHERE feature = ? AND fingerprint = ?",
        [lineage.feature, lineage.fingerprint],
    ).fetchall()
    found: dict[str, tuple[int, int]] = {}
    for (shard,) in rows:
        columns = ["clip_id", "member_bytes", "member_crc32"]
        table = read_parquet(store.root / sidecar_of(shard), columns)
        values = [table[column].to_pylist() for column in columns]
        found |= {i: (size, crc32) for i, size, crc32 in zip(*values, strict=True)}
    return found


def next_numbers(
    con: duckdb.DuckDBPyConnection, store: Store, dataset: str, feature: str, fp8: str
) -> dict[str, int]:
    """Return the number of the next shard by split: above those of all sidecars and drops."""
    ending = f".{feature}-{fp8}"
    folder = store.shards / dataset / IMPORTED
    names = [path.stem for path in folder.glob(f"*{ending}.parquet")]
    dropped = con.execute(
        "SELECT shard FROM dropped WHERE starts_with(shard, ?)", [f"shards/{dataset}/{IMPORTED}/"]
    ).fetchall()
    names += [shard.rsplit("/", 1)[-1].removesuffix(".tar") for (shard,) in dropped]
    numbers: Counter[str] = Counter()
    for name in names:
        if name.endswith(ending):
            split, _, number = name.removesuffix(ending).rpartition("-")
            numbers[split] = max(numbers[split], int(number) + 1)
    return dict(numbers)


def account_of(con: duckdb.DuckDBPyConnection, lineage: Lineage) -> FeatureAccount:
    """Return the closed summary of an imported feature."""
    (row,) = con.execute(
        "SELECT wanted, stored, unreadable, missing, extra FROM feature_account "
        "WHERE feature = ? AND fingerprint = ?",
        [lineage.feature, lineage.fingerprint],
    ).fetchall()
    return FeatureAccount(*row)


def problem_counts(con: duckdb.DuckDBPyConnection, lineage: Lineage) -> list[tuple[str, int, str]]:
    """Return (reason, arrays, an example) of the arrays that were not stored, the most first."""
    return con.execute(
        "SELECT reason, count(*), min(member || coalesce(': ' || detail, '')) "
        "FROM feature_problems WHERE feature = ? AND fingerprint = ? "
        "GROUP BY reason ORDER BY 2 DESC, 1",
        [lineage.feature, lineage.fingerprint],
    ).fetchall()
