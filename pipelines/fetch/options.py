"""What a person may set about fetching; every field has a default that is safe to leave."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: At most 360 lines with sound, in a container that needs no re-encode; whatever there is, last.
DEFAULT_FORMAT = (
    "bv*[height<=360][ext=mp4]+ba[ext=m4a]/b[height<=360][ext=mp4]"
    "/bv*[height<=360][ext=webm]+ba[ext=webm]/b[height<=360][ext=webm]"
    "/bv*[height<=360]+ba/b[height<=360]/wv*+ba/w"
)


@dataclass(frozen=True)
class FetchOptions:
    """How to fetch.

    workers: attempts at the same time. rate_per_hour: attempts begun an hour, over the whole
    fleet (None: the source's own default; 0: no limit). timeout_s: one attempt, killed after it.
    max_bytes: of one clip's file. min_free_bytes: of disk, below which fetching stops.

    format: yt-dlp's format expression. cookies_file, cookies_browser, proxy, source_address,
    extractor_args (PO tokens, player clients), as yt-dlp's options of these names; ytdlp: any
    other option of `yt_dlp.YoutubeDL`.

    patience_s: how long a run with nothing else to do waits for a clip that may be tried again;
    beyond that the clip is left to the next run. max_pause_s: how long a rate limit, a bot check
    or a lost network may last before the run stops. wait_scale: multiplies every waiting time of
    the policies. abort_share: the run stops when at least this share of the last abort_window
    attempts failed in one and the same way (1.1: never).
    storage: keyword arguments for fsspec (`{"s3": {"anon": True}}`).
    """

    workers: int = 4
    rate_per_hour: float | None = None
    timeout_s: float = 300.0
    max_bytes: int = 4 << 30
    min_free_bytes: int = 1 << 30
    format: str = DEFAULT_FORMAT
    cookies_file: str | None = None
    cookies_browser: str | None = None
    proxy: str | None = None
    source_address: str | None = None
    extractor_args: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)
    ytdlp: Mapping[str, Any] = field(default_factory=dict)
    patience_s: float = 120.0
    max_pause_s: float = 6 * 3600.0
    wait_scale: float = 1.0
    abort_share: float = 0.9
    abort_window: int = 40
    storage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
