"""Put a dataset's published annotation files and task streams into the manifest."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb

from avstore.datasets.spec import AnnotationError, Annotations, DatasetSpec
from avstore.manifests import annotation_sets, ledger
from avstore.manifests.annotation_sets import AnnotationSet, annotation_set, clips_table
from avstore.manifests.ingest import refresh_status, transaction
from avstore.manifests.path_text import path_text
from avstore.manifests.store import Store, StoreError
from avstore.manifests.tasks import create_task_view, register_stream
from avstore.pipelines.build.annotation_files import RECORD
from avstore.pipelines.build.task_streams import load_stream, one_task_stream

_LISTS = {".csv", ".tsv", ".txt", ".json", ".h5", ".gz"}  # suffixes of published annotation files


def annotation_files(paths: Sequence[Path]) -> list[Path]:
    """Return the annotation files of paths: a folder gives those in it, sorted by name.

    A folder without any is returned itself.
    """
    return [file for path in paths for file in _files_at(path)]


def _files_at(path: Path) -> list[Path]:
    found = path.iterdir() if path.is_dir() else ()
    return sorted(each for each in found if each.suffix in _LISTS and each.name != RECORD) or [path]


def files_sha256(paths: Sequence[Path]) -> str:
    """Return the sha256 over the files' contents, in the order given.

    Raises:
        AnnotationError: A file cannot be read.
    """
    digest = hashlib.sha256()
    for path in annotation_files(paths):
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            reason = error.strerror or error
            if path.is_dir():
                reason = "it is a folder; name its files, separated by commas"
            raise AnnotationError(f"annotation file {path} cannot be read: {reason}") from error
    return digest.hexdigest()


def read_annotations(spec: DatasetSpec, paths: Sequence[Path]) -> AnnotationSet:
    """Parse annotation files into the manifest's tables; unusable rows are among the errors.

    Raises:
        AnnotationError: A file cannot be read or has no usable row.
    """
    sha256 = files_sha256(paths)
    parsed: Annotations = spec.parse(annotation_files(paths))
    clips = parsed.table
    if clips is None:
        clips = clips_table([{"clip_id": clip.clip_id, **asdict(clip)} for clip in parsed.clips])
    facts: dict[str, Any] = {
        "name": spec.name,
        "version": spec.version,
        "annotation_source": ", ".join(map(path_text, paths)),
        "annotation_sha256": sha256,
        "licence": spec.licence,
    }
    if spec.own_data is not None:
        facts["own_data"] = dict(spec.own_data)
        facts["annotation_source"] = spec.own_data["list"]
    return annotation_set(
        facts,
        clips,
        list(spec.vocabulary()),
        list(parsed.segments),
        list(parsed.bad_rows),
        list(parsed.clip_labels),
    )


def ingest_annotations(
    con: duckdb.DuckDBPyConnection, store: Store, spec: DatasetSpec, paths: Sequence[Path]
) -> None:
    """Parse annotation files and replace the dataset's annotations in ledger and manifest.

    Raises:
        AnnotationError: A file cannot be read or has no usable row.
    """
    annotations = read_annotations(spec, paths)
    annotation_sets.save_annotations(store, annotations)
    with transaction(con):
        annotation_sets.replace_annotations(con, annotations)
        refresh_status(con)


def ensure_annotations(
    con: duckdb.DuckDBPyConnection, store: Store, spec: DatasetSpec, paths: Sequence[Path]
) -> None:
    """Ingest annotation files if any are given, and register the dataset's streams.

    Raises:
        StoreError: No file is given, and the store has no clip of the dataset.
        AnnotationError: A file cannot be used.
    """
    if paths:
        ingest_annotations(con, store, spec, paths)
    elif not con.execute("SELECT 1 FROM clips WHERE dataset = ? LIMIT 1", [spec.name]).fetchall():
        raise StoreError(
            f"the store has no clip of {spec.name}; pass its annotation files (--annotations)"
        )
    register_streams(con, store, spec)


def register_streams(con: duckdb.DuckDBPyConnection, store: Store, spec: DatasetSpec) -> None:
    """Register the dataset's task streams as queries of the manifest."""
    with transaction(con):
        for stream in spec.streams:
            register_stream(con, load_stream(stream))
        if spec.own_data is not None:
            register_stream(con, one_task_stream(spec.name))
        create_task_view(con)
    ledger.save_table(con, store, "tasks")
