"""Select the clips to request from a source, by their latest fetch in the manifest."""

import json
import posixpath
from dataclasses import replace
from datetime import datetime

import duckdb

from avstore.datasets.spec import Clip, DatasetSpec
from avstore.manifests.ledger import now
from avstore.manifests.path_text import text_path
from avstore.manifests.verdicts import Verdict, attempts_exhausted
from avstore.pipelines.fetch.source import MediaRequest


def select_requests(
    con: duckdb.DuckDBPyConnection,
    spec: DatasetSpec,
    everything: bool,
    tool: str = "",
    limit: int | None = None,
) -> list[MediaRequest]:
    """Return the clips to request from a source, in annotation order.

    Args:
        con: The manifest.
        spec: The dataset.
        everything: Whether to request every clip, also those already stored or absent (a folder is
            searched in each run). Otherwise a clip is requested if it was never tried, may be
            retried now, was absent from the sources so far, or is gone by another kind of source
            than that of `tool`.
        tool: The source's `tool_version`; '' leaves out what other sources do not have.
        limit: Consider only the first `limit` clips of the dataset.
    """
    rows = con.execute(
        """
        SELECT c.clip_id, c.key, c.source_id, c.start_s, c.end_s, c.split, c.labels, c.extra,
               coalesce(f.attempts, 0), f.verdicts, f.outcome, f.not_before,
               f.tool_version, f.started_at
        FROM (SELECT * FROM clips WHERE dataset = $dataset ORDER BY position LIMIT $limit) c
        LEFT JOIN last_fetch f USING (clip_id)
        WHERE $everything OR f.outcome IS NULL OR f.outcome <> 'stored'
        ORDER BY c.position
        """,
        {"dataset": spec.name, "limit": limit, "everything": everything},
    ).fetchall()
    at = now()
    return [_request(spec, row) for row in rows if everything or _is_due(row[8:], at, tool)]


def source_kind(tool: str | None) -> str:
    """Return the kind of source that a `tool_version` names: its first word."""
    return (tool or "").partition(" ")[0]


def verdicts_met(recorded: list[str | None] | None) -> frozenset[Verdict]:
    """Return the column `verdicts` of `last_fetch` as verdicts; an unnamed failure is `unknown`."""
    return frozenset(Verdict(verdict or "unknown") for verdict in recorded or ())


def _is_due(
    state: tuple[
        int, list[str | None] | None, str | None, datetime | None, str | None, datetime | None
    ],
    at: datetime,
    tool: str,
) -> bool:
    attempts, verdicts, outcome, not_before, last_tool, started_at = state
    if outcome in (None, "pending", "absent"):
        return True
    if tool and outcome in ("gone", "rejected") and source_kind(last_tool) != source_kind(tool):
        return True
    if outcome != "retryable" or _must_wait(not_before, started_at, at):
        return False
    return not attempts_exhausted(verdicts_met(verdicts), attempts)


def _must_wait(not_before: datetime | None, started_at: datetime | None, at: datetime) -> bool:
    """Return whether a clip may not be tried yet.

    If the clock is before the clip's last attempt, it was set back, by an hour or by years: how
    long the clip has waited is unknown then, and it may be tried.
    """
    if not_before is None or (started_at is not None and at < started_at):
        return False
    return not_before > at


def _request(spec: DatasetSpec, row: tuple[object, ...]) -> MediaRequest:
    clip_id, key, source_id, start_s, end_s, split, labels, extra, attempts, verdicts = row[:10]
    clip = Clip(
        dataset=spec.name,
        key=str(key),
        source_id=str(source_id),
        start_s=start_s,  # type: ignore[arg-type]
        end_s=end_s,  # type: ignore[arg-type]
        split=str(split),
        labels=tuple(labels or ()),  # type: ignore[arg-type]
        extra=json.loads(str(extra)) if extra else {},
    )
    return replace(
        clip_request(spec, clip),
        clip_id=str(clip_id),
        attempts=int(attempts),  # type: ignore[call-overload]
        verdicts=verdicts_met(verdicts),  # type: ignore[arg-type]
    )


def clip_request(spec: DatasetSpec, clip: Clip) -> MediaRequest:
    """Return the request for a clip that was never tried."""
    file = clip.extra.get("file")
    return MediaRequest(
        clip_id=clip.clip_id,
        key=clip.key,
        source_id=clip.source_id,
        start_s=clip.start_s,
        end_s=clip.end_s,
        names=spec.media_names(clip),
        url=clip.extra.get("url"),
        split=clip.split,
        labels=clip.labels,
        file=None if file is None else posixpath.normpath(text_path(str(file))),
    )
