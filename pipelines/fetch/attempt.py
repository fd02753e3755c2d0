"""One attempt at one clip: what it gives, how it fails, and the row that comes of it."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from manifests.verdicts import POLICIES, Verdict
from pipelines.fetch.base import Fetched, Wanted
from pipelines.fetch.clock import after, utc_now
from pipelines.fetch.taxonomy import of_os_error


@dataclass(frozen=True, slots=True)
class Media:
    """A committed file. offset_s: where in it the clip starts. note: worth knowing, or ''."""

    path: Path
    offset_s: float = 0.0
    note: str = ""


class AttemptError(Exception):
    """An attempt that gave no media: the verdict, the whole message, the server's own wish."""

    def __init__(self, verdict: Verdict, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.verdict = verdict
        self.message = message
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt's row, and the wait that the server asked for."""

    row: Fetched
    retry_after_s: float | None = None


def attempt(
    clip: Wanted, get: Callable[[Wanted], Media], tool: str, wait_scale: float = 1.0
) -> Tried:
    """Try once. `get` raises AttemptError or OSError where there is no media.

    wait_scale: multiplies the policies' waiting times.
    """
    started, began = utc_now(), time.monotonic()
    try:
        media = get(clip)
    except AttemptError as error:
        failure = error
    except OSError as error:
        failure = AttemptError(of_os_error(error), f"{type(error).__name__}: {error}")
    else:
        row = Fetched(
            clip_id=clip.clip_id,
            status="stored",
            verdict=None,
            message=media.note,
            path=str(media.path),
            offset_s=media.offset_s,
            started_at=started,
            seconds=time.monotonic() - began,
            tool_version=tool,
        )
        return Tried(row)
    policy = POLICIES[failure.verdict]
    wait = wait_before_retry(clip, failure, wait_scale)
    row = Fetched(
        clip_id=clip.clip_id,
        status=policy.status,
        verdict=failure.verdict,
        message=failure.message,
        path=None,
        offset_s=0.0,
        started_at=started,
        seconds=time.monotonic() - began,
        tool_version=tool,
        charged=not policy.pauses_queue,
        not_before=None if wait is None else after(wait),
    )
    return Tried(row, failure.retry_after_s)


def wait_before_retry(clip: Wanted, failure: AttemptError, wait_scale: float) -> float | None:
    """Seconds till the clip may be tried again (None: never): doubled with every attempt."""
    policy = POLICIES[failure.verdict]
    if policy.status != "retryable" or policy.retry_after_s is None:
        return None
    grown = policy.retry_after_s * wait_scale * 2.0 ** min(clip.attempts, 6)
    return max(grown * random.uniform(1.0, 1.25), failure.retry_after_s or 0.0)
