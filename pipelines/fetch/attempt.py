"""Run one attempt to fetch a clip and turn its end into a `FetchResult`."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from avstore.manifests.ledger import now
from avstore.manifests.verdicts import POLICIES
from avstore.pipelines.fetch.download_dir import DownloadedFile
from avstore.pipelines.fetch.error_classification import (
    AttemptError,
    classify_os_error,
    error_text,
)
from avstore.pipelines.fetch.rate_limit import format_duration
from avstore.pipelines.fetch.source import FetchResult, MediaRequest

#: The wait doubles with every charged attempt, at most this often.
_MAX_DOUBLINGS = 6


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """When an attempt began.

    Attributes:
        started_at: UTC without a time zone.
        monotonic_s: The monotonic clock at that moment, in seconds.
    """

    started_at: datetime
    monotonic_s: float

    @classmethod
    def start(cls) -> "Stopwatch":
        """Return a stopwatch that starts now."""
        return cls(now(), time.monotonic())

    def elapsed_s(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.monotonic_s


@dataclass(frozen=True, slots=True)
class Attempt:
    """A finished attempt.

    Attributes:
        result: The row to record.
        retry_after_s: Seconds that the server asked to wait, or None.
    """

    result: FetchResult
    retry_after_s: float | None = None


def run_attempt(
    request: MediaRequest,
    download: Callable[[MediaRequest], tuple[DownloadedFile, str]],
    tool: str,
    wait_scale: float = 1.0,
    max_pause_s: float = math.inf,
) -> Attempt:
    """Try once to fetch a clip.

    Args:
        request: The clip.
        download: Returns the committed file and a note; raises AttemptError or OSError.
        tool: The `tool_version` of the result.
        wait_scale: Factor on the waiting times of the retry policies.
        max_pause_s: The longest wait that the server can ask for.
    """
    stopwatch = Stopwatch.start()
    try:
        file, note = download(request)
    except AttemptError as error:
        failure = error
    except OSError as error:
        failure = AttemptError(classify_os_error(error), error_text(error))
    else:
        return Attempt(stored_result(request, file, note, tool, stopwatch))
    failure = _with_wait_note(failure, max_pause_s)
    wait_s = wait_before_retry(request, failure, wait_scale, max_pause_s)
    result = failed_result(request, failure, tool, stopwatch, wait_s=wait_s)
    return Attempt(result, failure.retry_after_s)


def _with_wait_note(failure: AttemptError, max_pause_s: float) -> AttemptError:
    """Say in the message when the server asks for a longer wait than it is given."""
    asked = failure.retry_after_s or 0.0
    if asked <= max_pause_s:
        return failure
    note = (
        f"the server asks to wait {format_duration(asked)}, more than max_pause_s "
        f"({format_duration(max_pause_s)})"
    )
    return AttemptError(failure.verdict, f"{failure.message} ({note})", asked)


def stored_result(
    request: MediaRequest,
    file: DownloadedFile,
    note: str,
    tool: str,
    stopwatch: Stopwatch,
    *,
    charged: bool = True,
) -> FetchResult:
    """Return the result for a clip whose file is in place."""
    return FetchResult(
        clip_id=request.clip_id,
        status="stored",
        verdict=None,
        message=note,
        path=str(file.path),
        offset_s=file.offset_s(request),
        started_at=stopwatch.started_at,
        seconds=stopwatch.elapsed_s(),
        tool_version=tool,
        charged=charged,
        sha256=file.sha256,
        bytes=file.bytes,
    )


def failed_result(
    request: MediaRequest,
    failure: AttemptError,
    tool: str,
    stopwatch: Stopwatch,
    *,
    wait_s: float | None = None,
    charged: bool = True,
) -> FetchResult:
    """Return the result for a failed attempt.

    Args:
        request: The clip.
        failure: Why the attempt failed. A failure that pauses the queue is never charged.
        tool: The `tool_version` of the result.
        stopwatch: When the attempt began.
        wait_s: Seconds until the clip may be retried, or None.
        charged: Whether the attempt counts against the clip.
    """
    policy = POLICIES[failure.verdict]
    return FetchResult(
        clip_id=request.clip_id,
        status=policy.status,
        verdict=failure.verdict,
        message=failure.message,
        path=None,
        offset_s=0.0,
        started_at=stopwatch.started_at,
        seconds=stopwatch.elapsed_s(),
        tool_version=tool,
        charged=charged and not policy.pauses_queue,
        not_before=None if wait_s is None else now() + timedelta(seconds=wait_s),
    )


def wait_before_retry(
    request: MediaRequest,
    failure: AttemptError,
    wait_scale: float,
    max_pause_s: float = math.inf,
) -> float | None:
    """Return the seconds until a clip may be retried, None for never.

    The policy's wait doubles with every charged attempt and is spread by up to 25 % so that clips
    which failed together are not retried together. The server's own wish is a lower bound,
    up to `max_pause_s`.
    """
    policy = POLICIES[failure.verdict]
    if policy.status != "retryable" or policy.retry_after_s is None:
        return None
    wait_s = policy.retry_after_s * wait_scale * 2.0 ** min(request.attempts, _MAX_DOUBLINGS)
    return max(wait_s * random.uniform(1.0, 1.25), min(failure.retry_after_s or 0.0, max_pause_s))
