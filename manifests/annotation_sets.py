"""Annotations in the manifest, and their copy in the ledger for a rebuild."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avstore.manifests.columns import arrow_table, table_schema
from avstore.manifests.names import check_name, check_rows, is_name
from avstore.manifests.path_text import valid_value
from avstore.manifests.sealed import (
    CheckedFiles,
    DamagedFileError,
    check_files,
    json_bytes,
    read_json,
    write_parquet,
)
from avstore.manifests.store import Store, StoreError, committing

_NAMES = {"dataset": "dataset", "key": "key", "split": "split", "clip_id": "clip_id"}
_ALWAYS = ("clips", "labels", "segments", "annotation_errors")
_TABLES = (*_ALWAYS, "clip_labels")
_OF_CLIPS = ("segments", "clip_labels")


@dataclass(frozen=True)
class AnnotationSet:
    """A dataset's annotations as Arrow tables, for manifest and ledger.

    Attributes:
        facts: The row of `datasets`, with `ingested_at` as ISO text.
        clips: Rows of `clips`.
        labels: Rows of `labels`.
        segments: Rows of `segments`.
        annotation_errors: Rows of `annotation_errors`.
        clip_labels: Rows of `clip_labels`; the ledger has their file if there are any.
    """

    facts: dict[str, Any]
    clips: pa.Table
    labels: pa.Table
    segments: pa.Table
    annotation_errors: pa.Table
    clip_labels: pa.Table = field(default_factory=lambda: table_schema("clip_labels").empty_table())

    def __post_init__(self) -> None:
        """Check the names that become paths; StoreError if one is invalid."""
        where = f"annotations of {self.facts['name']!r}"
        check_name("dataset", self.facts["name"], where)
        check_rows(self.clips, _NAMES, where)
        clips = self.clips
        ids = pc.binary_join_element_wise(clips["dataset"], clips["key"], "/")
        own = pc.equal(clips["dataset"], self.facts["name"])
        if not pc.all(pc.and_(pc.equal(ids, clips["clip_id"]), own), min_count=0).as_py():
            raise StoreError(f"{where}: a clip's id is not its dataset and key")


def _facts_path(store: Store, dataset: str) -> Path:
    return store.ledger / "annotations" / dataset / "facts.json"


def _tables(facts: dict[str, Any]) -> tuple[str, ...]:
    """Return the tables that the ledger has of a dataset's annotations."""
    return _TABLES if facts.get("label_sets") else _ALWAYS


def _folder(facts_path: Path, facts: dict[str, Any]) -> Path:
    return facts_path.parent / str(facts["annotation_sha256"])[:8]


def clips_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows of `clips` as an Arrow table, with `position` set to the row order.

    Args:
        rows: Rows with the columns of `clips`; `extra` is a mapping. They are changed in place.
    """
    for position, row in enumerate(rows):
        row["extra"] = json.dumps(valid_value(dict(row["extra"])), sort_keys=True)
        row["position"] = position
    return arrow_table(rows, table_schema("clips"))


def annotation_set(
    facts: dict[str, Any],
    clips: pa.Table,
    labels: list[Any],
    segments: list[Any],
    errors: list[Any],
    clip_labels: Sequence[Any] = (),
) -> AnnotationSet:
    """Bundle the output of a dataset's parser.

    Args:
        facts: The row of `datasets`, without `clips` and `ingested_at`.
        clips: Table of `clips_table`.
        labels: `Label` dataclasses of avstore.datasets.spec.
        segments: `Segment` dataclasses.
        errors: `BadRow` dataclasses.
        clip_labels: `ClipLabel` dataclasses.
    """
    name = facts["name"]
    if clip_labels:
        facts = {**facts, "label_sets": sorted({each.label_set for each in clip_labels})}
    stamp = datetime.now(UTC).replace(tzinfo=None).isoformat()
    return AnnotationSet(
        facts={**facts, "clips": clips.num_rows, "ingested_at": stamp},
        clips=clips.select(table_schema("clips").names).cast(table_schema("clips")),
        labels=_table("labels", [{"dataset": name, **asdict(x)} for x in labels]),
        segments=_table("segments", [asdict(x) for x in segments]),
        annotation_errors=_table(
            "annotation_errors", [{"dataset": name, **asdict(x)} for x in errors]
        ),
        clip_labels=_table(
            "clip_labels",
            [asdict(x) | {"extra": json.dumps(dict(x.extra), sort_keys=True)} for x in clip_labels],
        ),
    )


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return arrow_table(rows, table_schema(name))


def save_annotations(store: Store, annotations: AnnotationSet) -> None:
    """Save annotations in the ledger; `facts.json`, written last, names the current ones."""
    facts_path = _facts_path(store, annotations.facts["name"])
    names = _tables(annotations.facts)
    paths = [_folder(facts_path, annotations.facts) / f"{name}.parquet" for name in names]
    for name, path in zip(names, paths, strict=True):
        write_parquet(path, getattr(annotations, name))
    with committing(facts_path) as file:
        file.write(json_bytes(annotations.facts, indent=1))


def annotation_files(store: Store) -> Iterator[Path]:
    """Yield the files of the current annotations of all datasets, missing ones included."""
    for facts_path in sorted(store.ledger.glob("annotations/*/facts.json")):
        yield facts_path
        with suppress(DamagedFileError, StoreError):
            facts = read_facts(facts_path)
            folder = _folder(facts_path, facts)
            yield from (folder / f"{name}.parquet" for name in _tables(facts))


def load_annotations(store: Store, checked: CheckedFiles) -> Iterator[AnnotationSet]:
    """Yield the annotations of all datasets in the ledger whose files are sound."""
    for facts_path in sorted(store.ledger.glob("annotations/*/facts.json")):
        if (annotations := _load(facts_path, checked)) is not None:
            yield annotations


def load_annotation_set(store: Store, dataset: str) -> AnnotationSet | None:
    """Return the sound annotations of one dataset in the ledger, or None."""
    path = _facts_path(store, dataset)
    if not path.is_file():
        return None
    return _load(
        path, check_files(each for each in annotation_files(store) if path.parent in each.parents)
    )


def _load(facts_path: Path, checked: CheckedFiles) -> AnnotationSet | None:
    """Return the annotations that a `facts.json` names; None if one of the files is damaged."""
    if not checked.sound([facts_path]):
        return None
    facts = read_facts(facts_path)
    paths = {name: _folder(facts_path, facts) / f"{name}.parquet" for name in _tables(facts)}
    if len(checked.sound(paths.values())) < len(paths):
        return None
    tables = {name: pq.read_table(path) for name, path in paths.items()}
    return AnnotationSet(facts=facts, **tables)


def published_annotations(con: duckdb.DuckDBPyConnection, dataset: str) -> AnnotationSet:
    """Return a dataset's annotations from the manifest."""
    columns = ("name", "version", "annotation_source", "annotation_sha256", "licence", "clips")
    query = f"SELECT {', '.join(columns)}, ingested_at FROM datasets WHERE name = ?"
    ((*values, stamp),) = con.execute(query, [dataset]).fetchall()
    clips = "clip_id IN (SELECT clip_id FROM clips WHERE dataset = $name)"
    tables = {
        name: con.sql(
            f"SELECT * FROM {name} WHERE {clips if name in _OF_CLIPS else 'dataset = $name'}",
            params={"name": dataset},
        ).to_arrow_table()
        for name in _TABLES
    }
    facts = {**dict(zip(columns, values, strict=True)), "ingested_at": stamp.isoformat()}
    if tables["clip_labels"].num_rows:
        facts["label_sets"] = sorted(set(tables["clip_labels"]["label_set"].to_pylist()))
    return AnnotationSet(facts=facts, **tables)


def read_facts(path: Path) -> dict[str, Any]:
    """Return the facts of the annotations in the ledger.

    Raises:
        StoreError: They are damaged, are no such facts, or name another folder.
    """
    advice = f"remove the folder {path.parent} and run the build with the annotation files again"
    try:
        facts = read_json(path)
        datetime.fromisoformat(facts["ingested_at"])
        missing = {"version", "annotation_source", "licence", "clips"} - facts.keys()
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StoreError(f"{path} is not a record of annotations ({error}); {advice}") from error
    sha256 = facts.get("annotation_sha256")
    if missing or facts.get("name") != path.parent.name or not is_name("sha256", sha256):
        raise StoreError(f"{path} does not belong to the annotations beside it; {advice}")
    return dict(facts)


def replace_annotations(con: duckdb.DuckDBPyConnection, annotations: AnnotationSet) -> None:
    """Replace a dataset's annotations in the manifest. Run it inside a transaction."""
    facts = annotations.facts
    name = facts["name"]
    con.execute("DELETE FROM datasets WHERE name = ?", [name])
    con.execute(
        "INSERT INTO datasets VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            name,
            facts["version"],
            facts["annotation_source"],
            facts["annotation_sha256"],
            facts["licence"],
            facts["clips"],
            datetime.fromisoformat(facts["ingested_at"]),
        ],
    )
    for table in _OF_CLIPS:
        con.execute(
            f"DELETE FROM {table} WHERE clip_id IN (SELECT clip_id FROM clips WHERE dataset = ?)",
            [name],
        )
    for table in ("clips", "labels", "annotation_errors"):
        con.execute(f"DELETE FROM {table} WHERE dataset = ?", [name])
    for table in _TABLES:
        con.register("incoming_annotations", getattr(annotations, table))
        con.execute(f"INSERT INTO {table} SELECT * FROM incoming_annotations")
        con.unregister("incoming_annotations")
    con.execute("DELETE FROM status WHERE clip_id NOT IN (SELECT clip_id FROM clips)")
