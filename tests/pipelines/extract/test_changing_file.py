"""A file that changes between its hash and its last decoded packet is not stored with that hash."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from avstore.manifests.verdicts import POLICIES, Verdict
from avstore.pipelines.extract import clip as extraction
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.recipe import load_recipe
from tests.pipelines.extract.media import make_clip, source

STELLA = load_recipe("stella")


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0\0\0\x08free")


def rewrite(path: Path) -> None:
    """Change one byte of a comment in place: the size stays."""
    data = bytearray(path.read_bytes())
    at = data.rindex(b"Lavf")
    data[at : at + 4] = b"Lavg" if data[at : at + 4] == b"Lavf" else b"Lavf"
    with path.open("r+b") as file:
        file.write(data)


def replace(path: Path) -> None:
    """Put a file of the same size and time in its place."""
    copy = path.with_suffix(".new")
    shutil.copy2(path, copy)
    os.replace(copy, path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "a.mp4", size="64x64")


def change_after_hashing(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], times: int
) -> list[str]:
    """Change the file after each of its first `times` hashes; return the hashes."""
    hashes: list[str] = []
    unchanged = extraction.size_and_sha256

    def size_and_sha256(path: str) -> tuple[int, str]:
        size, digest = unchanged(path)
        hashes.append(digest)
        if len(hashes) <= times:
            change(Path(path))
        return size, digest

    monkeypatch.setattr(extraction, "size_and_sha256", size_and_sha256)
    return hashes


@pytest.mark.parametrize("change", [grow, rewrite, replace])
def test_a_file_that_changes_once_is_read_again(
    monkeypatch: pytest.MonkeyPatch, path: Path, change: Callable[[Path], None]
) -> None:
    hashes = change_after_hashing(monkeypatch, change, 1)
    result = extract_clip(source(path), STELLA)
    assert result.verdict is None, result.detail
    assert result.media is not None
    assert result.media.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert result.media.bytes == path.stat().st_size
    assert len(hashes) == 2


def test_a_file_that_keeps_changing_is_tried_later(
    monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    before = path.stat().st_size
    change_after_hashing(monkeypatch, grow, 9)
    result = extract_clip(source(path), STELLA)
    assert result.verdict is Verdict.MEDIA_CHANGED
    assert POLICIES[result.verdict].status == "retryable"
    assert (result.members, result.media) == ((), None)
    assert f"{before + 8} → {before + 16} bytes" in result.detail


def test_a_half_written_file_is_not_rejected_for_good(
    monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    """Its end is missing while it is decoded, and comes later."""
    whole = path.read_bytes()
    path.write_bytes(whole[:-5000])
    assert extract_clip(source(path), STELLA).verdict is not None
    change_after_hashing(monkeypatch, lambda p: p.write_bytes(whole), 1)
    assert extract_clip(source(path), STELLA).verdict is None
