"""What a feature was made by and of, its fingerprint, and what differs between two of them."""

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
from avstore.pipelines.features.extractor import Extractor, parameters_of
from avstore.pipelines.features.stored_clip import READ_LIBRARIES
from avstore.pipelines.features.weights import Weights


@dataclass(frozen=True)
class Lineage:
    """Everything that decides a feature's numbers, given the stored members.

    base: the recipe's name and fingerprint, or a vocabulary's ('labels', sha256 of its labels).
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
        """sha256 of the canonical form. Of the weights their hash enters, not where they lie."""
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
    def fp8(self) -> str:
        return self.fingerprint[:8]


def lineage_of(
    extractor: Extractor, reference: str, weights: Weights, base: str, base_fingerprint: str
) -> Lineage:
    """The lineage that a value computed here and now would have."""
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
    """Installed versions of what the extractor names and of what decodes what it reads."""
    decoders = [name for what in extractor.reads for name in READ_LIBRARIES.get(what, ())]
    return {name: _version(name) for name in sorted({*extractor.libraries, *decoders})}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def record(con: duckdb.DuckDBPyConnection, store: Store, lineage: Lineage) -> None:
    """Write the lineage down, in manifest and ledger, before any value of it is computed."""
    key = [lineage.feature, lineage.fingerprint]
    facts = asdict(lineage)
    row = [
        *key,
        json.dumps({name: facts[name] for name in _KEPT}, sort_keys=True),
        f"{lineage.reference} {lineage.version}",
        json.dumps(facts["libraries"], sort_keys=True),
        lineage.weights.get("sha256"),
    ]
    with transaction(con):
        con.execute("DELETE FROM features WHERE feature = ? AND fingerprint = ?", key)
        con.execute("INSERT INTO features VALUES (?, ?, ?, ?, ?, ?)", row)
    ledger.save_table(con, store, "features")


def forget_unused(con: duckdb.DuckDBPyConnection, store: Store, lineage: Lineage) -> None:
    """Take the lineage back where not one value of it was computed."""
    key = [lineage.feature, lineage.fingerprint]
    used = "SELECT count(*) FROM feature_samples WHERE feature = ? AND fingerprint = ?"
    if con.execute(used, key).fetchall() == [(0,)]:
        con.execute("DELETE FROM features WHERE feature = ? AND fingerprint = ?", key)
        ledger.save_table(con, store, "features")


_KEPT = ("version", "parameters", "weights", "base", "base_fingerprint", "reference")


def recorded(con: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], Lineage]:
    """The lineages of the manifest, by feature and fingerprint; foreign rows are left out."""
    rows = con.execute(
        "SELECT feature, fingerprint, parameters, library_versions FROM features ORDER BY ALL"
    ).fetchall()
    found = {}
    for feature, fingerprint, parameters, libraries in rows:
        kept = json.loads(parameters or "{}")
        if set(_KEPT) <= set(kept):
            kept = {name: kept[name] for name in _KEPT}
            found[feature, fingerprint] = Lineage(feature, libraries=json.loads(libraries), **kept)
    return found


def differences(old: Lineage, new: Lineage) -> list[str]:
    """What differs, one line a fact, in words: 'torch 2.10.0 -> 2.11.0'."""
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


_ABSENT = object()


def _weights(lineage: Lineage) -> str:
    digest = str(lineage.weights.get("sha256") or "none")[:8]
    return f"{digest} ({lineage.weights.get('origin') or lineage.weights.get('kind')})"
