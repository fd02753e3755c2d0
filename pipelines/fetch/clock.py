"""Time as the ledger writes it, and what an attempt is worth once it is over."""

from datetime import UTC, datetime, timedelta


def utc_now() -> datetime:
    """UTC without a zone, microseconds, as every timestamp of the manifest."""
    return datetime.now(UTC).replace(tzinfo=None)


def after(seconds: float, start: datetime | None = None) -> datetime:
    """The instant `seconds` after `start` (default: now)."""
    return (start or utc_now()) + timedelta(seconds=seconds)
