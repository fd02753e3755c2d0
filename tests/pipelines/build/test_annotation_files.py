"""Annotation files over HTTP: recorded, retried, and refused if the response is a web page."""

import hashlib
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from avstore.datasets.registry import get
from avstore.datasets.spec import AnnotationError
from avstore.pipelines.build.annotation_files import RECORD, fetch_annotations
from tests.servers.media_server import MediaServer

TEXT = b"-a_b,30,playing banjo,train\n"


def spec_at(*urls: str):
    return replace(get("vggsound"), annotation_urls=urls)


@pytest.fixture
def site(tmp_path: Path):
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "vggsound.csv").write_bytes(TEXT)
    (folder / "page.csv").write_bytes(b"<!DOCTYPE html><html>moved</html>")
    (folder / "empty.csv").write_bytes(b"")
    with MediaServer(folder) as server:
        yield server


def test_file_is_recorded_and_fetched_once(site: MediaServer, tmp_path: Path) -> None:
    spec, folder = spec_at(f"{site.url}/ok/vggsound.csv"), tmp_path / "annotations"
    (file,) = fetch_annotations(spec, folder)
    assert file.path.read_bytes() == TEXT
    assert file.sha256 == hashlib.sha256(TEXT).hexdigest()
    assert datetime.fromisoformat(file.fetched_at).tzinfo
    record = json.loads((folder / RECORD).read_text())
    assert record["vggsound.csv"]["url"] == file.url
    requests = len(site.log.requests)
    assert fetch_annotations(spec, folder) == [file]
    assert len(site.log.requests) == requests
    assert spec.parse([file.path]).clips


def test_changed_or_lost_file_is_fetched_again(site: MediaServer, tmp_path: Path) -> None:
    spec, folder = spec_at(f"{site.url}/ok/vggsound.csv"), tmp_path / "annotations"
    (file,) = fetch_annotations(spec, folder)
    file.path.write_bytes(b"damaged")
    fetch_annotations(spec, folder)
    assert file.path.read_bytes() == TEXT
    (folder / RECORD).write_text("{")
    (site.folder / "vggsound.csv").write_bytes(TEXT * 2)
    fetch_annotations(spec, folder)
    (site.folder / "vggsound.csv").write_bytes(TEXT * 3)
    (newer,) = fetch_annotations(spec, folder, refresh=True)
    assert newer.before == hashlib.sha256(TEXT * 2).hexdigest()


def test_outage_is_retried(site: MediaServer, tmp_path: Path) -> None:
    spec = spec_at(f"{site.url}/2x503/vggsound.csv")
    (file,) = fetch_annotations(spec, tmp_path / "annotations")
    assert file.path.read_bytes() == TEXT


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("404/vggsound.csv", "404"),
        ("503/vggsound.csv", "cannot be fetched"),
        ("ok/page.csv", "web page"),
        ("ok/empty.csv", "empty"),
    ],
)
def test_failure_is_an_error_with_the_address(
    site: MediaServer, tmp_path: Path, path: str, message: str
) -> None:
    folder = tmp_path / "annotations"
    with pytest.raises(AnnotationError, match=message) as caught:
        fetch_annotations(spec_at(f"{site.url}/{path}"), folder, attempts=2)
    assert site.url in str(caught.value)
    assert not list(folder.glob("**/*.csv")) + list(folder.glob("**/.*.tmp"))


def test_dataset_without_an_address_names_its_homepage(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="microsoft"):
        fetch_annotations(get("msrvtt"), tmp_path)
