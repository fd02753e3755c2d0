"""Fetch clips from archives: every format, split, remote, damaged, hostile."""

import gzip
import io
import random
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.source import FetchResult, SourceError
from tests.pipelines.fetch.clips import QUICK, make_request, make_source, tiny_video
from tests.servers.media_server import MediaServer

VIDEO = tiny_video()
NAMES = ["-a_b", "__c", "video7"]


def contents() -> dict[str, bytes]:
    """Return members by name; each video ends in its own name, so that all of them differ."""
    videos = {f"some/folder/{name}.mp4": VIDEO + name.encode() for name in NAMES}
    return {"readme.txt": b"hello", **videos}


def make_zip(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def make_tar(members: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


ARCHIVERS = {
    "all.zip": make_zip,
    "all.tar": make_tar,
    "all.tar.gz": lambda m: make_tar(m, "w:gz"),
    "all.tgz": lambda m: make_tar(m, "w:gz"),
    "all.tar.bz2": lambda m: make_tar(m, "w:bz2"),
    "all.tar.xz": lambda m: make_tar(m, "w:xz"),
}


def fetch(archive: str | Path, store: Path, *keys: str, options=QUICK) -> dict[str, FetchResult]:
    results = list(make_source(archive, store, options).fetch([make_request(key) for key in keys]))
    assert len(results) == len(keys)
    return {result.clip_id.removeprefix("toy/"): result for result in results}


def check_all_stored(results: dict[str, FetchResult], store: Path) -> None:
    for name in NAMES:
        path = store / "raw" / "toy" / f"{name}.mp4"
        assert results[name].status == "stored", results[name].message
        assert results[name].path == str(path)
        assert path.read_bytes() == VIDEO + name.encode()
    leftovers = list((store / "raw" / "toy" / ".incoming").rglob("*"))
    assert not leftovers


@pytest.mark.parametrize("name", ARCHIVERS)
def test_clips_are_read_from_every_archive_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(ARCHIVERS[name](contents()))
    found = fetch(tmp_path / name, tmp_path / "store", *NAMES, "absent")
    check_all_stored(found, tmp_path / "store")
    absent = found["absent"]
    assert (absent.status, absent.verdict) == ("absent", Verdict.NOT_IN_SOURCE)
    assert "no absent.*" in absent.message
    assert name in absent.message


@pytest.mark.parametrize("suffix", ["{:02d}", "part{:03d}", "letters", "{:03d} from 1"])
@pytest.mark.parametrize("name", ["all.tar.gz", "all.zip", "all.tar"])
def test_the_parts_of_a_split_archive_are_read_as_one(
    tmp_path: Path, name: str, suffix: str
) -> None:
    data = ARCHIVERS[name](contents())
    size = len(data) // 5 + 1
    first = 1 if suffix.endswith("from 1") else 0
    paths = []
    for number in range(5):
        end = "part" + "a" + "abcde"[number] if suffix == "letters" else None
        end = end or suffix.removesuffix(" from 1").format(number + first)
        paths.append(tmp_path / f"{name}.{end}")
        paths[-1].write_bytes(data[number * size : (number + 1) * size])
    check_all_stored(fetch(paths[2], tmp_path / "a", *NAMES), tmp_path / "a")
    check_all_stored(fetch(tmp_path / f"{name}.*", tmp_path / "b", *NAMES), tmp_path / "b")
    paths[1].unlink()
    with pytest.raises(SourceError, match="a part is missing"):
        make_source(paths[0], tmp_path / "c")


def test_a_folder_of_archives_is_searched(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for number, (name, data) in enumerate(contents().items()):
        (mirror / f"part_{number:02d}.tar.gz").write_bytes(make_tar({name: data}, "w:gz"))
    (mirror / "README.md").write_text("a mirror")
    check_all_stored(fetch(mirror, tmp_path / "store", *NAMES), tmp_path / "store")


def test_an_unreadable_archive_does_not_affect_the_others(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "a.tar").write_bytes(b"")
    (mirror / "b.zip").write_bytes(make_zip(contents())[:-30])
    (mirror / "c.tar").write_bytes(make_tar({f"{NAMES[0]}.mp4": VIDEO}))
    found = fetch(mirror, tmp_path / "store", *NAMES)
    assert [found[name].status for name in NAMES] == ["stored", "retryable", "retryable"]
    assert "a.tar" in found[NAMES[1]].message
    assert "b.zip" in found[NAMES[1]].message


def test_a_second_run_does_not_read_the_archive_for_stored_clips(tmp_path: Path) -> None:
    path = tmp_path / "all.tar"
    path.write_bytes(make_tar(contents()))
    first = fetch(path, tmp_path / "store", *NAMES)
    second_source = make_source(path, tmp_path / "store")
    path.unlink()
    second = {r.clip_id: r for r in second_source.fetch([make_request(name) for name in NAMES])}
    assert [r.path for r in second.values()] == [r.path for r in first.values()]


def test_clips_of_one_whole_video_share_its_file(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    path.write_bytes(make_zip({"videos/abcdefghijk.mp4": VIDEO}))
    requests = [make_request(f"abcdefghijk_{n}", whole="abcdefghijk") for n in range(3)]
    for _ in range(2):  # the second time from the committed files
        found = list(make_source(path, tmp_path / "store").fetch(requests))
        assert [r.offset_s for r in found] == [30.0] * 3
        files = {Path(r.path) for r in found}
        assert len(files) == 3
        assert len({file.stat().st_ino for file in files}) == 1


def test_a_corrupt_zip_member_fails_only_its_clip(tmp_path: Path) -> None:
    data = bytearray(make_zip(contents()))
    at = data.index(VIDEO + NAMES[1].encode()) + len(VIDEO) // 2
    data[at] ^= 0xFF
    (tmp_path / "all.zip").write_bytes(data)
    found = fetch(tmp_path / "all.zip", tmp_path / "store", *NAMES)
    assert [found[name].status for name in NAMES] == ["stored", "rejected", "stored"]
    assert found[NAMES[1]].verdict is Verdict.TRUNCATED
    assert "Bad CRC-32" in found[NAMES[1]].message


def test_a_corrupt_tar_header_fails_only_its_clip(tmp_path: Path) -> None:
    data = bytearray(make_tar(contents()))
    at = data.index(f"some/folder/{NAMES[1]}.mp4".encode())
    data[at : at + 512] = random.Random(1).randbytes(512)
    (tmp_path / "all.tar").write_bytes(data)
    found = fetch(tmp_path / "all.tar", tmp_path / "store", *NAMES)
    assert [found[name].status for name in NAMES] == ["stored", "absent", "stored"]


@pytest.mark.parametrize("name", ["all.tar", "all.tar.gz", "all.zip"])
def test_a_truncated_archive_gives_the_members_before_its_end(tmp_path: Path, name: str) -> None:
    data = ARCHIVERS[name](contents())
    (tmp_path / name).write_bytes(data[: len(data) * 2 // 3])
    found = fetch(tmp_path / name, tmp_path / "store", *NAMES)
    last = found[NAMES[-1]]
    assert last.status in ("retryable", "rejected"), "the member may be in the missing part"
    assert name in last.message
    if name == "all.tar":
        assert found[NAMES[0]].status == "stored"


def test_a_member_that_is_no_media_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(make_zip({"a.mp4": b"<html>sorry</html>", "b.mp4": VIDEO}))
    found = fetch(tmp_path / "all.zip", tmp_path / "store", "a", "b")
    assert found["a"].status != "stored"
    assert "<html>sorry</html>" in found["a"].message
    assert found["b"].status == "stored"


def test_member_names_are_never_used_as_paths(tmp_path: Path) -> None:
    hostile = {
        "../../../../outside/up.mp4": VIDEO,
        "/etc/cron.d/root.mp4": VIDEO,
        "C:\\windows\\back.mp4": VIDEO,
    }
    for name in ("all.zip", "all.tar"):
        store = tmp_path / name.replace(".", "_")
        (tmp_path / name).write_bytes(ARCHIVERS[name](hostile))
        found = fetch(tmp_path / name, store, "up", "root", "back")
        assert {Path(r.path).parent for r in found.values()} == {store / "raw" / "toy"}
    assert not (tmp_path / "outside").exists()
    assert not Path("/etc/cron.d/root.mp4").exists()


def test_links_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(VIDEO)
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        entry = tarfile.TarInfo("a.mp4")
        entry.type, entry.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(entry)
    found = fetch(tmp_path / "all.tar", tmp_path / "store", "a")
    assert found["a"].status == "rejected"
    assert "link" in found["a"].message


def test_decompression_bombs_are_refused(tmp_path: Path) -> None:
    big = VIDEO + bytes(64 << 20)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.mp4", big)
        archive.writestr("b.mp4", VIDEO)
    (tmp_path / "all.zip").write_bytes(file.getvalue())
    found = fetch(tmp_path / "all.zip", tmp_path / "store", "a", "b")
    assert found["a"].status == "rejected"
    assert "decompress to" in found["a"].message
    assert found["b"].status == "stored"

    packed = gzip.compress(make_tar({"z.bin": bytes(64 << 20), "a.mp4": VIDEO}))
    (tmp_path / "all.tar.gz").write_bytes(packed)
    found = fetch(tmp_path / "all.tar.gz", tmp_path / "other", "a")
    assert found["a"].status == "retryable"
    assert "given up" in found["a"].message


def test_a_member_larger_than_max_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "all.tar").write_bytes(make_tar({"a.mp4": VIDEO + bytes(100_000)}))
    options = replace(QUICK, max_bytes=50_000)
    found = fetch(tmp_path / "all.tar", tmp_path / "store", "a", options=options)
    assert found["a"].status == "rejected"
    assert "max_bytes" in found["a"].message


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [("a.tar", b"", "it is empty"), ("a.zip", b"Rar!\x1a\x07", "no archive of a known kind")],
)
def test_a_file_that_is_no_archive_raises_a_clear_error(tmp_path, name, data, message) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=message):
        fetch(tmp_path / name, tmp_path / "store", "a")


@pytest.mark.parametrize("name", ARCHIVERS)
def test_archives_are_read_over_http(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(ARCHIVERS[name](contents()))
    with MediaServer(tmp_path) as server:
        check_all_stored(fetch(f"{server.url}/ok/{name}", tmp_path / "a", *NAMES), tmp_path / "a")
        assert any(span for *_, span in server.log.requests), "read by ranges"
        found = fetch(f"{server.url}/norange/{name}", tmp_path / "b", *NAMES)
        check_all_stored(found, tmp_path / "b")


@pytest.mark.parametrize("behaviour", ["3x503", "2xreset", "2xshort", "3x429"])
def test_an_archive_is_read_over_a_bad_connection(tmp_path: Path, behaviour: str) -> None:
    (tmp_path / "all.tar.gz").write_bytes(make_tar(contents(), "w:gz"))
    with MediaServer(tmp_path) as server:
        found = fetch(f"{server.url}/{behaviour}/all.tar.gz", tmp_path / "store", *NAMES)
    check_all_stored(found, tmp_path / "store")


def test_parts_are_found_over_http_without_a_folder_listing(tmp_path: Path) -> None:
    data = make_tar(contents(), "w:gz")
    for number in range(3):
        size = len(data) // 3 + 1
        part = data[number * size : (number + 1) * size]
        (tmp_path / f"all.tar.gz.{number:02d}").write_bytes(part)
    with MediaServer(tmp_path) as server:
        found = fetch(f"{server.url}/2x503/all.tar.gz.00", tmp_path / "store", *NAMES)
    check_all_stored(found, tmp_path / "store")
