"""Annotation files from their official addresses, each with its sha256 and the day it came."""

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
class FetchedFile:
    """A file that came from an address. fetched_at: UTC, ISO. before: another sha256 it had."""

    path: Path
    url: str
    sha256: str
    bytes: int
    fetched_at: str
    before: str | None = None


def annotation_folder(store: Path, dataset: str) -> Path:
    """Where a store keeps the annotation files that it fetched."""
    return store / "annotations" / dataset


def fetch_annotations(
    spec: DatasetSpec,
    folder: Path,
    refresh: bool = False,
    attempts: int = 4,
    urls: tuple[str, ...] | None = None,
) -> list[FetchedFile]:
    """The dataset's annotation files in `folder`, fetched unless they are there unchanged.

    `folder`/sources.json records address, sha256, size and date of each. refresh: fetch again.
    urls: instead of the official ones (a mirror). Raises AnnotationError with the address.
    """
    addresses = spec.annotation_urls if urls is None else urls
    if not addresses:
        raise AnnotationError(
            f"{spec.title} publishes no address that a program may fetch from; get its files "
            f"from {spec.homepage} and give them with ANNOTATIONS=… (--annotations)"
        )
    record = _read_record(folder)
    found = []
    for url in addresses:
        name = PurePosixPath(urlsplit(url).path).name
        known = record.get(name)
        if not refresh and known and known.url == url and _unchanged(folder / name, known):
            found.append(known)
            continue
        fetched = _fetch(url, folder / name, known, attempts)
        record[name] = fetched
        _write_record(folder, record)
        found.append(fetched)
    return found


def _unchanged(path: Path, known: FetchedFile) -> bool:
    return path.is_file() and file_sha256(path) == known.sha256


def _fetch(url: str, path: Path, known: FetchedFile | None, attempts: int) -> FetchedFile:
    retrying = Retrying(
        retry=retry_if_exception_type(_FAILURES) & retry_if_not_exception_type(FileNotFoundError),
        wait=wait_exponential(multiplier=0.2, max=8),
        stop=stop_after_attempt(attempts),
        reraise=True,
    )
    try:
        sha256, size = retrying(_download, url, path)
    except FileNotFoundError as error:
        raise AnnotationError(f"{url}: nothing is there any more (HTTP 404)") from error
    except _FAILURES as error:
        reason = str(error) or type(error).__name__
        raise AnnotationError(f"{url} cannot be fetched: {reason}") from error
    before = known.sha256 if known and known.sha256 != sha256 else None
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return FetchedFile(path, url, sha256, size, at, before)


def _download(url: str, path: Path) -> tuple[str, int]:
    """Fetch into memory (the largest list has 100 MB), look, and only then write."""
    options: dict[str, Any] = {}
    if urlsplit(url).scheme in {"http", "https"}:
        options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(sock_read=_TIMEOUT_S)}
    fs, place = fsspec.core.url_to_fs(url, **options)
    content = io.BytesIO()
    fs.get_file(place, content)
    data = content.getvalue()
    if not data:
        raise AnnotationError(f"{url}: the answer is empty")
    _refuse_page(url, data[:64])
    with committing(path) as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest(), len(data)


def _refuse_page(url: str, start: bytes) -> None:
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise AnnotationError(
            f"{url}: a web page came instead of the file (a login, or a notice that it moved)"
        )


def _read_record(folder: Path) -> dict[str, FetchedFile]:
    try:
        entries = json.loads((folder / RECORD).read_text())
        return {name: FetchedFile(folder / name, **entry) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # no record, or a damaged one: what it says is fetched anew


def _write_record(folder: Path, record: dict[str, FetchedFile]) -> None:
    entries = {
        name: {key: value for key, value in asdict(entry).items() if key != "path"}
        for name, entry in sorted(record.items())
    }
    with committing(folder / RECORD) as file:
        file.write(json.dumps(entries, indent=1).encode())
