"""Make a larger store of a small one: its clips repeated, with their members under new names."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from avstore.datasets.spec import Label
from avstore.manifests import annotation_sets as annotations
from avstore.manifests.catalogue import open_write
from avstore.manifests.ingest import commit_shards, transaction
from avstore.manifests.lock import writing
from avstore.manifests.sidecar import SCHEMA, write_sidecar
from avstore.manifests.store import Store, committing, sidecar_of
from avstore.pipelines.build.shard_tar import ShardTar

DATASET = "repeated"
RECIPE = "repeated-00000000"
SHARD_CLIPS = 50


def repeat(source: Path, target: Path, clips: int) -> Store:
    """Make a store of `clips` clips at `target` from a built store, unless it exists."""
    store = Store(target)
    if store.manifest.is_file():
        return store
    members = _members(Store(source))
    target.mkdir(parents=True, exist_ok=True)
    with writing(store), open_write(store) as writer:
        keys = [f"c{number:06d}" for number in np.random.default_rng(0).permutation(clips)]
        _annotate(writer, store, keys)
        for number, start in enumerate(range(0, clips, SHARD_CLIPS)):
            part = keys[start : start + SHARD_CLIPS]
            sidecar = _shard(store, number, part, members, start)
            commit_shards(writer.con, [sidecar])
        writer.publish()
    return store


def _members(store: Store) -> list[tuple[dict[str, Any], list[tuple[str, bytes]]]]:
    """Return every stored clip's sidecar row and its members."""
    found = []
    for sidecar in store.sidecars():
        for row in pq.read_table(sidecar).to_pylist():
            if row["stored"]:
                content = (store.root / row["shard"]).read_bytes()
                spans = zip(row["offsets"], row["sizes"], strict=True)
                names = row["members"].split(" ")
                parts = [content[at : at + size] for at, size in spans]
                found.append((row, list(zip(names, parts, strict=True))))
    return found


def _annotate(writer: Any, store: Store, keys: list[str]) -> None:
    rows = [
        {
            "clip_id": f"{DATASET}/{key}",
            "dataset": DATASET,
            "key": key,
            "source_id": key,
            "start_s": 0.0,
            "end_s": 10.0,
            "split": "train",
            "subsets": [],
            "labels": [f"class {number % 100}"],
            "label_ids": [number % 100],
            "category": None,
            "captions": [],
            "extra": {},
        }
        for number, key in enumerate(keys)
    ]
    facts = {
        "name": DATASET,
        "version": "1",
        "annotation_source": "made up",
        "annotation_sha256": "0" * 64,
        "licence": "none",
    }
    labels = [Label(number, f"class {number}") for number in range(100)]
    found = annotations.annotation_set(facts, annotations.clips_table(rows), labels, [], [])
    annotations.save_annotations(store, found)
    with transaction(writer.con):
        annotations.replace_annotations(writer.con, found)


def _shard(store: Store, number: int, keys: list[str], members: list[Any], start: int) -> Path:
    path = store.shard(DATASET, RECIPE, "train", number)
    rows = []
    with committing(store.root / path) as file:
        tar = ShardTar(file)
        for position, key in enumerate(keys):
            row, parts = members[(start + position) % len(members)]
            offsets = [tar.add(f"{key}.{suffix}", content) for suffix, content in parts]
            about = {name: row[name] for name in SCHEMA.names if name in row}
            rows.append(
                about
                | {
                    "shard": path,
                    "dataset": DATASET,
                    "recipe": "repeated",
                    "fingerprint": "0" * 64,
                    "split": "train",
                    "clip_id": f"{DATASET}/{key}",
                    "position": position,
                    "offsets": offsets,
                }
            )
        tar.close()
    facts = {"shard_clips": len(rows), "shard_bytes": tar.bytes, "shard_sha256": tar.sha256}
    sidecar = store.root / sidecar_of(path)
    write_sidecar(sidecar, [row | facts for row in rows])
    return sidecar
