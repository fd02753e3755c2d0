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

    workers: attempts at the same time. rate_per_hour: at most so many requests for media an hour,
    over the whole fleet (None: the source's own default; 0: no limit). timeout_s: one attempt.
    format: yt-dlp's format expression. cookies_file, cookies_browser, proxy, extractor_args,
    source_address: as yt-dlp's options of these names; ytdlp: any other option of its Python API.
    """

    workers: int = 4
    rate_per_hour: float | None = None
    timeout_s: float = 300.0
    format: str = DEFAULT_FORMAT
    cookies_file: str | None = None
    cookies_browser: str | None = None
    proxy: str | None = None
    source_address: str | None = None
    extractor_args: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)
    ytdlp: Mapping[str, Any] = field(default_factory=dict)
