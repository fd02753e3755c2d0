"""The clips of a query with what every foreign format wants to know of them."""

from dataclasses import dataclass
from typing import Any

from avstore.manifests.library import OpenStore
from avstore.manifests.store import StoreError

_FACTS = """
SELECT c.clip_id, c.dataset, c.key, c.source_id, c.start_s, c.end_s, c.split, c.labels,
       c.label_ids, c.category, c.captions, c.extra,
       (SELECT list(coalesce(l.mid, l.label_id::VARCHAR) ORDER BY w.place)
        FROM (SELECT unnest(c.label_ids) AS label_id, unnest(range(len(c.label_ids))) AS place) w
        JOIN labels l ON l.dataset = c.dataset AND l.label_id = w.label_id) AS mids
FROM (SELECT unnest($ids) AS clip_id, unnest(range(len($ids))) AS place) q
JOIN clips c USING (clip_id)
ORDER BY q.place
"""


@dataclass(frozen=True, slots=True)
class ExportClip:
    """A clip of a query. mids: machine ids of its labels, in their order (the label id, as text,
    where the dataset has none). row: the query's own columns."""

    clip_id: str
    dataset: str
    key: str
    source_id: str
    start_s: float | None
    end_s: float | None
    split: str
    labels: tuple[str, ...]
    label_ids: tuple[int, ...]
    mids: tuple[str, ...]
    category: str | None
    captions: tuple[str, ...]
    extra: str
    row: dict[str, Any]

    @property
    def milliseconds(self) -> str:
        """`<id>_<start ms>_<end ms>`, as audiosetdl and STELLA name a clip; the key where the
        dataset publishes no times."""
        if self.start_s is None or self.end_s is None:
            return self.key
        return f"{self.source_id}_{round(self.start_s * 1000)}_{round(self.end_s * 1000)}"

    @property
    def task(self) -> str:
        """The query's column `task` (as in task_clips), else the clip's category."""
        return str(self.row.get("task") or self.category or "")


def export_clips(store: OpenStore, sql: str) -> list[ExportClip]:
    """The clips of `sql` (a column clip_id), in its order.

    Raises StoreError where the query fails, has no clip_id, names a clip twice or gives none.
    """
    answer = store.query(sql)
    if "clip_id" not in answer.table.column_names:
        raise StoreError(
            f"the query has no column clip_id, only {', '.join(answer.table.column_names)}"
        )
    rows = {row["clip_id"]: row for row in answer.rows()}
    if len(rows) < answer.table.num_rows:
        raise StoreError("the query names a clip twice: SELECT DISTINCT, or one role of one stream")
    if not rows:
        raise StoreError("the query gives no clip: nothing to export")
    found = store.query(_FACTS, {"ids": list(rows)}).rows()
    return [
        ExportClip(
            **{name: fact[name] for name in ("clip_id", "dataset", "key", "source_id", "split")},
            **{name: fact[name] for name in ("start_s", "end_s", "category")},
            labels=tuple(fact["labels"] or ()),
            label_ids=tuple(fact["label_ids"] or ()),
            mids=tuple(fact["mids"] or ()),
            captions=tuple(fact["captions"] or ()),
            extra=fact["extra"] or "{}",
            row=rows[fact["clip_id"]],
        )
        for fact in found
    ]
