"""VGGSound's annotation files: published forms, real files, and rows that cannot be used."""

import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avstore.datasets.spec import AnnotationError, Annotations, MediaName, check_key
from avstore.datasets.vggsound import VGGSOUND, parse, vocabulary


def read(folder: Path, *contents: bytes | str) -> Annotations:
    paths = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        paths.append(path)
    return parse(paths)


def test_both_forms_header_bom_and_line_endings(tmp_path: Path) -> None:
    four = b"\xef\xbb\xbfyoutube id,start,label,split\r\n"
    four += b'-a_bcdefghi,30,"pigeon, dove cooing",train\r\n'
    two = "zz_000007_1_000030.mp4,playing banjo\n"
    found = read(tmp_path, four, two)
    first, second = found.clips
    assert (first.key, first.split, first.labels, first.category) == (
        "-a_bcdefghi_000030",
        "train",
        ("pigeon, dove cooing",),
        "animals",
    )
    assert (second.source_id, second.start_s, second.end_s) == ("zz_000007_1", 30.0, 40.0)
    assert second.split == "test"
    assert not found.bad_rows


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,30,playing banjo", "3 columns"),
        ("a,30,pigeon, dove cooing,train", "5 columns"),
        ("a,30,dog barkin,train", "'dog barking'"),
        ("a b,30,dog barking,train", "id 'a b'"),
        ("../a,30,dog barking,train", "path separator"),
        (",30,dog barking,train", "id ''"),
        ("a,-1,dog barking,train", "start '-1'"),
        ("a,1.5,dog barking,train", "start '1.5'"),
        ("a,nan,dog barking,train", "start 'nan'"),
        ("a,30,dog barking,valid", "split 'valid'"),
        ("a.mp4,dog barking", "'a.mp4'"),
        ('a,30,"dog barking,train', "not a row"),
        ("good,1,playing banjo,train", "row 1 of"),
        (b"a,30,dog b\xffrking,train", "not UTF-8"),
    ],
)
def test_bad_row_is_reported_and_other_rows_are_kept(
    tmp_path: Path, row: str | bytes, reason: str
) -> None:
    raw = row.encode() if isinstance(row, str) else row
    found = read(tmp_path, b"good,1,playing banjo,train\n\n" + raw + b"\nz,2,playing banjo,test\n")
    (bad,) = found.bad_rows
    assert bad.row == 3
    assert reason in bad.reason
    assert [clip.key for clip in found.clips] == ["good_000001", "z_000002"]


def test_second_file_may_repeat_a_clip_but_not_contradict(tmp_path: Path) -> None:
    full = "a,1,playing banjo,test\nb,1,playing banjo,train\n"
    assert not read(tmp_path, full, "a_000001.mp4,playing banjo\n").bad_rows
    (bad,) = read(tmp_path, full, "b_000001.mp4,playing banjo\n").bad_rows
    assert "train" in bad.reason


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf", b"nonsense\n", b"\x1f\x8bxx"])
def test_file_without_a_usable_row_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "0.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no/such"):
        parse([Path("/no/such.csv")])
    with pytest.raises(AnnotationError, match="no annotation file"):
        parse([])


def test_media_names_best_first(tmp_path: Path) -> None:
    (clip,) = read(tmp_path, "-a_b,30,playing banjo,train\n").clips
    assert VGGSOUND.media_names(clip) == (
        MediaName("-a_b_000030"),
        MediaName("-a_b_30000_40000"),
        MediaName("-a_b_30_40"),
        MediaName("-a_b", whole_video=True),
    )


def test_vocabulary() -> None:
    labels = vocabulary()
    assert [label.label_id for label in labels] == list(range(309))
    assert labels[308].mid == "vgg_308"
    sizes = {c: sum(x.category == c for x in labels) for c in {x.category for x in labels}}
    assert sizes == {
        **{"animals": 74, "music": 63, "people": 49, "others": 33, "vehicle": 30},
        **{"sports": 26, "tools": 12, "home": 11, "nature": 11},
    }


def test_real_files(shared_data: Path) -> None:
    folder = shared_data / "annotations" / "vggsound"
    test = parse([folder / "test.csv"])
    assert len(test.clips) == 15_446
    assert not test.bad_rows
    per_class = [sum(c.label_ids == (k,) for c in test.clips) for k in range(309)]
    assert set(per_class) <= {49, 50}
    both = parse([folder / "derived_labelled_subset.csv", folder / "test.csv"])
    assert len(both.clips) == 90_309
    assert not both.bad_rows


ROWS = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.text(string.printable, max_size=40).map(str.encode),
        st.builds(
            lambda i, s, label, split: f"{i},{s},{label},{split}".encode(),
            st.text("ab-_/.", max_size=4),
            st.integers(-1, 10**7),
            st.sampled_from(["playing banjo", '"pigeon, dove cooing"', "dog barkin"]),
            st.sampled_from(["train", "test", "val"]),
        ),
    ),
    max_size=20,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ROWS)
def test_any_bytes_give_clips_bad_rows_or_one_error(tmp_path: Path, rows: list[bytes]) -> None:
    try:
        found = read(tmp_path, b"\n".join(rows))
    except AnnotationError:
        return
    lines = b"\n".join(rows).replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1
    keys = [clip.key for clip in found.clips]
    assert len(keys) == len(set(keys))
    assert all(check_key(key) is None for key in keys)
    assert all(1 <= bad.row <= lines and bad.reason for bad in found.bad_rows)
