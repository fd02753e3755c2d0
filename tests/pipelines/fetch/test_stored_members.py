"""Read the members of uncompressed zips: the same contents and refusals as through zipfile."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from avstore.pipelines.fetch.archive_members import DAMAGE_ERRORS, BombError, iter_members

FILES = {"a/é.npy": b"first" * 50_000, "b.npy": b"", "c.npy": bytes(300_000), "d.npy": b"last"}


def write_zip(path: Path, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    return path


def contents(path: Path) -> dict[str, bytes]:
    """Return each member's content; b"damaged" for one that cannot be read."""
    found = {}
    with io.FileIO(path) as file:
        for member in iter_members(file, path.name):
            try:
                found[member.path] = member.read()
            except DAMAGE_ERRORS:
                found[member.path] = b"damaged"
    return found


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_have_their_contents(method: int, tmp_path: Path) -> None:
    assert contents(write_zip(tmp_path / "a.zip", method)) == FILES


def test_members_may_be_read_in_any_order(tmp_path: Path) -> None:
    with io.FileIO(write_zip(tmp_path / "a.zip")) as file:
        members = list(iter_members(file, "a.zip"))
        found = {member.path: member.read() for member in reversed(members)}
    assert found == FILES


def test_a_zip_behind_other_bytes_and_one_of_both_kinds_are_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("e.npy", b"deflated" * 1000)
    assert contents(path) == {**FILES, "e.npy": b"deflated" * 1000}
    path = write_zip(tmp_path / "b.zip")
    path.write_bytes(b"PK\x03\x04 a stub" + path.read_bytes())
    assert contents(path) == FILES


DAMAGES: dict[str, Callable[[bytearray, int], None]] = {
    "content": lambda data, at: data.__setitem__(at + 100, data[at + 100] ^ 1),
    "signature": lambda data, at: data.__setitem__(at, 0),
    "name": lambda data, at: data.__setitem__(at + 30, ord("x")),
    "length of the extra field": lambda data, at: data.__setitem__(at + 28, 9),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_member_costs_only_itself(damage: str, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        DAMAGES[damage](data, archive.getinfo("c.npy").header_offset)
    if damage == "length of the extra field":  # zeros would have the CRC-32 of zeros
        with zipfile.ZipFile(path) as archive:
            data[archive.getinfo("d.npy").header_offset - 1] = 1
    path.write_bytes(data)
    assert contents(path) == {**FILES, "c.npy": b"damaged"}


def test_members_that_overlap_are_refused_as_a_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", bytes(1 << 20))
        archive.filelist *= 200  # the directory names one member many times
    with io.FileIO(path) as file:
        members = list(iter_members(file, "a.zip"))
        with pytest.raises(BombError, match="decompress to"):
            sum(len(member.read()) for member in members)


def test_a_member_beyond_the_end_is_damaged(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    with io.FileIO(path, "rb+") as file:
        members = list(iter_members(file, "a.zip"))
        file.truncate(100_000)
        with pytest.raises(EOFError, match="of 250000 bytes"):
            members[0].read()
        with pytest.raises(zipfile.BadZipFile, match="no header"):
            members[-1].read()
