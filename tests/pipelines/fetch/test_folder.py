"""Test that clips are found in a folder by stem and used in place."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from avstore.datasets.spec import MediaName
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.attempt import Stopwatch, failed_result
from avstore.pipelines.fetch.error_classification import AttemptError
from avstore.pipelines.fetch.listed_files import ListedFilesSource
from avstore.pipelines.fetch.match_report import report_matches
from avstore.pipelines.fetch.open_source import open_source
from avstore.pipelines.fetch.source import FetchOptions, FetchResult, MediaRequest, SourceError


def make_request(key: str, *names: MediaName, start_s: float | None = 30.0) -> MediaRequest:
    return MediaRequest(f"vggsound/{key}", key, key[:11], start_s, 40.0, names or (MediaName(key),))


def fetch(folder: Path, *requests: MediaRequest) -> list[FetchResult]:
    source = open_source(str(folder), FetchOptions(), folder / "raw-is-not-used")
    return list(source.fetch(requests))


def write_file(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_clips_are_found_by_stem_in_any_sub_folder(tmp_path: Path) -> None:
    keys = ["-0_a-B_c1D2_000030", "__________a_000030", "Video123"]
    files = [
        write_file(tmp_path / f"{keys[0]}.MP4"),
        write_file(tmp_path / "train" / "dog barking" / f"{keys[1]}.webm"),
        write_file(tmp_path / "a" / "b" / "c" / f"{keys[2]}.MkV"),
    ]
    found = fetch(tmp_path, *map(make_request, keys))
    assert [f.path for f in found] == [str(f) for f in files]
    assert {f.status for f in found} == {"stored"}
    assert not (tmp_path / "raw-is-not-used").exists()


def test_a_whole_video_has_the_clips_start_as_offset(tmp_path: Path) -> None:
    write_file(tmp_path / "abcdefghijk.mp4")
    names = MediaName("abcdefghijk_000030"), MediaName("abcdefghijk", whole_video=True)
    (found,) = fetch(tmp_path, make_request("abcdefghijk_000030", *names))
    assert found.offset_s == 30.0
    write_file(tmp_path / "abcdefghijk_000030.mp4")
    (found,) = fetch(tmp_path, make_request("abcdefghijk_000030", *names))
    assert found.offset_s == 0.0, "the cut clip is preferred to the whole video"


def test_a_missing_clips_message_names_the_folder_and_the_stems(tmp_path: Path) -> None:
    write_file(tmp_path / "other.mp4")
    (found,) = fetch(tmp_path, make_request("abc", MediaName("abc"), MediaName("abc_000030")))
    assert (found.status, found.verdict) == ("absent", Verdict.NOT_IN_SOURCE)
    assert found.message == f"no abc.* or abc_000030.* in {tmp_path}"
    assert not found.charged


def test_of_several_files_an_empty_one_is_last_and_the_choice_is_noted(tmp_path: Path) -> None:
    write_file(tmp_path / "a.mp4", b"")
    webm = write_file(tmp_path / "b" / "a.webm")
    write_file(tmp_path / "c" / "a.mkv")
    (found,) = fetch(tmp_path, make_request("a"))
    assert found.path == str(webm)
    assert "3 files match this clip" in found.message


def test_links_to_files_are_followed_but_not_links_to_folders(tmp_path: Path) -> None:
    outside = write_file(tmp_path / "outside" / "far.mp4")
    inside = tmp_path / "videos"
    inside.mkdir()
    (inside / "near.mp4").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    (inside / "away").symlink_to(outside.parent)
    near, far = fetch(inside, make_request("near"), make_request("far"))
    assert near.status == "stored"
    assert far.status == "absent"
    assert "a link to a folder" in far.message


def test_files_that_are_no_media_are_ignored(tmp_path: Path) -> None:
    write_file(tmp_path / "x.mp4")
    for name in ("a.txt", "a.mp4.part", "a", "._a.mp4", "a.f137.mp4"):
        write_file(tmp_path / name)
    (tmp_path / "a.mp4").mkdir()
    (found,) = fetch(tmp_path, make_request("a"))
    assert found.status == "absent"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "absent", "does not exist"),
        (lambda p: write_file(p / "video.mp4"), "is a file"),
        (lambda p: write_file(p / "d" / "readme.txt").parent, "holds no media file"),
    ],
)
def test_an_unusable_folder_raises_a_clear_error(
    tmp_path: Path, make: object, message: str
) -> None:
    folder = make(tmp_path)
    with pytest.raises(SourceError, match=message) as caught:
        open_source(str(folder), FetchOptions(), tmp_path)
    assert str(folder) in str(caught.value)


def test_what_cannot_be_read_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = write_file(tmp_path / "good.mp4")
    closed = write_file(tmp_path / "closed" / "in.mp4").parent
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "dangling.mp4").symlink_to("nothing.mp4")
    (tmp_path / "loop").symlink_to("loop")
    scandir = os.scandir

    def refusing(folder: str) -> object:
        if folder == str(closed):
            raise PermissionError(errno.EACCES, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    found, *lost = fetch(tmp_path, *map(make_request, ("good", "loop", "in")))
    assert found.path == str(good)
    for result in lost:
        assert f"{tmp_path}/loop.mp4: Too many levels of symbolic links" in result.message
        assert f"{closed}: Permission denied" in result.message
    source = open_source(str(tmp_path), FetchOptions(), tmp_path)
    report = report_matches(source, [make_request("good")], None)
    assert (report.files, report.skipped.count) == (1, 3)


def test_a_file_of_a_list_that_cannot_be_read_costs_one_clip(tmp_path: Path) -> None:
    write_file(tmp_path / "good.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    names = ["good.mp4", "loop.mp4", "n" * 300 + ".mp4", "absent.mp4", "good.mp4/x.mp4"]
    requests = [replace(make_request(f"k{n}"), file=name) for n, name in enumerate(names)]
    results = list(ListedFilesSource(tmp_path).fetch(requests))
    assert [r.status for r in results] == ["stored", "retryable", "retryable", "absent", "absent"]
    assert "loop.mp4 cannot be used: Too many levels of symbolic links" in results[1].message


def test_messages_of_other_tools_are_recorded_without_control_characters() -> None:
    stopwatch = Stopwatch.start()
    failure = AttemptError(Verdict.UNKNOWN, "\r[download] Got error:\x1b[31m 404\r\n")
    result = failed_result(make_request("a"), failure, "urls", stopwatch)
    assert result.message == r"[download] Got error:\x1b[31m 404"


def test_a_mistyped_source_is_answered_by_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no source 'youtub' .did you mean 'youtube'"):
        open_source("youtub", FetchOptions(), tmp_path)
