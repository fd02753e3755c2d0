"""One attempt at one clip: what it gives, how it fails, and the row that comes of it."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from avstore.manifests.verdicts import POLICIES
from avstore.pipelines.fetch.clock import after, utc_now
from avstore.pipelines.fetch.download_dir import DownloadedFile
from avstore.pipelines.fetch.source import FetchResult, MediaRequest
from avstore.pipelines.fetch.taxonomy import AttemptError, of_os_error


@dataclass(frozen=True, slots=True)
class Started:
    """When an attempt began."""

    at: datetime
    clock: float

    @classmethod
    def now(cls) -> "Started":
        return cls(utc_now(), time.monotonic())


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt's row, and the wait that the server asked for."""

    row: FetchResult
    retry_after_s: float | None = None


def attempt(
    clip: MediaRequest,
    get: Callable[[MediaRequest], tuple[DownloadedFile, str]],
    tool: str,
    wait_scale: float = 1.0,
) -> Tried:
    """Try once. `get` gives the file and a note, or raises AttemptError or OSError.

    wait_scale: multiplies the policies' waiting times.
    """
    started = Started.now()
    try:
        landed, note = get(clip)
    except AttemptError as error:
        failure = error
    except OSError as error:
        failure = AttemptError(of_os_error(error), f"{type(error).__name__}: {error}")
    else:
        return Tried(stored(clip, landed, note, tool, started))
    wait_s = wait_before_retry(clip, failure, wait_scale)
    row = failed(clip, failure, tool, started, wait_s=wait_s)
    return Tried(row, failure.retry_after_s)


def stored(
    clip: MediaRequest,
    landed: DownloadedFile,
    note: str,
    tool: str,
    started: Started,
    *,
    charged: bool = True,
) -> FetchResult:
    """The row of a clip whose file is there."""
    return FetchResult(
        clip_id=clip.clip_id,
        status="stored",
        verdict=None,
        message=note,
        path=str(landed.path),
        offset_s=landed.offset_s(clip),
        started_at=started.at,
        seconds=time.monotonic() - started.clock,
        tool_version=tool,
        charged=charged,
        sha256=landed.sha256,
        bytes=landed.bytes,
    )


def failed(
    clip: MediaRequest,
    failure: AttemptError,
    tool: str,
    started: Started,
    *,
    wait_s: float | None = None,
    charged: bool = True,
) -> FetchResult:
    """The row of a clip that did not come; what pauses the queue is never charged."""
    policy = POLICIES[failure.verdict]
    return FetchResult(
        clip_id=clip.clip_id,
        status=policy.status,
        verdict=failure.verdict,
        message=failure.message,
        path=None,
        offset_s=0.0,
        started_at=started.at,
        seconds=time.monotonic() - started.clock,
        tool_version=tool,
        charged=charged and not policy.pauses_queue,
        not_before=None if wait_s is None else after(wait_s),
    )


def wait_before_retry(clip: MediaRequest, failure: AttemptError, wait_scale: float) -> float | None:
    """Seconds till the clip may be tried again (None: never): doubled with every attempt."""
    policy = POLICIES[failure.verdict]
    if policy.status != "retryable" or policy.retry_after_s is None:
        return None
    grown = policy.retry_after_s * wait_scale * 2.0 ** min(clip.attempts, 6)
    return max(grown * random.uniform(1.0, 1.25), failure.retry_after_s or 0.0)
