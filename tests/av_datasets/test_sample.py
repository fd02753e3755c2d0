"""The embedded sample: complete, in VGGSound's format, and the same bytes every time."""

import hashlib
from collections import Counter
from pathlib import Path

import av
import pytest

from avstore.datasets.sample import SAMPLE, SamplePaths, make_sample
from avstore.datasets.sample.corpus import sample_clips
from avstore.datasets.vggsound import vocabulary

pytestmark = pytest.mark.slow


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SamplePaths:
    return make_sample(tmp_path_factory.mktemp("sample"))


def test_rows_are_vggsound_with_every_class_in_both_splits(made: SamplePaths) -> None:
    found = SAMPLE.parse(made.annotations)
    assert not found.bad_rows
    good = {clip.file for clip in sample_clips() if clip.defect is None}
    clips = [c for c in found.clips if {f"{c.key}.mp4", f"{c.key}.webm"} & good]
    assert len(clips) == 80
    per_class = Counter((clip.labels, clip.split) for clip in clips)
    assert set(per_class.values()) == {2, 3}
    assert len({label for label, _ in per_class}) == 16
    categories = {label.label: label.category for label in vocabulary()}
    assert Counter(categories[labels[0]] for labels, _ in per_class if labels) == dict.fromkeys(
        ("sports", "music", "animals", "vehicle"), 8
    )


def test_good_clips_decode_to_ten_seconds_of_both(made: SamplePaths) -> None:
    codecs = Counter()
    for clip in [c for c in sample_clips() if c.defect is None][::8]:
        with av.open(str(made.videos / clip.file)) as video:
            stream = video.streams.video[0]
            codecs[stream.codec_context.name, video.streams.audio[0].codec_context.name] += 1
            frames = list(video.decode(video=0))
            assert len(frames) == 250
            assert (frames[0].width, frames[0].height) == (320, 240)
    assert {"h264", "aac"} in [set(pair) for pair in codecs]


def test_defects_are_what_they_are_called(made: SamplePaths) -> None:
    by_defect = {clip.defect: made.videos / clip.file for clip in sample_clips() if clip.defect}
    assert not by_defect["absent"].exists()
    with pytest.raises(av.error.FFmpegError):
        av.open(str(by_defect["not_a_video"]))
    with av.open(str(by_defect["no_audio"])) as video:
        assert not video.streams.audio
    with av.open(str(by_defect["truncated"])) as video:
        assert video.duration > 9_900_000
        assert video.streams.video[0].frames == 250
    with av.open(str(by_defect["too_short"])) as video:
        assert video.duration < 2_200_000
    with av.open(str(by_defect["silent"])) as video:
        assert max(abs(f.to_ndarray()).max() for f in video.decode(audio=0)) < 1e-4


def test_some_clips_are_webm() -> None:
    assert sum(clip.suffix == ".webm" for clip in sample_clips()) == 4


def test_rerun_after_a_kill_completes_with_the_same_bytes(made: SamplePaths) -> None:
    folder = made.videos.parent
    before = hashes(folder)
    seen: list[tuple[int, int]] = []
    made.annotations[0].unlink()
    removed = [path for path in sorted(made.videos.iterdir()) if path.suffix == ".webm"][:2]
    removed += sorted(made.videos.glob("*.mp4"))[:2]
    for path in removed:
        path.unlink()
    (made.videos / ".half.mp4.tmp").write_bytes(b"half")
    make_sample(folder, lambda done, total: seen.append((done, total)))
    assert hashes(folder) == before
    assert seen[0] == (82, 86)
    assert seen[-1] == (86, 86)


def test_complete_sample_is_left_alone(made: SamplePaths) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.videos.parent.rglob("*")}
    make_sample(made.videos.parent)
    assert {path: path.stat().st_mtime_ns for path in made.videos.parent.rglob("*")} == before
