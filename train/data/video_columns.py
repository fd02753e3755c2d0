"""Find the stored videos of a sample list, and keep where their groups are."""

from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa

from avstore.manifests.video_record import StoredVideo
from avstore.train.data.arrow_arrays import array_of
from avstore.train.data.shared_table import SharedTable

SUFFIX = "mp4"
_FIND = """
SELECT r.row, s.video_frames, s.video_rate, s.gop_frames, s.gop_offsets, s.gop_crc32, s.video_codec
FROM list_rows r
JOIN stage_shards h ON h.number = r.shard
JOIN samples s ON s.clip_id = r.clip_id AND s.shard = h.path
WHERE s.gop_offsets IS NOT NULL
ORDER BY r.row
"""


def find_videos(
    con: duckdb.DuckDBPyConnection, table: pa.Table, layouts: Sequence[str]
) -> SharedTable | None:
    """Return the videos of a list's rows; None if no clip has one.

    Args:
        con: A connection with the table `stage_shards`.
        table: The list's rows: clip_id, and shard, the number of its shard in `stage_shards`.
        layouts: The members of its clips.
    """
    if not any(SUFFIX in members.split() for members in layouts):
        return None
    rows = table.select(["clip_id", "shard"]).append_column("row", array_of(np.arange(len(table))))
    con.register("list_rows", rows)
    found = con.sql(_FIND).to_arrow_table()
    con.unregister("list_rows")
    return SharedTable(found) if len(found) else None


def video_at(videos: SharedTable | None, row: int) -> StoredVideo | None:
    """Return the video of a row of the list; None if it has none."""
    if videos is None:
        return None
    rows = videos.values["row"]
    place = int(np.searchsorted(rows, row))
    if place == len(rows) or rows[place] != row:
        return None
    _, frames, rate, every, offsets, crc32, codec = (
        column[place].as_py() for column in videos.table.columns
    )
    return StoredVideo(frames, rate, every, offsets, crc32, codec)
