"""`avstore match` shows what a build would find, and writes nothing."""

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.pipelines.cli.test_build import avstore

FILES = (
    "a b/00W1lcxW-WU_40.000.mp4",
    "00W1lcxW-WU_50000.mp4",
    "00W1lcxW-WU_77.mp4",
    "holiday, 2020.mp4",
    "spare/00W1lcxW-WU_000040.mp4",
    "-id_30.mp4",
)
CSV = (
    "00W1lcxW-WU,40,dog barking,train\n00W1lcxW-WU,50,dog barking,train\n"
    "xyz,50,dog barking,train\n-id,30,dog barking,train\n-id_30,5,dog barking,train\n"
)


@pytest.fixture(params=["folder", "zip"])
def call(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Arguments of a call; the same for a folder and an archive."""
    (tmp_path / "list.csv").write_text(CSV)
    source = tmp_path / "all videos"
    if request.param == "zip":
        source = tmp_path / "all videos.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for name in FILES:
                archive.writestr(name, "x")
    else:
        for name in FILES:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text("x")
    return [
        *("vggsound", "--source", str(source), "--annotations", str(tmp_path / "list.csv")),
        *("--store", str(tmp_path / "store")),
    ]


def counts(groups: list[dict]) -> dict[str, int]:
    return {group["name"]: group["count"] for group in groups}


def test_clips_and_files_are_counted_by_form_and_by_cause(call: list[str], tmp_path: Path) -> None:
    report = json.loads(avstore("match", *call, "--json").stdout)
    assert (report["clips"], report["files"]) == (5, 6)
    assert counts(report["found"]) == {"the dataset's own name": 1}
    assert report["spare"] == {"name": "", "count": 1, "examples": [FILES[0]]}
    assert counts(report["missing"]) == {
        "a file may be this clip or another": 2,
        "a file has the id, but another start or form": 1,
        "no file has the id": 1,
    }
    assert counts(report["unmatched"]) == {
        "may be one of several clips, so none is chosen; tell them apart with --names": 1,
        "start in milliseconds, without an end: add --names '{id}_{start_ms}'": 1,
        "their ids are in the list, but with other starts": 1,
        "no id in their names is in the list": 1,
    }
    assert not (tmp_path / "store").exists()
    text = avstore("match", *call).stdout
    assert "5 clips, 6 media files: 1 clip has a file" in text
    assert "holiday, 2020.mp4" in text


def test_the_printed_pattern_works(call: list[str]) -> None:
    report = json.loads(avstore("match", *call, "--names", "{id}_{start_ms}", "--json").stdout)
    assert counts(report["found"]) == {"--names": 1}
    assert report["found"][0]["examples"] == ["vggsound/00W1lcxW-WU_000050 = " + FILES[1]]


def test_no_clip_found_is_exit_code_1_and_a_wrong_pattern_2(call: list[str]) -> None:
    assert avstore("match", *call, "--names", "no {key}", check=False).returncode == 1
    wrong = avstore("match", *call, "--names", "{idd}", check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert "did you mean {id}?" in wrong.stderr


def test_the_web_has_no_files_to_match(call: list[str]) -> None:
    done = avstore("match", *call, "--source", "youtube", check=False)
    assert done.returncode == 2
    assert "give a folder or an archive as --source" in done.stderr


def test_rows_that_cannot_be_used_are_named(call: list[str], tmp_path: Path) -> None:
    listed = Path(call[call.index("--annotations") + 1])
    listed.write_text(f"{listed.read_text()}abcdefghijk,7,not a class,train\n")
    said = avstore("match", *call).stdout
    assert "1 annotation row could not be used" in said
    assert "unknown label 'not a class'" in said


def test_a_users_own_list_and_folder_are_matched(tmp_path: Path) -> None:
    videos = tmp_path / "my videos"
    videos.mkdir()
    for name in ("a.mp4", "spare.mp4"):
        (videos / name).write_text("x")
    (videos / "my.csv").write_text("file,end\na.mp4,\nb.mp4,\nc.mp4,-1\n")
    store = ("--store", tmp_path / "store")
    report = json.loads(avstore("match", videos / "my.csv", *store, "--json").stdout)
    assert (report["clips"], report["files"]) == (2, 2)
    assert counts(report["found"]) == {"column 'file'": 1}
    assert report["missing"][0]["examples"] == ["my/b (b.mp4)"]
    assert report["unmatched"][0]["examples"] == ["spare.mp4"]
    assert "row 4" in avstore("match", videos / "my.csv", *store).stdout
    assert "2 clips have a file" in avstore("match", videos, *store).stdout
    assert not (tmp_path / "store").exists()
    refused = avstore("match", videos / "my.csv", "--annotations", "a.csv", check=False)
    assert refused.returncode == 2
    assert "--annotations is not needed" in refused.stderr
    refused = avstore("match", "vggsound", check=False)
    assert refused.returncode == 2
    assert "add --source" in refused.stderr


def test_make_passes_the_pattern(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(CSV)
    (tmp_path / "x.mp4").write_text("x")
    done = subprocess.run(
        ["make", "vggsound-shards", f"SOURCE={tmp_path}", f"ANNOTATIONS={tmp_path}/list.csv",
         f"STORE={tmp_path}/store", "NAMES={idd}_{start:06d}"],
        cwd=REPO, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "did you mean {id}?" in done.stderr
