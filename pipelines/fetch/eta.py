"""Forecast when fetching will end, from the rate of the last hour and the clips left."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from avstore.manifests.verdicts import attempts_exhausted
from avstore.pipelines.fetch.rate_limit import format_duration
from avstore.pipelines.fetch.requests import verdicts_met

_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class FetchForecast:
    """The state of a dataset's fetching. Counts are of clips and add up to `published`.

    Attributes:
        dataset: The dataset's name.
        published: Clips in the dataset.
        stored: Clips that are fetched.
        left: Clips that were never tried or will be retried.
        exhausted: Clips that were tried as often as their failure's policy allows.
        unavailable: (verdict, clips) of clips that will not be retried, most frequent first.
        rate_per_hour: Clips settled in the hour before `as_of`, or None.
        as_of: The latest attempt, UTC, or None.
        eta_s: Seconds until nothing is left at this rate, or None.
        waits_until: When the first clip may be retried, if none may be now, or None.
    """

    dataset: str
    published: int
    stored: int
    left: int
    exhausted: int
    unavailable: tuple[tuple[str, int], ...]
    rate_per_hour: float | None
    as_of: datetime | None
    eta_s: float | None
    waits_until: datetime | None


def forecast(con: duckdb.DuckDBPyConnection, dataset: str, now: datetime) -> FetchForecast:
    """Return the forecast for a dataset.

    Args:
        con: The manifest.
        dataset: The dataset's name.
        now: UTC without a time zone.
    """
    rows = con.execute(
        """
        SELECT coalesce(f.outcome, 'pending'), f.error_class, f.verdicts,
               coalesce(f.attempts, 0), f.not_before
        FROM clips c LEFT JOIN last_fetch f USING (clip_id) WHERE c.dataset = ?
        """,
        [dataset],
    ).fetchall()
    stored = exhausted = 0
    unavailable: dict[str, int] = {}
    due: list[datetime | None] = []
    for status, verdict, verdicts, attempts, not_before in rows:
        if status == "stored":
            stored += 1
        elif status in ("gone", "rejected"):
            unavailable[verdict] = unavailable.get(verdict, 0) + 1
        elif status == "retryable" and attempts_exhausted(verdicts_met(verdicts), attempts):
            exhausted += 1
        else:
            due.append(not_before)
    rate, as_of = _rate(con, dataset)
    waiting = [at for at in due if at is not None and at > now]
    return FetchForecast(
        dataset=dataset,
        published=len(rows),
        stored=stored,
        left=len(due),
        exhausted=exhausted,
        unavailable=tuple(sorted(unavailable.items(), key=lambda item: (-item[1], item[0]))),
        rate_per_hour=rate,
        as_of=as_of,
        eta_s=len(due) / rate * 3600.0 if rate else None,
        waits_until=min(waiting) if due and len(waiting) == len(due) else None,
    )


def describe_forecast(found: FetchForecast, now: datetime) -> list[str]:
    """Return the forecast as lines of text; `now` as for `forecast`."""
    lines = [f"{found.stored:,} of {found.published:,} clips are fetched, {found.left:,} are left"]
    if found.unavailable:
        reasons = ", ".join(f"{verdict} {count:,}" for verdict, count in found.unavailable)
        total = sum(count for _, count in found.unavailable)
        lines.append(f"{total:,} are unavailable: {reasons}")
    if found.exhausted:
        lines.append(
            f"{found.exhausted:,} have reached their limit of attempts; to try them again: "
            f"avstore retry {found.dataset} --where \"status = 'retryable'\""
        )
    if not found.left:
        return [*lines, "nothing is left to fetch"]
    lines.append(_describe_rate(found, now))
    if found.waits_until:
        wait = format_duration((found.waits_until - now).total_seconds())
        lines.append(f"all clips left are waiting; the first may be retried in {wait}")
    return lines


def _describe_rate(found: FetchForecast, now: datetime) -> str:
    if found.rate_per_hour is None or found.eta_s is None or found.as_of is None:
        return "nothing was fetched yet, so the remaining time is unknown"
    recent = (now - found.as_of).total_seconds() < 600
    when = "in the last hour" if recent else f"in the hour up to {found.as_of:%Y-%m-%d %H:%M} UTC"
    end = now + timedelta(seconds=found.eta_s)
    return (
        f"{found.rate_per_hour:,.0f} clips per hour {when}; at this rate the rest takes "
        f"{format_duration(found.eta_s)}, until {end:%Y-%m-%d %H:%M} UTC"
    )


def _rate(con: duckdb.DuckDBPyConnection, dataset: str) -> tuple[float | None, datetime | None]:
    """Return the clips settled per hour and the time of the latest attempt.

    The rate is that of the hour before the latest attempt, or of the whole run if it is shorter.
    Only real attempts count, not files that were found in place.
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
    # A pause within the hour lowers the rate; the time before the first attempt does not.
    began_within = con.execute(
        f"SELECT 1 FROM attempts a JOIN clips c USING (clip_id) WHERE {charged} "
        "AND a.started_at <= ? LIMIT 1",
        [dataset, latest - _HOUR],
    ).fetchone()
    seconds = _HOUR.total_seconds() if began_within else span
    return (settled * 3600.0 / seconds or None), latest
