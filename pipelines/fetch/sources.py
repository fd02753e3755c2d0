"""From what a person gives as SOURCE to the source itself."""

from pathlib import Path

from pipelines.fetch.base import MediaSource
from pipelines.fetch.folder import FolderSource
from pipelines.fetch.options import FetchOptions
from pipelines.fetch.web import URLS, YOUTUBE, WebSource

__all__ = ["FetchOptions", "open_source"]


def open_source(source: str, options: FetchOptions, raw: Path) -> MediaSource:
    """The source that `source` names; fetched files are committed to `raw` as <key>.<ext>.

    source: a folder, 'youtube', or 'urls' (each clip's own address). Raises SourceError where it
    cannot be used.
    """
    for site in (YOUTUBE, URLS):
        if source == site.name:
            return WebSource(site, options, raw)
    return FolderSource(Path(source).expanduser())
