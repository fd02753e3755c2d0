"""Open the source that the user names as SOURCE."""

from pathlib import Path

from avstore.manifests.nearest import did_you_mean
from avstore.pipelines.fetch.archive import ArchiveSource
from avstore.pipelines.fetch.archive_members import detect_archive
from avstore.pipelines.fetch.archive_parts import (
    Archive,
    find_parts,
    group_archives,
    is_archive_name,
)
from avstore.pipelines.fetch.containers import is_video
from avstore.pipelines.fetch.error_classification import error_text
from avstore.pipelines.fetch.folder import FolderSource, has_video
from avstore.pipelines.fetch.listed_files import ListedFilesSource
from avstore.pipelines.fetch.remote_files import (
    NETWORK_ERRORS,
    RemoteFile,
    list_files,
    open_location,
)
from avstore.pipelines.fetch.remote_folder import RemoteFolderSource
from avstore.pipelines.fetch.source import FetchOptions, MediaSource, SourceError
from avstore.pipelines.fetch.web import URLS, YOUTUBE, WebSource


def open_source(source: str, options: FetchOptions, raw: Path, listed: bool = False) -> MediaSource:
    """Open a source of media.

    Args:
        source: 'youtube'; 'urls' (each clip's own URL); or a path or fsspec URL of a folder, an
            archive, one part of a split archive, several archives (`mirror/*.tar.gz`), or a
            folder of archives.
        options: How to fetch.
        raw: The folder STORE/raw/<dataset>, where fetched files are committed as <key>.<ext>.
        listed: Every clip names its file: a folder is not searched.

    Raises:
        SourceError: The source does not exist, cannot be read, or holds no media.
    """
    for site in (YOUTUBE, URLS):
        if source == site.name:
            return WebSource(site, options, raw)
    remote = "://" in source
    if listed and Path(source).expanduser().is_dir():
        return ListedFilesSource(Path(source).expanduser())
    path = source if remote else str(Path(source).expanduser().absolute())
    location = open_location(path, options.storage)
    try:
        archives = _archives(location, remote)
    except NETWORK_ERRORS as error:
        raise SourceError(f"SOURCE {source} cannot be read: {error_text(error)}") from error
    if archives:
        return ArchiveSource(archives, options, raw)
    if remote:
        return RemoteFolderSource(location, options, raw)
    hint = did_you_mean(source, [site.name for site in (YOUTUBE, URLS)])
    if hint and not Path(location.path).exists():
        raise SourceError(f"there is no source {source!r}{hint}; or give a folder or archive")
    return FolderSource(Path(location.path), options.names)


def _archives(location: RemoteFile, remote: bool) -> list[Archive]:
    """Return the archives that a source names, or [] for a folder of media."""
    web = location.path.startswith(("http://", "https://"))  # there '?' begins the query
    if any(letter in location.name for letter in ("*[" if web else "*?[")):
        matches = [_same_file_system(location, str(p)) for p in location.fs.glob(location.path)]
        archives = [file for file in matches if is_archive_name(file.name)]
        if not archives:
            raise SourceError(f"no archive matches {location.url}; check the source")
        return group_archives(archives)
    if is_archive_name(location.name) and (remote or Path(location.path).is_file()):
        return group_archives(find_parts(location))
    if remote:
        return _archives_in_folder(location, list_files(location))
    path = Path(location.path)
    if path.is_file() and _is_archive(path):
        return [Archive(location.url, (location,))]
    if path.is_dir() and not has_video(path):
        files = [str(file) for file in sorted(path.iterdir()) if file.is_file()]
        return _archives_in_folder(location, files)
    return []


def _archives_in_folder(folder: RemoteFile, paths: list[str]) -> list[Archive]:
    """Return the archives in a folder, or [] if it also holds media."""
    files = [_same_file_system(folder, path) for path in paths]
    if any(is_video(file.name) for file in files):
        return []
    return group_archives([file for file in files if is_archive_name(file.name)])


def _same_file_system(location: RemoteFile, path: str) -> RemoteFile:
    url = str(location.fs.unstrip_protocol(path)).removeprefix("file://")
    return RemoteFile(location.fs, path, url)


def _is_archive(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return detect_archive(file.read(512)) is not None
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror}; check its permissions"
        ) from error
