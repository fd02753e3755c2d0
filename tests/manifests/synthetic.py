"""Write synthetic stores: real tar shards with random members, without media."""

import io
import itertools
import json
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from avstore.datasets.spec import BadRow, Label, Segment
from avstore.manifests import annotation_sets as annotations
from avstore.manifests import ledger
from avstore.manifests.catalogue import Writer
from avstore.manifests.ingest import commit_shards, ingest_features, refresh_status, transaction
from avstore.manifests.sealed import check_files, tar_facts, write_parquet
from avstore.manifests.sidecar import write_sidecar
from avstore.manifests.status import note_attempts
from avstore.manifests.store import Store, committing, sidecar_of
from avstore.pipelines.build import planner as plan
from avstore.pipelines.build.shard_tar import ShardTar

FINGERPRINT = "12345678" + "ab" * 28
STAGE = "toy-12345678"
_NUMBERS = itertools.count(1)


def clip_rows(count: int, dataset: str = "toy", late: int = 0) -> list[dict]:
    """Return `count` rows of clips of two classes, every fourth in the test split."""
    return [
        {
            "clip_id": f"{dataset}/k{i:05d}",
            "dataset": dataset,
            "key": f"k{i:05d}",
            "source_id": f"k{i:05d}",
            "start_s": 0.0,
            "end_s": 10.0,
            "split": "test" if i % 4 == 3 else "train",
            "subsets": [],
            "labels": [f"class {i % 2}"],
            "label_ids": [i % 2],
            "category": None,
            "captions": [],
            "extra": {"n": i},
        }
        for i in range(late, count)
    ]


def annotate(writer: Writer, store: Store, rows: list[dict], dataset: str = "toy") -> None:
    """Ingest annotations and begin the stage."""
    found = annotations.annotation_set(
        {
            "name": dataset,
            "version": "1",
            "annotation_source": "synthetic",
            "annotation_sha256": f"{len(rows):064d}",
            "licence": "none",
        },
        annotations.clips_table(rows),
        [Label(0, "class 0"), Label(1, "class 1")],
        [Segment(rows[0]["clip_id"], "both", "class 0", 0, 0.0, 1.0)],
        [BadRow("synthetic", 7, "wrong column count", "x")],
    )
    con = writer.con
    annotations.save_annotations(store, found)
    with transaction(con):
        annotations.replace_annotations(con, found)
        if not con.execute("SELECT 1 FROM stages WHERE dataset = ?", [dataset]).fetchone():
            con.execute("INSERT INTO stages VALUES (?, ?, 'toy', ?)", [STAGE, dataset, FINGERPRINT])
        refresh_status(con)
    ledger.save_table(con, store, "stages")


def fetch(writer: Writer, store: Store, run_id: str, outcomes: dict[str, str | None]) -> None:
    """Record an attempt per clip: None means stored, a verdict means gone."""
    columns = writer.con.sql("SELECT * FROM attempts LIMIT 0").to_arrow_table().schema
    at = ledger.now()
    rows = [
        {
            "clip_id": clip_id,
            "stage": "fetch",
            "started_at": at,
            "seconds": 0.1,
            "outcome": "gone" if verdict else "stored",
            "error_class": verdict,
            "tool_version": "test",
            "run_id": run_id,
            "seq": next(_NUMBERS),
            "path": None if verdict else f"raw/{clip_id}.mp4",
            "offset_s": 0.0,
            "charged": True,
        }
        for clip_id, verdict in outcomes.items()
    ]
    table = pa.Table.from_pylist(rows, schema=columns)
    path = store.ledger / f"attempts-{run_id}.parquet"
    write_parquet(path, table)
    with transaction(writer.con):
        writer.con.register("new_attempts", table)
        writer.con.execute("INSERT INTO attempts BY NAME SELECT * FROM new_attempts")
        writer.con.unregister("new_attempts")
        note_attempts(writer.con, table)
        ledger.note_files(writer.con, check_files([path]))


def plan_shards(
    writer: Writer, store: Store, run_id: str, size: int, stage: str = STAGE
) -> list[plan.PlannedShard]:
    """Plan all fetched clips; return the shards that are not built."""
    con = writer.con
    new = plan.plan_new(con, "toy", stage, size)
    if new.num_rows:
        plan.record_plan(con, store, run_id, new)
        ledger.note_files(con, check_files(store.ledger.glob(f"plans-{run_id}*.parquet")))
    return plan.outstanding(con, "toy", stage)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def members_of(clip_id: str) -> list[tuple[str, bytes]]:
    """Return the contents of a clip's members, a function of its id."""
    number = int(clip_id.rsplit("k", 1)[1])
    fbank = np.full((4, 3), number, np.float16)
    frames = [(f"f{i:03d}.jpg", b"\xff\xd8" + f"{clip_id} {i}".encode() * 9) for i in range(2)]
    return [
        ("json", json.dumps({"clip_id": clip_id}).encode()),
        ("fbank.npy", npy(fbank)),
        ("flac", b"fLaC" + clip_id.encode() * 30),
        *frames,
    ]


def write_shard(
    store: Store,
    shard: plan.PlannedShard,
    rejected: frozenset[str],
    fingerprint: str = FINGERPRINT,
    finish: bool = True,
) -> Path:
    """Commit a shard and its sidecar, whose path is returned; clips in `rejected` are silent.

    finish: False is a build that was killed after the tar and before its sidecar.
    """
    rows, position, seq = [], 0, next(_NUMBERS)
    keep = set(shard.clip_ids) - rejected
    with committing(store.root / shard.path, keep=lambda: bool(keep)) as file:
        tar = ShardTar(file)
        for clip_id in shard.clip_ids:
            row = {
                "shard": shard.path,
                "dataset": "toy",
                "recipe": "toy",
                "fingerprint": fingerprint,
                "split": shard.split,
                "clip_id": clip_id,
                "stored": clip_id in keep,
                "verdict": None if clip_id in keep else "silent",
                "extracted_at": ledger.now(),
                "quality_seq": seq,
                "media_path": f"raw/{clip_id}.mp4",
                "quality_silent_fraction": 0.0 if clip_id in keep else 1.0,
            }
            if clip_id in keep:
                key = clip_id.split("/")[1]
                members = members_of(clip_id)
                offsets = [tar.add(f"{key}.{suffix}", content) for suffix, content in members]
                row |= {
                    "position": position,
                    "members": " ".join(suffix for suffix, _ in members),
                    "offsets": offsets,
                    "sizes": [len(content) for _, content in members],
                    "crc32": zlib.crc32(b"".join(content for _, content in members)),
                    "frame_count": 2,
                    "frame_times": [0.0, 0.5],
                }
                position += 1
            rows.append(row)
        tar.close()
    if keep:
        facts = {"shard_clips": len(keep), "shard_bytes": tar.bytes, "shard_sha256": tar.sha256}
        rows = [row | facts for row in rows]
    sidecar = store.root / sidecar_of(shard.path)
    if finish:
        write_sidecar(sidecar, rows)
    return sidecar


def build(
    writer: Writer,
    store: Store,
    run_id: str,
    size: int = 4,
    rejected: frozenset[str] = frozenset(),
) -> None:
    """Plan and commit all fetched clips."""
    for shard in plan_shards(writer, store, run_id, size):
        commit_shards(writer.con, [write_shard(store, shard, rejected)])


def add_feature(writer: Writer, store: Store, feature: str, fingerprint: str) -> list[Path]:
    """Write companions of a derived feature where they are missing; return their sidecars."""
    con = writer.con
    shards = con.execute(
        "SELECT path, list(clip_id ORDER BY position) FROM shards h JOIN samples s "
        "ON s.shard = h.path WHERE path NOT IN (SELECT regexp_replace(shard, '\\.[^/]*$', '.tar') "
        "FROM feature_samples WHERE fingerprint = ?) GROUP BY path ORDER BY path",
        [fingerprint],
    ).fetchall()
    sidecars = []
    for base, clip_ids in shards:
        name = base.removesuffix(".tar") + f".{feature}-{fingerprint[:8]}"
        rows = []
        with committing(store.root / f"{name}.tar") as file:
            tar = ShardTar(file)
            for position, clip_id in enumerate(clip_ids):
                value = np.arange(5, dtype=np.float32) + int(clip_id.rsplit("k", 1)[1])
                content = npy(value)
                row = {
                    "shard": f"{name}.tar",
                    "feature": feature,
                    "fingerprint": fingerprint,
                    "clip_id": clip_id,
                    "position": position,
                    "offset": tar.add(f"{clip_id.split('/')[1]}.{feature}.npy", content),
                    "size": len(content),
                    "shape": "5",
                    "dtype": "float32",
                    "source_sha256": "00",
                    "crc32": zlib.crc32(content),
                }
                rows.append(row)
            tar.close()
        sidecar = store.root / f"{name}.parquet"
        write_parquet(sidecar, pa.Table.from_pylist(rows), tar_facts(tar.bytes, tar.sha256))
        sidecars.append(sidecar)
    with transaction(con):
        ingest_features(con, sidecars)
        con.execute("DELETE FROM features WHERE fingerprint = ?", [fingerprint])
        con.execute(
            "INSERT INTO features BY NAME SELECT ? AS feature, ? AS fingerprint",
            [feature, fingerprint],
        )
    ledger.save_table(con, store, "features")
    ledger.save_table(con, store, "dropped")
    return sidecars
