"""When fetching will end: the rate of the last hour, what is left, what will never come."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from avstore.manifests.verdicts import POLICIES
from avstore.pipelines.fetch.rate_limit import in_words

_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Outlook:
    """A dataset's fetching. Counts are of clips, and add up to `wanted`.

    left: never tried, or to be tried again. exhausted: tried as often as their failure's policy
    allows. never: (class, clips) that will not come, most first. rate_per_hour: clips settled in
    the hour up to `as_of`, the latest attempt (None: there was none). eta_s: at that rate.
    waits_until: the first instant at which a clip may be tried again, where none may be now.
    """

    dataset: str
    wanted: int
    stored: int
    left: int
    exhausted: int
    never: tuple[tuple[str, int], ...]
    rate_per_hour: float | None
    as_of: datetime | None
    eta_s: float | None
    waits_until: datetime | None


def outlook(con: duckdb.DuckDBPyConnection, dataset: str, now: datetime) -> Outlook:
    """The outlook by the manifest. now: UTC without a zone."""
    rows = con.execute(
        """
        SELECT coalesce(f.outcome, 'pending'), f.error_class, coalesce(f.attempts, 0), f.not_before
        FROM clips c LEFT JOIN last_fetch f USING (clip_id) WHERE c.dataset = ?
        """,
        [dataset],
    ).fetchall()
    stored = exhausted = 0
    never: dict[str, int] = {}
    due: list[datetime | None] = []
    for status, verdict, attempts, not_before in rows:
        if status == "stored":
            stored += 1
        elif status in ("gone", "rejected"):
            never[verdict] = never.get(verdict, 0) + 1
        elif _is_exhausted(verdict, attempts):
            exhausted += 1
        else:
            due.append(not_before)
    rate, as_of = _rate(con, dataset)
    waiting = [at for at in due if at is not None and at > now]
    return Outlook(
        dataset=dataset,
        wanted=len(rows),
        stored=stored,
        left=len(due),
        exhausted=exhausted,
        never=tuple(sorted(never.items(), key=lambda item: (-item[1], item[0]))),
        rate_per_hour=rate,
        as_of=as_of,
        eta_s=len(due) / rate * 3600.0 if rate else None,
        waits_until=min(waiting) if due and len(waiting) == len(due) else None,
    )


def describe(found: Outlook, now: datetime) -> list[str]:
    """The outlook in sentences."""
    lines = [f"{found.stored:,} of {found.wanted:,} clips are fetched, {found.left:,} are left"]
    if found.never:
        reasons = ", ".join(f"{verdict} {count:,}" for verdict, count in found.never)
        total = sum(count for _, count in found.never)
        lines.append(f"{total:,} will never come: {reasons}")
    if found.exhausted:
        lines.append(
            f"{found.exhausted:,} were tried as often as their failure allows; to try them again: "
            f"avstore retry {found.dataset} --where \"status = 'retryable'\""
        )
    if not found.left:
        return [*lines, "nothing is left to fetch"]
    if found.rate_per_hour is None or found.eta_s is None or found.as_of is None:
        lines.append("nothing was fetched yet, so there is no rate to go by")
    else:
        ago = (now - found.as_of).total_seconds()
        when = (
            "in the last hour" if ago < 600 else f"in the hour up to {found.as_of:%Y-%m-%d %H:%M}"
        )
        end = now + timedelta(seconds=found.eta_s)
        lines.append(
            f"{found.rate_per_hour:,.0f} clips an hour {when}; at this rate the rest takes "
            f"{in_words(found.eta_s)}, until {end:%Y-%m-%d %H:%M} UTC"
        )
    if found.waits_until:
        wait = in_words((found.waits_until - now).total_seconds())
        lines.append(f"all that are left wait: the first may be tried again in {wait}")
    return lines


def _is_exhausted(verdict: str | None, attempts: int) -> bool:
    limit = next((p.max_attempts for v, p in POLICIES.items() if v.value == verdict), None)
    return limit is not None and attempts >= limit


def _rate(con: duckdb.DuckDBPyConnection, dataset: str) -> tuple[float | None, datetime | None]:
    """Clips settled an hour, over the hour before the latest attempt; a shorter run counts whole.

    Only attempts that went out count, not files found in place or adopted.
    """
    charged = "a.stage = 'fetch' AND c.dataset = ? AND (a.charged OR a.outcome = 'retryable')"
    row = con.execute(
        f"SELECT max(a.started_at) FROM attempts a JOIN clips c USING (clip_id) WHERE {charged}",
        [dataset],
    ).fetchone()
    latest: datetime | None = row[0] if row else None
    if latest is None:
        return None, None
    first, settled = con.execute(
        f"""
        SELECT min(a.started_at), count(*) FILTER (a.outcome <> 'retryable')
        FROM attempts a JOIN clips c USING (clip_id) WHERE {charged} AND a.started_at > ?
        """,
        [dataset, latest - _HOUR],
    ).fetchone() or (latest, 0)
    span = max((latest - first).total_seconds(), 1.0)
    # An hour with a pause in it is a slow hour; a run of ten minutes is not.
    began_within = con.execute(
        f"SELECT 1 FROM attempts a JOIN clips c USING (clip_id) WHERE {charged} "
        "AND a.started_at <= ? LIMIT 1",
        [dataset, latest - _HOUR],
    ).fetchone()
    seconds = _HOUR.total_seconds() if began_within else span
    return (settled * 3600.0 / seconds or None), latest
