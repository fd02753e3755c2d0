"""The sidecar of a shard: one Parquet row per planned clip, with everything the manifest needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avstore.manifests.store import committing

_MEDIA = [
    ("path", pa.string()),
    ("bytes", pa.int64()),
    ("sha256", pa.string()),
    ("container", pa.string()),
    ("duration_s", pa.float64()),
    ("video_codec", pa.string()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("fps", pa.float64()),
    ("frames", pa.int32()),
    ("rotation", pa.int32()),
    ("audio_codec", pa.string()),
    ("audio_rate", pa.int32()),
    ("audio_channels", pa.int32()),
    ("av_offset_ms", pa.float64()),
    ("fetched_at", pa.timestamp("us")),
]
_QUALITY = [
    ("silent_fraction", pa.float64()),
    ("still_fraction", pa.float64()),
    ("black_fraction", pa.float64()),
    ("loudness_lufs", pa.float64()),
    ("clipped_fraction", pa.float64()),
    ("decode_errors", pa.int32()),
]
MEDIA_COLUMNS = tuple(name for name, _ in _MEDIA)
QUALITY_COLUMNS = tuple(name for name, _ in _QUALITY)

SCHEMA = pa.schema(
    [
        ("shard", pa.string()),
        ("dataset", pa.string()),
        ("recipe", pa.string()),
        ("fingerprint", pa.string()),
        ("split", pa.string()),
        ("shard_clips", pa.int64()),
        ("shard_bytes", pa.int64()),
        ("shard_sha256", pa.string()),
        ("clip_id", pa.string()),
        ("stored", pa.bool_()),
        ("verdict", pa.string()),
        ("detail", pa.string()),
        ("extracted_at", pa.timestamp("us")),
        ("position", pa.int32()),
        ("members", pa.string()),
        ("offsets", pa.list_(pa.int64())),
        ("sizes", pa.list_(pa.int32())),
        ("frame_count", pa.int32()),
        ("frame_times", pa.list_(pa.float32())),
        ("fbank_frames", pa.int32()),
        ("duration_s", pa.float64()),
        ("crc32", pa.int64()),
        *[(f"media_{name}", kind) for name, kind in _MEDIA],
        *[(f"quality_{name}", kind) for name, kind in _QUALITY],
    ]
)


def write_sidecar(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Commit the rows (keys as in SCHEMA; absent keys are null) as the sidecar at `path`."""
    table = pa.Table.from_pylist(list(rows), schema=SCHEMA)
    with committing(path) as file:
        pq.write_table(table, file, compression="zstd")
