"""From what a person gives as SOURCE to the source itself."""

from pathlib import Path

from avstore.pipelines.fetch.archive import ArchiveSource
from avstore.pipelines.fetch.archive_members import kind_of
from avstore.pipelines.fetch.archive_parts import Archive, group, is_archive_name, siblings
from avstore.pipelines.fetch.folder import EXTENSIONS, FolderSource, has_media
from avstore.pipelines.fetch.options import FetchOptions
from avstore.pipelines.fetch.remote_files import NETWORK_ERRORS, Place, list_files, place
from avstore.pipelines.fetch.remote_folder import RemoteFolderSource
from avstore.pipelines.fetch.source import MediaSource, SourceError
from avstore.pipelines.fetch.web import URLS, YOUTUBE, WebSource

__all__ = ["FetchOptions", "open_source"]


def open_source(source: str, options: FetchOptions, raw: Path) -> MediaSource:
    """The source that `source` names; fetched files are committed to `raw` as <key>.<ext>.

    source: 'youtube'; 'urls' (each clip's own address); a folder; an archive, one of the parts of
    a split one, a pattern of several (`mirror/*.tar.gz`), or a folder of them; each of the latter
    as a path or any fsspec address. Raises SourceError where it cannot be used.
    """
    for site in (YOUTUBE, URLS):
        if source == site.name:
            return WebSource(site, options, raw)
    remote = "://" in source
    at = place(source if remote else str(Path(source).expanduser().absolute()), options.storage)
    try:
        archives = _archives(at, remote)
    except NETWORK_ERRORS as error:
        raise SourceError(f"{source} cannot be read: {type(error).__name__}: {error}") from error
    if archives:
        return ArchiveSource(archives, options, raw)
    return RemoteFolderSource(at, options, raw) if remote else FolderSource(Path(at.path))


def _archives(at: Place, remote: bool) -> list[Archive]:
    """The archives that a source stands for; none where it is a folder of media."""
    if any(letter in at.name for letter in "*?["):
        found = [_beside(at, str(path)) for path in at.fs.glob(at.path)]
        archives = [path for path in found if is_archive_name(path.name)]
        if not archives:
            raise SourceError(f"no archive matches {at.url}; check SOURCE")
        return group(archives)
    if is_archive_name(at.name) and (remote or Path(at.path).is_file()):
        return group(siblings(at))
    if remote:
        return _only_archives(at, list_files(at))
    path = Path(at.path)
    if path.is_file() and _is_archive(path):
        return [Archive(at.url, (at,))]
    if path.is_dir() and not has_media(path):
        return _only_archives(at, [str(p) for p in sorted(path.iterdir()) if p.is_file()])
    return []


def _only_archives(folder: Place, files: list[str]) -> list[Archive]:
    """The archives in a folder that holds archives and no media."""
    places = [_beside(folder, path) for path in files]
    if any(at.name.rpartition(".")[2].lower() in EXTENSIONS for at in places):
        return []
    return group([at for at in places if is_archive_name(at.name)])


def _beside(at: Place, path: str) -> Place:
    return Place(at.fs, path, str(at.fs.unstrip_protocol(path)).removeprefix("file://"))


def _is_archive(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return kind_of(file.read(512)) is not None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
