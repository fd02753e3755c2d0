"""Fetch annotation files from their official addresses and record their sha256 and date."""

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import fsspec
from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_attempt,
    wait_exponential,
)

from avstore.datasets.spec import AnnotationError, DatasetSpec
from avstore.manifests.store import committing, file_sha256

RECORD = "sources.json"
_TIMEOUT_S = 60.0
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class AnnotationFile:
    """An annotation file that was fetched.

    Attributes:
        path: The local file.
        url: The address that it was fetched from.
        sha256: Checksum of its content.
        bytes: Its size.
        fetched_at: UTC time, ISO 8601.
        before: The previous checksum, if the last fetch changed the content.
    """

    path: Path
    url: str
    sha256: str
    bytes: int
    fetched_at: str
    before: str | None = None


def annotation_folder(store: Path, dataset: str) -> Path:
    """Return the folder for a dataset's fetched annotation files."""
    return store / "annotations" / dataset


def fetched_files(store: Path, dataset: str) -> list[Path]:
    """Return the annotation files of a dataset that were fetched to a store, sorted."""
    found = sorted(annotation_folder(store, dataset).glob("*"))
    return [path for path in found if path.name != RECORD]


def fetch_annotations(
    spec: DatasetSpec,
    folder: Path,
    refresh: bool = False,
    attempts: int = 4,
    urls: tuple[str, ...] | None = None,
) -> list[AnnotationFile]:
    """Fetch a dataset's annotation files, except those already present and unchanged.

    Args:
        spec: The dataset.
        folder: Where the files go; its sources.json records address, sha256, size and date.
        refresh: Fetch every file again.
        attempts: Number of attempts per file.
        urls: Addresses of a mirror (default: the official ones).

    Raises:
        AnnotationError: The dataset publishes no address, or one cannot be fetched.
    """
    addresses = spec.annotation_urls if urls is None else urls
    if not addresses:
        raise AnnotationError(
            f"{spec.title} publishes no address that can be fetched automatically; download its "
            f"files from {spec.homepage} and pass them with ANNOTATIONS=… (--annotations)"
        )
    record = _read_record(folder)
    files = []
    for url in addresses:
        name = PurePosixPath(urlsplit(url).path).name
        known = record.get(name)
        if not refresh and known and known.url == url and _unchanged(folder / name, known):
            files.append(known)
            continue
        fetched = _fetch(url, folder / name, known, attempts)
        record[name] = fetched
        _write_record(folder, record)
        files.append(fetched)
    return files


def _unchanged(path: Path, known: AnnotationFile) -> bool:
    return path.is_file() and file_sha256(path) == known.sha256


def _fetch(url: str, path: Path, known: AnnotationFile | None, attempts: int) -> AnnotationFile:
    retrying = Retrying(
        retry=retry_if_exception_type(_FAILURES) & retry_if_not_exception_type(FileNotFoundError),
        wait=wait_exponential(multiplier=0.2, max=8),
        stop=stop_after_attempt(attempts),
        reraise=True,
    )
    try:
        sha256, size = retrying(_download, url, path)
    except FileNotFoundError as error:
        raise AnnotationError(f"{url}: not found (HTTP 404)") from error
    except _FAILURES as error:
        reason = str(error) or type(error).__name__
        raise AnnotationError(f"{url} cannot be fetched: {reason}") from error
    before = known.sha256 if known and known.sha256 != sha256 else None
    fetched_at = datetime.now(UTC).isoformat(timespec="seconds")
    return AnnotationFile(path, url, sha256, size, fetched_at, before)


def _download(url: str, path: Path) -> tuple[str, int]:
    """Fetch into memory (the largest list has 100 MB), check, write; return sha256 and size."""
    options: dict[str, Any] = {}
    if urlsplit(url).scheme in {"http", "https"}:
        options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(sock_read=_TIMEOUT_S)}
    fs, path_in_fs = fsspec.core.url_to_fs(url, **options)
    content = io.BytesIO()
    fs.get_file(path_in_fs, content)
    data = content.getvalue()
    if not data:
        raise AnnotationError(f"{url}: the response is empty")
    _refuse_web_page(url, data[:64])
    with committing(path) as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest(), len(data)


def _refuse_web_page(url: str, start: bytes) -> None:
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise AnnotationError(
            f"{url}: the response is a web page instead of the file (a login, or the file moved)"
        )


def _read_record(folder: Path) -> dict[str, AnnotationFile]:
    try:
        entries = json.loads((folder / RECORD).read_text())
        return {name: AnnotationFile(folder / name, **entry) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # missing or damaged: the files are fetched again


def _write_record(folder: Path, record: dict[str, AnnotationFile]) -> None:
    entries = {
        name: {key: value for key, value in asdict(entry).items() if key != "path"}
        for name, entry in sorted(record.items())
    }
    with committing(folder / RECORD) as file:
        file.write(json.dumps(entries, indent=1).encode())
