"""Fetch clips from archives that are made to fill the disk or the memory."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.fetch.clips import make_request, make_source, tiny_video

GIB = 1 << 30
MIB = 1 << 20
VIDEO = tiny_video()
MEMBERS = 400


def sparse_tar(path: Path, size: int = 3 * GIB, members: int = 1) -> None:
    """Write GNU sparse members: a header each that claims `size` bytes, all of them a hole."""
    with path.open("wb") as file:
        for number in range(members):
            entry = tarfile.TarInfo(f"a{number}.mp4")
            entry.type = tarfile.GNUTYPE_SPARSE
            header = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
            header[386:410] = b"00000000000\0" + b"00000000000\0"  # an empty part at 0
            header[483:495] = f"{size:011o}\0".encode()  # the real size
            header[148:156] = b" " * 8
            header[148:156] = f"{sum(header):06o}\0 ".encode()
            file.write(header)
        file.write(bytes(1024))


def pax_sparse_tar(path: Path, version: str) -> None:
    """Write a sparse member as GNU tar does with --sparse-version."""
    size = 3 * GIB
    records = {
        "0.0": {"GNU.sparse.size": f"{size}", "GNU.sparse.numblocks": "1",
                "GNU.sparse.offset": "0", "GNU.sparse.numbytes": "0"},
        "0.1": {"GNU.sparse.size": f"{size}", "GNU.sparse.numblocks": "1",
                "GNU.sparse.map": "0,0", "GNU.sparse.name": "a0.mp4"},
        "1.0": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
                "GNU.sparse.realsize": f"{size}", "GNU.sparse.name": "a0.mp4"},
    }[version]  # fmt: skip
    data = b"1\n0\n0\n".ljust(512, b"\0") if version == "1.0" else b""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("a0.mp4")
        entry.size, entry.pax_headers = len(data), records
        archive.addfile(entry, io.BytesIO(data))


def many_member_zip(path: Path, members: int = 100) -> None:
    """Write many members of 12 MiB each, small enough to be taken one by one."""
    data = VIDEO + bytes(12 * MIB)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(members):
            archive.writestr(f"a{number}.mp4", data)


def header_tar(path: Path, kind: bytes, size: int = 3 * GIB) -> None:
    """Write a header that claims to be followed by a name or records of `size` bytes."""
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = kind, size
    with path.open("wb") as file:
        file.write(entry.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + size)


def header_tar_gz(path: Path) -> None:
    """Write the same, compressed, behind 40 MB that do not compress."""
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, GIB
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(entry.tobuf(tarfile.GNU_FORMAT))
        for _ in range(GIB // MIB):
            file.write(bytes(MIB))


def header_chain_tar(path: Path) -> None:
    """Write 2,000 long names of 512 KiB one after the other, before any member."""
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 512 << 10
    with path.open("wb") as file:
        for number in range(2000):
            file.seek(number * (512 + entry.size))
            file.write(entry.tobuf(tarfile.GNU_FORMAT))
        file.truncate(2000 * (512 + entry.size))


def global_headers_tar(path: Path) -> None:
    """Write members that each come with 500 KiB of global records of new names."""
    with path.open("wb") as file:
        for number in range(600):
            record = f"key{number}=" + "x" * (500 << 10) + "\n"
            data = f"{len(record) + 7} {record}".encode()
            head = tarfile.TarInfo("pax_global_header")
            head.type, head.size = tarfile.XGLTYPE, len(data)
            file.write(head.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512))
            file.write(tarfile.TarInfo(f"b{number}.txt").tobuf(tarfile.USTAR_FORMAT))
        file.write(bytes(1024))


def directory_zip(path: Path) -> None:
    """Write a zip whose end record claims a directory of 3 GB."""
    with path.open("wb") as file:
        file.write(b"PK\x03\x04" + bytes(26))
        file.seek(3 * GIB)
        end = b"PK\x05\x06" + bytes(4) + b"\xff\xff" * 2
        file.write(end + (3 * GIB - 64).to_bytes(4, "little") + bytes(4) + bytes(2))


BOMBS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "sparse": ("tar", sparse_tar),
    "many sparse": ("tar", lambda path: sparse_tar(path, 15 * MIB, MEMBERS)),
    **{
        f"sparse {version}": ("tar", lambda path, v=version: pax_sparse_tar(path, v))
        for version in ("0.0", "0.1", "1.0")
    },
    "many members": ("zip", many_member_zip),
    "a directory": ("zip", directory_zip),
    "a long name": ("tar", lambda path: header_tar(path, tarfile.GNUTYPE_LONGNAME)),
    "a long link": ("tar", lambda path: header_tar(path, tarfile.GNUTYPE_LONGLINK)),
    "records": ("tar", lambda path: header_tar(path, tarfile.XHDTYPE)),
    "global records": ("tar", lambda path: header_tar(path, tarfile.XGLTYPE)),
    "a compressed long name": ("tar.gz", header_tar_gz),
    "a chain of long names": ("tar", header_chain_tar),
    "many global records": ("tar", global_headers_tar),
}

_RUN = """
import json, resource, sys
from pathlib import Path
from tests.pipelines.fetch.clips import make_request, make_source
source = make_source(sys.argv[1], Path(sys.argv[2]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
results = list(source.fetch([make_request(f"a{n}") for n in range(400)]))
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([grown * 1024, [[r.status, r.message] for r in results]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_neither_disk_nor_memory(tmp_path: Path, name: str) -> None:
    extension, write = BOMBS[name]
    path, store = tmp_path / f"all.{extension}", tmp_path / "store"
    write(path)
    packed = path.stat().st_blocks * 512
    command = [sys.executable, "-c", _RUN, str(path), str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, results = json.loads(done.stdout)
    stored = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    assert grown < 200 * MIB
    assert stored <= max(100 * packed, 17 * MIB)
    assert len(results) == MEMBERS
    assert any(status != "stored" for status, _ in results)
    if name != "many global records":  # an archive that can be read, without these clips
        messages = " ".join(message for _, message in results)
        assert any(word in messages for word in ("decompress to", "header of", "directory of"))


@pytest.mark.parametrize("number", [b"9" * 5000, b"-5", b"x"])
def test_numbers_that_are_none_are_damage(tmp_path: Path, number: bytes) -> None:
    with tarfile.open(tmp_path / "all.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("a.mp4")
        entry.size, entry.pax_headers = len(VIDEO), {"size": number.decode()}
        archive.addfile(entry, io.BytesIO(VIDEO))
    (result,) = make_source(tmp_path / "all.tar", tmp_path / "store").fetch([make_request("a")])
    assert result.status != "stored"
    assert result.message


def test_compressible_files_and_many_clips_are_no_bomb(tmp_path: Path) -> None:
    annotations = b"abcdefghijk_000030,30,dog barking,train\n" * 300_000  # 12 MB, 150 times smaller
    names = [f"a{number}" for number in range(300)]
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        for name, data in [
            *((f"{name}.mp4", VIDEO + name.encode()) for name in names),
            ("vggsound.csv", annotations),
            (f"{'long/' * 100}last.mp4", VIDEO),
        ]:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    requests = [make_request(name) for name in [*names, "last"]]
    results = list(make_source(tmp_path / "all.tar.gz", tmp_path / "store").fetch(requests))
    assert {result.status for result in results} == {"stored"}


def test_a_small_sparse_member_is_read(tmp_path: Path) -> None:
    """A hole within the hundredfold is no bomb: GNU tar writes it for a file with zeros in it."""
    path = tmp_path / "all.tar"
    (tmp_path / "a.mp4").write_bytes(VIDEO + bytes(4 * MIB) + b"end")
    subprocess.run(["tar", "-S", "-cf", path, "-C", tmp_path, "a.mp4"], check=True)
    (result,) = make_source(path, tmp_path / "store").fetch([make_request("a")])
    assert result.status == "stored", result.message
    assert Path(result.path or "").read_bytes() == (tmp_path / "a.mp4").read_bytes()
