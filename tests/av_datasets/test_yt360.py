"""YT-360: ids and seconds, videos of neither split, the format from YouTube, and its verdicts."""

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yt_dlp import YoutubeDL

from avstore.datasets.spec import AnnotationError, Annotations
from avstore.datasets.yt360 import YT360
from avstore.manifests import open_store
from avstore.pipelines.fetch.file_matching import FileMatcher, assign_files
from avstore.pipelines.fetch.source import FetchOptions, MediaRequest
from avstore.pipelines.fetch.ytdlp import ytdlp_options
from tests.conftest import REPO
from tests.pipelines.cli.test_build import avstore
from tests.pipelines.cli.test_members import spatial


def read(folder: Path, **files: str) -> Annotations:
    paths = [folder / f"{name}.txt" for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.write_text(text)
    return YT360.parse(paths)


def test_clips_of_ids_that_look_like_times(tmp_path: Path) -> None:
    found = read(tmp_path, segments="-a-b_12-345 5,15\n99999999-30 40414", train="-a-b_12-345\n",
                 test="99999999-30")  # fmt: skip
    assert [(clip.key, clip.split) for clip in found.clips] == [
        ("-a-b_12-345-5", "train"),
        ("-a-b_12-345-15", "train"),
        ("99999999-30-40414", "test"),
    ]
    assert (found.clips[2].start_s, found.clips[2].end_s) == (40_414.0, 40_424.0)
    wanted = [
        MediaRequest(c.clip_id, c.key, c.source_id, c.start_s, c.end_s, YT360.media_names(c))
        for c in found.clips
    ]
    files = ["-a-b_12-345-5.mp4", "-a-b_12-345_000015.mp4", "99999999-30.mkv"]
    paths = assign_files(FileMatcher(wanted), [(file, False) for file in files]).clips
    assert [paths[request.clip_id].path for request in wanted] == files
    assert paths["yt360/99999999-30-40414"].match.whole


def test_videos_of_neither_split_are_named_with_the_number_of_their_clips(tmp_path: Path) -> None:
    found = read(tmp_path, segments="in 1\nout 3,20,40\none 5", train="in\n", test="gone\nin\n")
    assert [clip.key for clip in found.clips] == ["in-1"]
    reasons = [(Path(bad.file).name, bad.row, bad.reason) for bad in found.bad_rows]
    assert reasons == [
        ("test.txt", 1, "id 'gone' has no segments"),
        ("test.txt", 2, f"duplicate of 'in' in row 1 of {tmp_path}/train.txt"),
        ("segments.txt", 2, "id 'out' is not in train.txt and test.txt: 3 segments left out"),
        ("segments.txt", 3, "id 'one' is not in train.txt and test.txt: 1 segment left out"),
    ]


def test_without_lists_clips_are_unassigned_and_without_segments_there_are_none(
    tmp_path: Path,
) -> None:
    assert [clip.split for clip in read(tmp_path, segments="a 1,11").clips] == ["unassigned"] * 2
    with pytest.raises(AnnotationError, match=r"train\.txt has ids only; pass segments\.txt"):
        read(tmp_path, train="a\n")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("b", "1 columns"),
        ("b 1 2", "3 columns"),
        ("b/c 1", "path separator"),
        ("b 1,x", "start 'x' is not a whole second"),
        ("b 1,,3", "start '' is not a whole second"),
        ("b 1,-3", "start '-3'"),
        ("b 5,15,15", "start 15 after 15; expected increasing seconds"),
        ("a 3", "duplicate of 'a' in row 1"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: str, reason: str) -> None:
    found = read(tmp_path, segments=f"a 1\n{row}\n")
    assert [clip.key for clip in found.clips] == ["a-1"]
    assert [(bad.row, reason in bad.reason) for bad in found.bad_rows] == [(2, True)]


IDS = st.text(string.ascii_letters + string.digits + "-_", min_size=11, max_size=11)
STARTS = st.lists(st.integers(0, 50_000), min_size=1, max_size=6, unique=True).map(sorted)


@given(st.dictionaries(IDS, st.tuples(STARTS, st.sampled_from(["train", "test"])), min_size=1))
def test_every_segment_is_one_clip(tmp_path_factory: pytest.TempPathFactory, videos: Any) -> None:
    files = {"segments": "\n".join(f"{v} {','.join(map(str, s))}" for v, (s, _) in videos.items())}
    for split in ("train", "test"):
        listed = [name for name, (_, own) in videos.items() if own == split]
        files |= {split: "\n".join(listed)} if listed else {}
    found = read(tmp_path_factory.mktemp("lists"), **files)
    assert not found.bad_rows
    assert [(c.source_id, c.start_s, c.split) for c in found.clips] == [
        (name, start, split) for name, (starts, split) in videos.items() for start in starts
    ]


def test_the_published_videos_of_neither_split(shared_data: Path) -> None:
    folder = shared_data / "annotations/yt360"
    found = YT360.parse([folder / f"{name}.txt" for name in ("segments", "train", "test")])
    assert len({clip.source_id for clip in found.clips}) == 5_506
    assert sum(clip.source_id.startswith("-") for clip in found.clips) > 0
    left_out = [int(bad.reason.split(": ")[1].split()[0]) for bad in found.bad_rows]
    assert (len(left_out), sum(left_out)) == (217, 2_422)


def video(name: str, width: int, height: int, note: str, codec: str = "vp9") -> dict[str, Any]:
    return {"format_id": name, "ext": "webm", "vcodec": codec, "acodec": "none", "width": width,
            "height": height, "tbr": height * 4.0, "format_note": note}  # fmt: skip


def sound(name: str, channels: int, note: str, codec: str = "opus") -> dict[str, Any]:
    return {"format_id": name, "ext": "webm" if codec == "opus" else "m4a", "vcodec": "none",
            "acodec": codec, "audio_channels": channels, "abr": channels * 60.0,
            "tbr": channels * 60.0, "format_note": note}  # fmt: skip


def chosen(formats: list[dict[str, Any]], **options: Any) -> list[str]:
    """Return what yt-dlp selects of formats, described as its YouTube extractor does."""
    selection = FetchOptions(**({"format": YT360.ytdlp_format} | options))
    with YoutubeDL({**ytdlp_options(selection), "quiet": True, "no_warnings": True}) as ydl:
        info = ydl.process_video_result(
            {"id": "x", "title": "x", "extractor": "youtube", "webpage_url": "https://e.org/x",
             "formats": [{**each, "url": "https://e.org/x"} for each in formats]}, download=False
        )  # fmt: skip
    return info["format_id"].split("+")


PANORAMA = [
    video("278", 256, 128, "144s, equi"),
    video("247", 1280, 640, "720s, equi"),
    video("313", 3840, 1920, "2160s, equi"),
]
CUBE_MAP = [video("m1", 1280, 720, "720s, mesh"), video("m2", 3840, 2160, "2160s, mesh")]
TOP_BOTTOM = [video("t1", 640, 640, "720s, equi_threed_top_bottom")]
STEREO = [sound("251", 2, "medium"), sound("140", 2, "medium", "mp4a.40.2")]
QUAD = sound("338", 4, "high, ambisonics_quad")
AAC = sound("258", 6, "high, ambisonics_5_1", "mp4a.40.2")
HEAD_LOCKED = sound("339", 6, "high, foa_with_non_diegetic")


@pytest.mark.parametrize(
    ("formats", "expected"),
    [
        ([*PANORAMA, *STEREO, AAC, QUAD], ["247", "338"]),
        ([*PANORAMA, *CUBE_MAP, *STEREO, QUAD], ["247", "338"]),
        ([*PANORAMA, *TOP_BOTTOM, *STEREO, HEAD_LOCKED, AAC], ["247", "339"]),
        ([PANORAMA[2], CUBE_MAP[0], *STEREO, AAC], ["313", "258"]),
        ([video("noted", 1280, 640, "720p"), sound("four", 4, "high")], ["noted", "four"]),
        ([video("mesh", 1280, 640, "720s, mesh"), PANORAMA[0], QUAD], ["278", "338"]),
        # Rejected by name when they are extracted:
        ([*CUBE_MAP, *STEREO, QUAD], ["m1", "338"]),  # wrong_projection
        ([*PANORAMA, STEREO[1]], ["247", "140"]),  # wrong_channels
    ],
)
def test_the_format_of_a_panorama_with_ambisonic_sound(
    formats: list[dict[str, Any]], expected: list[str]
) -> None:
    assert chosen(formats) == expected


def test_a_format_of_your_own_counts_and_the_usual_one_stays() -> None:
    both = [*PANORAMA, *CUBE_MAP, *STEREO, QUAD]
    assert chosen(both, format="bv[format_note*=mesh]+ba[audio_channels=4]") == ["m2", "338"]
    assert chosen([*PANORAMA, *STEREO], format="") == ["278", "251"]


def small_recipe(folder: Path) -> Path:
    """Write the dataset's recipe with an eighth of its size."""
    text = (REPO / f"pipelines/extract/recipes/{YT360.recipe}.toml").read_text()
    path = folder / "small.toml"
    for old, new in (("1024", "128"), ("512", "64"), (f'"{YT360.recipe}"', '"small"')):
        text = text.replace(f"= {old}\n", f"= {new}\n")
    path.write_text(text)
    return path


@pytest.mark.slow
def test_clips_without_ambisonic_sound_or_panorama_are_rejected_by_name(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    spatial(tmp_path / "videos/-a-b-5.mkv")
    spatial(tmp_path / "videos/stereo-5.mkv", channels=2)
    spatial(tmp_path / "videos/flat-5.mkv", size="320x180")
    (tmp_path / "segments.txt").write_text("-a-b 5\nstereo 5\nflat 5\nabsent 7\nout 1,20")
    (tmp_path / "train.txt").write_text("-a-b\nstereo\nflat\nabsent\n")
    lists = f"{tmp_path}/segments.txt,{tmp_path}/train.txt"
    words = ("--source", tmp_path / "videos", "--annotations", lists, "--workers", "1")
    words = (*words, "--recipe", small_recipe(tmp_path))
    done = avstore("build", "yt360", *words, "--store", tmp_path / "data")
    assert "4 wanted = 1 stored, 2 rejected, 1 absent" in " ".join(done.stdout.split())
    with open_store(str(tmp_path / "data")) as store:
        verdicts = store.query("SELECT clip_id, verdict FROM quality ORDER BY ALL").rows()
        reasons = store.query("SELECT reason FROM annotation_errors").rows()
    assert [(row["clip_id"], row["verdict"]) for row in verdicts if row["verdict"]] == [
        ("yt360/flat-5", "wrong_projection"),
        ("yt360/stereo-5", "wrong_channels"),
    ]
    left_out = "id 'out' is not in train.txt: 2 segments left out"
    assert [row["reason"] for row in reasons] == [left_out]
