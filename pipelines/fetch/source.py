"""The one interface of a source of media, and the rows that pass through it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from avstore.datasets.spec import MediaName
from avstore.manifests.verdicts import Status, Verdict


@dataclass(frozen=True, slots=True)
class MediaRequest:
    """A clip whose media is asked for. start_s, end_s: seconds in the source video, or None.

    url: a direct address, where the dataset publishes one.
    attempts: how many attempts were already charged to this clip.
    """

    clip_id: str
    key: str
    source_id: str
    start_s: float | None
    end_s: float | None
    names: tuple[MediaName, ...]
    url: str | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The outcome of one attempt: one row of the ledger's attempts.

    status: stored | gone | retryable | rejected. path: a local file (status stored). offset_s:
    where in that file the clip starts. charged: whether the attempt counts against the clip (a
    rate limit does not). not_before: earliest next attempt (status retryable). sha256, bytes: of
    a file that this attempt committed to the store.
    """

    clip_id: str
    status: Status
    verdict: Verdict | None
    message: str
    path: str | None
    offset_s: float
    started_at: datetime
    seconds: float
    tool_version: str
    charged: bool = True
    not_before: datetime | None = None
    sha256: str | None = None
    bytes: int | None = None


class MediaSource(Protocol):
    """A place that clips come from. `fetch` yields outcomes as they happen, in any order.

    rechecks: asking again is cheap and may find more, so each run asks for every clip.
    tool: the rows' tool_version; its first word is the kind of source.
    """

    @property
    def rechecks(self) -> bool: ...

    @property
    def tool(self) -> str: ...

    def fetch(self, wanted: Sequence[MediaRequest]) -> Iterator[FetchResult]: ...


class SourceError(Exception):
    """A source that cannot be used at all: what was wrong, the value, what to do."""


class MachineError(SourceError):
    """This machine cannot fetch now (network, disk, permission); the call may well be right."""
