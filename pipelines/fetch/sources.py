"""From what a person gives as SOURCE to the source itself."""

from pathlib import Path

from pipelines.fetch.base import MediaSource
from pipelines.fetch.folder import FolderSource
from pipelines.fetch.options import FetchOptions
from pipelines.fetch.youtube import YouTubeSource

__all__ = ["FetchOptions", "open_source"]


def open_source(source: str, options: FetchOptions, raw: Path) -> MediaSource:
    """The source that `source` names; fetched files are committed to `raw` as <key>.<ext>.

    source: a folder, or 'youtube'. Raises SourceError where it cannot be used.
    """
    if source == "youtube":
        return YouTubeSource(options, raw)
    return FolderSource(Path(source).expanduser())
