"""One attempt at one clip: what it gives, how it fails, and the row that comes of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from manifests.verdicts import POLICIES, Verdict
from pipelines.fetch.base import Fetched, Wanted
from pipelines.fetch.clock import after, utc_now


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


def attempt(clip: Wanted, get: Callable[[Wanted], Media], tool: str) -> Fetched:
    """Try once, and say what came of it. `get` raises AttemptError where there is no media."""
    started, began = utc_now(), time.monotonic()
    failure: AttemptError | None = None
    media: Media | None = None
    try:
        media = get(clip)
    except AttemptError as error:
        failure = error
    seconds = time.monotonic() - began
    if failure is None and media is not None:
        return Fetched(
            clip.clip_id, "stored", None, media.note, str(media.path), media.offset_s,
            started, seconds, tool,
        )  # fmt: skip
    assert failure is not None  # one of the two is set
    policy = POLICIES[failure.verdict]
    wait = failure.retry_after_s if failure.retry_after_s is not None else policy.retry_after_s
    return Fetched(
        clip_id=clip.clip_id,
        status=policy.status,
        verdict=failure.verdict,
        message=failure.message,
        path=None,
        offset_s=0.0,
        started_at=started,
        seconds=seconds,
        tool_version=tool,
        charged=not policy.pauses_queue,
        not_before=after(wait) if policy.status == "retryable" and wait is not None else None,
    )
