"""The closed list of verdicts and the policy of each."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Status = Literal["stored", "rejected", "gone", "absent", "retryable", "pending"]
STATUSES: tuple[Status, ...] = (
    "stored",
    "rejected",
    "gone",
    "absent",
    "retryable",
    "pending",
)


class Verdict(StrEnum):
    """Reason why a clip is not usable, or why a stored clip is flagged."""

    PRIVATE = "private"
    REMOVED = "removed"
    COPYRIGHT = "copyright"
    AGE_RESTRICTED = "age_restricted"
    GEO_BLOCKED = "geo_blocked"
    MEMBERS_ONLY = "members_only"
    LIVE = "live"
    NOT_FOUND = "not_found"
    NOT_IN_SOURCE = "not_in_source"
    RATE_LIMITED = "rate_limited"
    BOT_CHECK = "bot_check"
    TIMEOUT = "timeout"
    DNS = "dns"
    CONNECTION = "connection"
    HTTP_5XX = "http_5xx"
    DISK_FULL = "disk_full"
    NO_VIDEO = "no_video"
    NO_AUDIO = "no_audio"
    TOO_SHORT = "too_short"
    TRUNCATED = "truncated"
    UNDECODABLE = "undecodable"
    BAD_TIMESTAMPS = "bad_timestamps"
    WRONG_CHANNELS = "wrong_channels"
    WRONG_PROJECTION = "wrong_projection"
    CRASHED_DECODER = "crashed_decoder"
    MACHINE_KILLED = "machine_killed"
    MEDIA_CHANGED = "media_changed"
    SILENT = "silent"
    STILL = "still"
    BLACK = "black"
    UNKNOWN = "unknown"


EXTRACTED_AGAIN = frozenset({Verdict.MACHINE_KILLED, Verdict.MEDIA_CHANGED})
"""Met while extracting, and retryable; `extraction_status` in views.sql has them too."""


@dataclass(frozen=True)
class VerdictPolicy:
    """What a verdict does to a clip.

    Attributes:
        status: Status that the clip gets.
        retry_after_s: Seconds before the next attempt; None: never.
        max_attempts: Limit of attempts charged to the clip; None: no limit.
        pauses_queue: Whether the whole queue waits and the clip is charged no attempt.
    """

    status: Status
    retry_after_s: float | None = None
    max_attempts: int | None = None
    pauses_queue: bool = False


_GONE = VerdictPolicy("gone")
# A folder, archive or list that lacks a clip says nothing of the clip: another may have it.
_ABSENT = VerdictPolicy("absent")
_REJECTED = VerdictPolicy("rejected")
_FLAGGED = VerdictPolicy("stored")

POLICIES: dict[Verdict, VerdictPolicy] = {
    Verdict.PRIVATE: _GONE,
    Verdict.REMOVED: _GONE,
    Verdict.COPYRIGHT: _GONE,
    Verdict.AGE_RESTRICTED: _GONE,
    Verdict.GEO_BLOCKED: _GONE,
    Verdict.MEMBERS_ONLY: _GONE,
    Verdict.LIVE: _GONE,
    Verdict.NOT_FOUND: _GONE,
    Verdict.NOT_IN_SOURCE: _ABSENT,
    Verdict.RATE_LIMITED: VerdictPolicy("retryable", 600.0, None, pauses_queue=True),
    Verdict.BOT_CHECK: VerdictPolicy("retryable", 3600.0, None, pauses_queue=True),
    Verdict.TIMEOUT: VerdictPolicy("retryable", 60.0, 5),
    Verdict.DNS: VerdictPolicy("retryable", 60.0, None, pauses_queue=True),
    Verdict.CONNECTION: VerdictPolicy("retryable", 30.0, 5),
    Verdict.HTTP_5XX: VerdictPolicy("retryable", 60.0, 5),
    Verdict.DISK_FULL: VerdictPolicy("retryable", 0.0, None, pauses_queue=True),
    Verdict.NO_VIDEO: _REJECTED,
    Verdict.NO_AUDIO: _REJECTED,
    Verdict.TOO_SHORT: _REJECTED,
    Verdict.TRUNCATED: _REJECTED,
    Verdict.UNDECODABLE: _REJECTED,
    Verdict.BAD_TIMESTAMPS: _REJECTED,
    Verdict.WRONG_CHANNELS: _REJECTED,
    Verdict.WRONG_PROJECTION: _REJECTED,
    Verdict.CRASHED_DECODER: _REJECTED,
    # Met while extracting: each later build extracts the clip again, without a limit.
    Verdict.MACHINE_KILLED: VerdictPolicy("retryable", 0.0),
    Verdict.MEDIA_CHANGED: VerdictPolicy("retryable", 0.0),
    Verdict.SILENT: _FLAGGED,
    Verdict.STILL: _FLAGGED,
    Verdict.BLACK: _FLAGGED,
    Verdict.UNKNOWN: VerdictPolicy("retryable", 300.0, 3),
}


def attempts_exhausted(verdicts: Iterable[Verdict], attempts: int) -> bool:
    """Return whether a clip was tried as often as it may be.

    It is given up as soon as its charged attempts reach the smallest limit among the verdicts that
    they met, in whichever order and in however many runs.

    Args:
        verdicts: The verdicts of the charged attempts since the last retry.
        attempts: The number of these attempts.
    """
    limits = [POLICIES[verdict].max_attempts for verdict in verdicts]
    return attempts >= min((limit for limit in limits if limit is not None), default=math.inf)
