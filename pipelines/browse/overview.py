"""The pages about a whole store: summary, classes, failures, streams."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from avstore.manifests.account import Account
from avstore.manifests.task_report import TaskReport, report_stream
from avstore.manifests.verdicts import STATUSES
from avstore.pipelines.browse.facts import Row
from avstore.pipelines.browse.session import Snapshot


@dataclass(frozen=True)
class Part:
    """A part of a bar that sums up: its clips, and its place in percent."""

    status: str
    clips: int
    start: float
    width: float


@dataclass(frozen=True)
class Summary:
    """The closed summary of a dataset at one stage.

    Attributes:
        account: The counts.
        parts: They as parts of a bar.
        hours: Stored hours; None at `fetch`.
        reasons: Clips by status and reason.
    """

    account: Account
    parts: list[Part]
    hours: float | None
    reasons: list[Row]


def summaries(snapshot: Snapshot, dataset: str | None = None) -> list[Summary]:
    """Return the summary of each dataset and stage."""
    key = ("summaries", dataset)
    if key not in snapshot.kept:
        found = [Account(**row) for row in snapshot.query(_ACCOUNTS, {"dataset": dataset}).rows()]
        hours = {
            (row["dataset"], row["stage"]): row["hours"] for row in snapshot.query(_HOURS).rows()
        }
        reasons: dict[tuple[str, str], list[Row]] = {}
        for row in snapshot.query(_REASONS).rows():
            reasons.setdefault((row["dataset"], row["stage"]), []).append(row)
        snapshot.kept[key] = [
            Summary(
                each,
                _parts(vars(each), each.wanted),
                hours.get((each.dataset, each.stage)),
                reasons.get((each.dataset, each.stage), []),
            )
            for each in found
        ]
    kept: list[Summary] = snapshot.kept[key]
    return kept


def _parts(counts: Mapping[str, Any], total: int) -> list[Part]:
    parts, start = [], 0.0
    for status in STATUSES:
        width = 100 * counts[status] / total if total else 0.0
        parts.append(Part(status, counts[status], round(start, 4), round(width, 4)))
        start += width
    return [part for part in parts if part.clips]


# The name of a dataset is the beginning of its clips' ids, so that clips need not be joined, as
# they are by the view account: of two million clips, that takes half a second and 300 MB.
_ACCOUNTS = """
SELECT split_part(clip_id, '/', 1) AS dataset, stage, count(*) AS wanted,
       count(*) FILTER (status = 'stored') AS stored,
       count(*) FILTER (status = 'rejected') AS rejected, count(*) FILTER (status = 'gone') AS gone,
       count(*) FILTER (status = 'absent') AS absent,
       count(*) FILTER (status = 'retryable') AS retryable,
       count(*) FILTER (status = 'pending') AS pending
FROM status WHERE $dataset IS NULL OR starts_with(clip_id, $dataset || '/')
GROUP BY ALL ORDER BY ALL
"""
_REASONS = """
SELECT * FROM (
    SELECT split_part(clip_id, '/', 1) AS dataset, stage, status, verdict AS reason,
           count(*) AS clips
    FROM status WHERE verdict IS NOT NULL GROUP BY ALL
) ORDER BY dataset, stage, reason <> 'unknown', clips DESC, reason
"""
_HOURS = """
SELECT h.dataset, h.recipe || '-' || left(h.fingerprint, 8) AS stage,
       sum(s.duration_s) / 3600 AS hours
FROM samples s JOIN shards h ON h.path = s.shard GROUP BY ALL
"""


def datasets(snapshot: Snapshot) -> list[Row]:
    """Return the datasets of the store."""
    return snapshot.query("SELECT * FROM datasets ORDER BY name").rows()


def failures_by_day(snapshot: Snapshot) -> list[Row]:
    """Return clips by day and reason of the status that they reached, for at most 60 days."""
    return snapshot.query(
        "SELECT * FROM (SELECT updated_at::DATE::VARCHAR AS day, status, "
        "coalesce(verdict, '') AS reason, count(*) AS clips FROM status "
        "WHERE updated_at IS NOT NULL AND status NOT IN ('stored', 'pending') GROUP BY ALL) "
        "QUALIFY dense_rank() OVER (ORDER BY day DESC) <= 60 ORDER BY day DESC, clips DESC"
    ).rows()


def coverage(snapshot: Snapshot) -> list[Row]:
    """Return classes by recipe with wanted and stored clips, the largest loss first."""
    if "coverage" not in snapshot.kept:
        snapshot.kept["coverage"] = snapshot.facts.rows(
            "SELECT f.dataset::VARCHAR AS dataset, f.stage::VARCHAR AS stage, "
            "l.label::VARCHAR AS label, count(*) AS wanted, "
            "count(*) FILTER (f.status = 'stored') AS stored "
            "FROM fact_labels l JOIN facts f ON f.clip = l.clip GROUP BY ALL "
            "ORDER BY stored / wanted, wanted DESC, label"
        )
    kept: list[Row] = snapshot.kept["coverage"]
    return kept


def streams(snapshot: Snapshot) -> list[Row]:
    """Return the registered task streams with their number of tasks."""
    return snapshot.query(
        "SELECT stream, count(DISTINCT position) AS tasks, "
        "list_sort(list(DISTINCT role)) AS roles FROM tasks GROUP BY stream ORDER BY stream"
    ).rows()


def stream_report(snapshot: Snapshot, name: str) -> TaskReport:
    """Return sizes, missing clips and overlaps of a stream. Raise StreamError if there is none."""
    key = ("stream", name)
    if key not in snapshot.kept:
        with snapshot.store.connect() as con:
            snapshot.kept[key] = report_stream(con, name)
    found: TaskReport = snapshot.kept[key]
    return found
