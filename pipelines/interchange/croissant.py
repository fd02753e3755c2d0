"""Describe a dataset's stored clips in Croissant, the metadata format of MLCommons."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from avstore.datasets.spec import DatasetSpec
from avstore.manifests.library import OpenStore
from avstore.manifests.sealed import write_parquet
from avstore.manifests.store import file_sha256, write_text

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_FIELDS = {
    "clip_id": ("sc:Text", "<dataset>/<key>"),
    "key": ("sc:Text", "the WebDataset __key__"),
    "source_id": ("sc:Text", "YouTube id, or the dataset's own video name"),
    "start_s": ("sc:Float", "seconds in the source video; null: the whole file is the clip"),
    "end_s": ("sc:Float", "seconds in the source video"),
    "split": ("sc:Text", "train, val, test, or the dataset's own name"),
    "labels": ("sc:Text", "label names, separated by |"),
    "category": ("sc:Text", "the category that all labels share, otherwise null"),
    "shard": ("sc:Text", "the tar that holds the clip, relative to the store"),
    "frame_count": ("sc:Integer", "number of stored frames"),
    "fbank_frames": ("sc:Integer", "number of stored filter bank frames"),
    "duration_s": ("sc:Float", "stored length in seconds"),
}
_ROWS = """
SELECT t.clip_id, t.key, t.source_id, t.start_s, t.end_s, t.split,
       array_to_string(t.labels, '|') AS labels, t.category, t.shard, t.frame_count,
       t.fbank_frames, t.duration_s
FROM trainable t WHERE t.dataset = $dataset ORDER BY t.position, t.shard
"""


def write_croissant(store: OpenStore, spec: DatasetSpec, out: Path) -> list[Path]:
    """Write `croissant.json` and `clips.parquet` of a dataset's stored clips.

    Shards are listed with their sha256 and their path relative to the store, so publish both
    files in the root of the store.

    Args:
        store: The store.
        spec: The dataset.
        out: Folder for both files.

    Returns:
        The paths of the written files.
    """
    table: pa.Table = store.query(_ROWS, {"dataset": spec.name}).table
    clips = out / "clips.parquet"
    write_parquet(clips, table)
    metadata = describe(store, spec, file_sha256(clips), clips.stat().st_size)
    text = json.dumps(metadata, indent=1, ensure_ascii=False)
    return [clips, write_text(out / "croissant.json", text)]


def describe(store: OpenStore, spec: DatasetSpec, sha256: str, size: int) -> dict[str, Any]:
    """Return the JSON-LD document.

    Args:
        store: The store.
        spec: The dataset.
        sha256: Checksum of clips.parquet.
        size: Size of clips.parquet in bytes.
    """
    shards = store.query(
        "SELECT path, bytes, sha256 FROM shards WHERE dataset = $dataset AND sha256 IS NOT NULL "
        "ORDER BY path",
        {"dataset": spec.name},
    ).rows()
    table = _file_object(
        "clips.parquet", size, sha256, "application/x-parquet", "One row per stored clip."
    )
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"avstore-{spec.name}",
        "description": f"{spec.title}: frames, 16 kHz audio and log-mel filter banks of its clips, "
        "as WebDataset shards made by avstore.",
        "license": spec.licence,
        "url": spec.homepage,
        "version": "1.0.0",
        "datePublished": datetime.now(UTC).date().isoformat(),
        "distribution": [
            table,
            *(
                _file_object(s["path"], s["bytes"], s["sha256"], "application/x-tar", "A shard.")
                for s in shards
            ),
        ],
        "recordSet": [_record_set()],
    }


def _file_object(
    name: str, size: int, sha256: str, encoding: str, description: str
) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": description,
        "contentUrl": name,
        "contentSize": f"{size} B",
        "encodingFormat": encoding,
        "sha256": sha256,
    }


def _record_set() -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "clips",
        "name": "clips",
        "description": "The stored clips.",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"clips/{name}",
                "name": name,
                "description": description,
                "dataType": kind,
                "source": {
                    "fileObject": {"@id": "clips.parquet"},
                    "extract": {"column": name},
                },
            }
            for name, (kind, description) in _FIELDS.items()
        ],
    }
