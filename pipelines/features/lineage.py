"""Record what a feature's values depend on, fingerprint it, and compare two records."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import duckdb

from avstore.manifests import ledger
from avstore.manifests.fingerprint import digest
from avstore.manifests.ingest import transaction
from avstore.manifests.store import Store
from avstore.pipelines.features.extractor import Extractor, parameters_of, reads_of
from avstore.pipelines.features.stored_clip import READ_LIBRARIES
from avstore.pipelines.features.weights import Weights

IMPORTED = "imported"
"""The base of an imported feature, and its folder in shards/<dataset>/, as in SQL's is_imported."""

_RECORDED = ("version", "parameters", "weights", "base", "base_fingerprint", "reference")
_ABSENT = object()


@dataclass(frozen=True)
class Lineage:
    """Hold everything that a feature's values depend on, besides the stored members.

    Attributes:
        feature: Name of the feature.
        version: Version of the extractor's code.
        parameters: The extractor's parameters.
        weights: `Weights.facts()`.
        libraries: Installed versions by package.
        base: The recipe's name, `labels`, or `imported`.
        base_fingerprint: The recipe's fingerprint, or the sha256 of the labels.
        reference: Name of the extractor, or `module:name`.
    """

    feature: str
    version: str
    parameters: Mapping[str, Any]
    weights: Mapping[str, Any]
    libraries: Mapping[str, str]
    base: str
    base_fingerprint: str
    reference: str = ""

    @property
    def fingerprint(self) -> str:
        """Return the sha256 of the canonical form; weights count by their hash, not their path."""
        parts = {
            "feature": self.feature,
            "version": self.version,
            "parameters": dict(self.parameters),
            "weights_sha256": self.weights.get("sha256"),
            "libraries": dict(self.libraries),
            "base_fingerprint": self.base_fingerprint,
        }
        return digest(parts)

    @property
    def is_imported(self) -> bool:
        """Whether the values are released ones, not computed from the store's shards."""
        return self.base == IMPORTED

    @property
    def fp8(self) -> str:
        """Return the fingerprint's first eight digits, as in file names."""
        return self.fingerprint[:8]


def lineage_of(
    extractor: Extractor, reference: str, weights: Weights, base: str, base_fingerprint: str
) -> Lineage:
    """Return the lineage of a value computed now, with the installed libraries."""
    return Lineage(
        feature=extractor.name,
        version=extractor.version,
        parameters=parameters_of(extractor),
        weights=weights.facts(),
        libraries=library_versions(extractor),
        base=base,
        base_fingerprint=base_fingerprint,
        reference=reference,
    )


def library_versions(extractor: Extractor) -> dict[str, str]:
    """Return the installed versions of the extractor's libraries and of the decoders it uses."""
    decoders = [name for what in reads_of(extractor) for name in READ_LIBRARIES.get(what, ())]
    return {name: _version(name) for name in sorted({*extractor.libraries, *decoders})}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def record_lineage(con: duckdb.DuckDBPyConnection, store: Store, lineage: Lineage) -> None:
    """Record the lineage in manifest and ledger, before any of its values is computed."""
    key = [lineage.feature, lineage.fingerprint]
    facts = asdict(lineage)
    row = [
        *key,
        json.dumps({name: facts[name] for name in _RECORDED}, sort_keys=True),
        f"{lineage.reference} {lineage.version}",
        json.dumps(facts["libraries"], sort_keys=True),
        lineage.weights.get("sha256"),
    ]
    with transaction(con):
        con.execute("DELETE FROM features WHERE feature = ? AND fingerprint = ?", key)
        con.execute("INSERT INTO features VALUES (?, ?, ?, ?, ?, ?)", row)
    ledger.save_table(con, store, "features")


def forget_unused(con: duckdb.DuckDBPyConnection, store: Store, lineage: Lineage) -> None:
    """Delete the record of a lineage of which no value was computed."""
    key = [lineage.feature, lineage.fingerprint]
    used = "SELECT count(*) FROM feature_samples WHERE feature = ? AND fingerprint = ?"
    if con.execute(used, key).fetchall() == [(0,)]:
        con.execute("DELETE FROM features WHERE feature = ? AND fingerprint = ?", key)
        ledger.save_table(con, store, "features")


def recorded_lineages(con: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], Lineage]:
    """Return the manifest's lineages by feature and fingerprint, of those that were recorded."""
    rows = con.execute(
        "SELECT feature, fingerprint, parameters, library_versions FROM features ORDER BY ALL"
    ).fetchall()
    found = {}
    for feature, fingerprint, parameters, libraries in rows:
        facts = json.loads(parameters or "{}")
        if set(_RECORDED) <= set(facts):
            facts = {name: facts[name] for name in _RECORDED}
            facts["libraries"] = json.loads(libraries)
            found[feature, fingerprint] = Lineage(feature, **facts)
    return found


def lineage_differences(old: Lineage, new: Lineage) -> list[str]:
    """Describe each difference in one line, such as 'torch 2.10.0 -> 2.11.0'."""
    lines = []
    if old.version != new.version:
        lines.append(f"extractor version {old.version} -> {new.version}")
    lines += _changes("", old.libraries, new.libraries)
    lines += _changes("parameter ", old.parameters, new.parameters)
    if old.weights.get("sha256") != new.weights.get("sha256"):
        lines.append(f"weights {_weights(old)} -> {_weights(new)}")
    if old.base_fingerprint != new.base_fingerprint:
        lines.append(
            f"{old.base} {old.base_fingerprint[:8]} -> {new.base} {new.base_fingerprint[:8]}"
        )
    return lines


def _changes(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [
        f"{kind}{name} {old.get(name, 'absent')} -> {new.get(name, 'absent')}"
        for name in sorted({*old, *new})
        if old.get(name, _ABSENT) != new.get(name, _ABSENT)
    ]


def _weights(lineage: Lineage) -> str:
    digest = str(lineage.weights.get("sha256") or "none")[:8]
    return f"{digest} ({lineage.weights.get('origin') or lineage.weights.get('kind')})"
