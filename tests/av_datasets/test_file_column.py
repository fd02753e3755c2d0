"""Test the column `file` that a user may add to a published list."""

from pathlib import Path

import pytest

from avstore.datasets.registry import get

LISTS = {
    "vggsound": (
        "youtube_id,start,file,label,split\n"
        '-a_b,30,"my videos/a, b.mp4",dog barking,train\n'
        "c,30,,dog barking,test\n"
    ),
    "audioset": (
        "# Segments csv\n# YTID, start_seconds, end_seconds, positive_labels, file\n"
        '-a_b, 30.000, 40.000, "/m/09x0r,/t/dd00088", "my videos/a, b.mp4"\n'
        'c, 30.000, 40.000, "/m/09x0r", \n'
    ),
    "llp": (
        "filename\tevent_labels\tfile\n"
        "-a_b_30_40\tSpeech,Dog\tmy videos/a, b.mp4\nc_30_40\tSpeech\t\n"
    ),
}


@pytest.mark.parametrize("dataset", LISTS)
def test_the_file_goes_to_the_clip(dataset: str, tmp_path: Path) -> None:
    path = tmp_path / ("balanced_train_segments.csv" if dataset == "audioset" else "train.csv")
    path.write_text(LISTS[dataset])
    parsed = get(dataset).parse([path])
    assert list(parsed.bad_rows) == []
    assert [dict(clip.extra) for clip in parsed.clips] == [{"file": "my videos/a, b.mp4"}, {}]
    assert [clip.source_id for clip in parsed.clips] == ["-a_b", "c"]


@pytest.mark.parametrize("file", ["/etc/passwd", "../a.mp4", "a/../../b.mp4", "..\\a.mp4"])
def test_a_file_outside_the_source_is_a_bad_row(file: str, tmp_path: Path) -> None:
    path = tmp_path / "vggsound.csv"
    path.write_text(f"id,start,label,split,file\na,1,dog barking,train,{file}\n"
                    "b,1,dog barking,train,b.mp4\n")  # fmt: skip
    parsed = get("vggsound").parse([path])
    assert [bad.row for bad in parsed.bad_rows] == [2]
    assert "relative to SOURCE" in parsed.bad_rows[0].reason
