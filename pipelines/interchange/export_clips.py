"""The clips of a query, with the fields that every exported list needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from avstore.datasets.clips import clip_fields
from avstore.datasets.spec import Clip
from avstore.manifests.library import OpenStore
from avstore.manifests.store import StoreError

_CLIPS = """
SELECT c.*,
       (SELECT list(coalesce(l.mid, l.label_id::VARCHAR) ORDER BY w.place)
        FROM (SELECT unnest(c.label_ids) AS label_id, unnest(range(len(c.label_ids))) AS place) w
        JOIN labels l ON l.dataset = c.dataset AND l.label_id = w.label_id) AS mids
FROM (SELECT unnest($ids) AS clip_id, unnest(range(len($ids))) AS place) q
JOIN clips c USING (clip_id)
ORDER BY q.place
"""


@dataclass(frozen=True, slots=True)
class ExportClip(Clip):
    """A clip of a query.

    Attributes:
        mids: Machine ids of its labels, in their order; the label id as text where the dataset
            has no machine ids.
        row: The query's own columns.
    """

    mids: tuple[str, ...] = ()
    row: Mapping[str, Any] = field(default_factory=dict)

    @property
    def milliseconds(self) -> str:
        """The clip's name in audiosetdl and STELLA, `<id>_<start ms>_<end ms>`.

        The key where the dataset publishes no times.
        """
        if self.start_s is None or self.end_s is None:
            return self.key
        return f"{self.source_id}_{round(self.start_s * 1000)}_{round(self.end_s * 1000)}"

    @property
    def task(self) -> str:
        """The query's column `task` (as in task_clips), otherwise the clip's category."""
        return str(self.row.get("task") or self.category or "")


def export_clips(store: OpenStore, sql: str) -> list[ExportClip]:
    """Return the clips of a query, in its order.

    Args:
        store: The store to query.
        sql: A query with a column clip_id; further columns are kept in `ExportClip.row`.

    Raises:
        StoreError: The query fails, has no column clip_id, lists a clip twice or returns no clip.
    """
    result = store.query(sql)
    if "clip_id" not in result.table.column_names:
        raise StoreError(
            f"the query has no column clip_id, only {', '.join(result.table.column_names)}"
        )
    rows = {row["clip_id"]: row for row in result.rows()}
    if len(rows) < result.table.num_rows:
        raise StoreError(
            "the query returns a clip twice; use SELECT DISTINCT, or one role of one stream"
        )
    if not rows:
        raise StoreError("the query returns no clip: nothing to export")
    return [
        ExportClip(**clip_fields(clip), mids=tuple(clip["mids"] or ()), row=rows[clip["clip_id"]])
        for clip in store.query(_CLIPS, {"ids": list(rows)}).rows()
    ]
