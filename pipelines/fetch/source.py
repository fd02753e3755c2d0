"""Define the interface of a media source: requests, results, options and errors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from avstore.datasets.spec import MediaName
from avstore.manifests.path_text import printable_text
from avstore.manifests.redact import redact
from avstore.manifests.verdicts import Status, Verdict

#: At most 360 lines, with audio, in a container that can be cut without re-encoding; the last
#: alternative takes whatever the site offers.
DEFAULT_FORMAT = (
    "bv*[height<=360][ext=mp4]+ba[ext=m4a]/b[height<=360][ext=mp4]"
    "/bv*[height<=360][ext=webm]+ba[ext=webm]/b[height<=360][ext=webm]"
    "/bv*[height<=360]+ba/b[height<=360]/wv*+ba/w"
)


@dataclass(frozen=True, slots=True)
class MediaRequest:
    """A clip whose media a source is asked for.

    Attributes:
        clip_id: The clip's id in the manifest.
        key: The clip's key, the stem of its file in the store.
        source_id: The id of the source video, for example of a YouTube video.
        start_s: Start of the clip in the source video in seconds, or None.
        end_s: End of the clip (exclusive) in seconds, or None for the end of the video.
        names: File stems under which the clip may be found, preferred first.
        url: The clip's own URL, where the dataset publishes one.
        attempts: Attempts already charged to the clip.
        verdicts: The verdicts that these attempts met.
        split: The clip's split.
        labels: The clip's label names.
        file: The clip's file, relative to the source, where the annotations name it.
    """

    clip_id: str
    key: str
    source_id: str
    start_s: float | None
    end_s: float | None
    names: tuple[MediaName, ...]
    url: str | None = None
    attempts: int = 0
    verdicts: frozenset[Verdict] = frozenset()
    split: str = ""
    labels: tuple[str, ...] = ()
    file: str | None = None


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The result of one attempt: one row of the manifest's table `attempts`.

    Attributes:
        clip_id: The clip's id in the manifest.
        status: stored, gone, absent, retryable, rejected or pending.
        verdict: Why the attempt failed, or None.
        message: The whole error message, or a note about the stored file.
        path: The local file (status stored), or None.
        offset_s: Where in that file the clip starts, in seconds.
        started_at: When the attempt began, UTC without a time zone.
        seconds: How long the attempt took.
        tool_version: The source and its version; the first word is the kind of source.
        charged: Whether the attempt counts against the clip; a rate limit does not.
        not_before: Earliest time of the next attempt (status retryable), UTC, or None.
        sha256: Hash of a file that this attempt committed to the store, hex.
        bytes: Size of that file.
        modified_at: Modification time of the file at `path`, UTC without a time zone, or None.
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
    modified_at: datetime | None = None

    def __post_init__(self) -> None:
        """Hide credentials in the message, and escape the control characters of other tools."""
        object.__setattr__(self, "message", printable_text(redact(self.message).strip()))


@dataclass(frozen=True)
class FetchOptions:
    """How to fetch.

    Attributes:
        workers: Attempts that run at the same time.
        rate_per_hour: Attempts started per hour over all workers; None uses the source's
            default, 0 sets no limit.
        rate_state: Folder of the rate limit's state, which all builds share that name it
            (default: $AVSTORE_RATE_STATE, or avstore in the user's state folder).
        timeout_s: Seconds after which one attempt is killed.
        max_bytes: Largest accepted file of one clip. A download is stopped there.
        min_free_bytes: Free disk space in bytes below which fetching stops.
        format: yt-dlp's format selection; '' for the dataset's own, or else at most 360 lines.
        cookies_file: Path of a cookies.txt file for yt-dlp.
        cookies_browser: Browser whose cookies yt-dlp reads (`firefox`, `chrome:Profile 1`).
        proxy: Proxy URL for yt-dlp.
        allow_private: Whether clips on the web may come from loopback and private addresses,
            also by redirects and in playlists. With a proxy, the proxy decides.
        source_address: Local IP address that yt-dlp binds to.
        extractor_args: yt-dlp's extractor arguments (PO tokens, player clients).
        ytdlp: Any other options of `yt_dlp.YoutubeDL`.
        patience_s: Seconds that an otherwise idle run waits for a clip that may be retried; a
            clip that is due later is left to the next run.
        max_pause_s: Seconds that a rate limit, a bot check or a lost network may last before
            the run stops, and the longest wait that a server can ask for.
        wait_scale: Factor on every waiting time of the retry policies.
        abort_share: The run stops when at least this share of the last `abort_window` attempts
            failed with the same verdict; 1.1 means never.
        abort_window: Number of latest attempts that `abort_share` looks at.
        storage: fsspec's keyword arguments by protocol (`{"s3": {"anon": True}}`).
        names: A pattern of file names (`--names`); None finds the usual forms.
    """

    workers: int = 4
    rate_per_hour: float | None = None
    rate_state: str | None = None
    timeout_s: float = 300.0
    max_bytes: int = 4 << 30
    min_free_bytes: int = 1 << 30
    format: str = ""
    cookies_file: str | None = None
    cookies_browser: str | None = None
    proxy: str | None = None
    allow_private: bool = False
    source_address: str | None = None
    extractor_args: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)
    ytdlp: Mapping[str, Any] = field(default_factory=dict)
    patience_s: float = 120.0
    max_pause_s: float = 6 * 3600.0
    wait_scale: float = 1.0
    abort_share: float = 0.9
    abort_window: int = 40
    storage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    names: str | None = None


class MediaSource(Protocol):
    """A source of clips: a folder, archives, or a web site."""

    @property
    def rechecks(self) -> bool:
        """Whether looking for a clip is cheap, so that each run requests every clip."""
        ...

    @property
    def tool(self) -> str:
        """The `tool_version` of its results; the first word is the kind of source."""
        ...

    def fetch(self, requests: Sequence[MediaRequest]) -> Iterator[FetchResult]:
        """Yield the result of each attempt as it ends, in any order.

        Raises:
            SourceError: The source cannot be used, or fetching stopped early.
        """
        ...


class SourceError(Exception):
    """A source that cannot be used: what is wrong, the value, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class MachineError(SourceError):
    """This machine cannot fetch now (network, disk, permission); the command may be right."""


def missing_message(request: MediaRequest, where: str, names: str | None = None) -> str:
    """Return the message for a clip that has no file in `where`.

    Args:
        request: The clip.
        where: The source.
        names: The pattern of file names in use, if any.
    """
    if request.file is not None:
        return f"no {request.file} in {where}"
    if names:
        return f"no file of {request.key} named by {names!r} in {where}"
    stems = " or ".join(f"{name.stem}.*" for name in request.names)
    return f"no {stems} in {where}"
