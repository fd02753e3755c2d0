"""Lists of a user's own videos: every usual form is read, and every fault is named."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avstore.datasets.own_data import clip_key, make_clips, read_list, safe_name
from avstore.datasets.spec import AnnotationError, Annotations, check_key

ROW = {"file": "a b/c.mp4", "start": 1.5, "end": 4, "labels": ["x", "y, z"], "split": "test"}


def parse(path: Path, text: str | bytes) -> Annotations:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return make_clips("mine", read_list(path))


@pytest.mark.parametrize(
    "text",
    [
        'file,start,end,label,split\na b/c.mp4,1.5,4,"x;y, z",test\n',
        '\ufeff"file";"start";"end";"label";"split"\r\na b/c.mp4;1.5;4;x|y, z;test\r\n',
        'File , Start,END, Labels ,split\n a b/c.mp4 , 1.5 ,4.0, "[""x"", ""y, z""]" , test \n\n',
        "path\tstart_s\tend_s\tlabels\tsplit\n./a b/c.mp4\t1.5\t4\tx;y, z\ttest\n",
        'file|start|end|label|split\na b/c.mp4|1.5|4|"x|y, z"|test\n',
    ],
)
def test_every_kind_of_csv(text: str, tmp_path: Path) -> None:
    (clip,) = parse(tmp_path / "my.csv", text).clips
    check_clip(clip)


def test_json_lines_and_parquet(tmp_path: Path) -> None:
    (clip,) = parse(tmp_path / "my.jsonl", json.dumps(ROW) + "\n\n").clips
    check_clip(clip)
    pq.write_table(pa.Table.from_pylist([ROW]), tmp_path / "my.parquet")
    (clip,) = make_clips("mine", read_list(tmp_path / "my.parquet")).clips
    check_clip(clip)


def check_clip(clip) -> None:
    assert (clip.key, clip.source_id) == ("a_b_c_000001-500", "a b/c.mp4")
    assert (clip.start_s, clip.end_s, clip.split) == (1.5, 4.0, "test")
    assert (clip.labels, clip.label_ids) == (("x", "y, z"), (0, 1))
    assert clip.extra == {"file": "a b/c.mp4"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",1,2,,", "neither a file nor a url"),
        ("a.mp4,x,2,,", "start 'x' is not a number of seconds"),
        ("a.mp4,1:20,2,,", "start '1:20' is not a number of seconds"),
        ("a.mp4,5,2,,", "end 2 is not after start 5"),
        ("a.mp4,-1,2,,", "start -1 is not from 0"),
        ("a.mp4,inf,,,", "start inf is not from 0"),
        ("a.mp4,1,2,../x,", "split '../x' may contain only"),
        ("a.mp4,1,2,,a/b", "key 'a/b' may contain only"),
        ("a.mp4,1", "2 fields, and the header has 5"),
        ("ok.mp4,,,,", "the key 'ok' is that of row 2"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_built(row: str, reason: str, tmp_path: Path) -> None:
    found = parse(tmp_path / "my.csv", f"file,start,end,split,key\nok.mp4,,,,\n{row}\n")
    assert [clip.key for clip in found.clips] == ["ok"]
    assert [bad.row for bad in found.bad_rows] == [3]
    assert reason in found.bad_rows[0].reason


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://x.org/a.mp4", "is not an http(s) address"),
        ("file:///etc/passwd", "is not an http(s) address"),
        ("https://", "is not an http(s) address"),
        ("https://me:secret@x.org/a.mp4", "contains a password"),
    ],
)
def test_bad_addresses(url: str, reason: str, tmp_path: Path) -> None:
    found = parse(tmp_path / "my.csv", f"url\nhttps://x.org/v/ok.mp4?sig=1\n{url}\n")
    assert [clip.key for clip in found.clips] == ["v_ok"]
    assert reason in found.bad_rows[0].reason
    assert "secret" not in found.bad_rows[0].reason


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("my.csv", "video,label\na.mp4,x\n", "no column file or url; its columns are video, label"),
        ("my.csv", "file,label\n,x\n", "no usable row; row 2: neither a file nor a url"),
        ("my.csv", "file,label\n", "no usable row"),
        ("my.csv", "file,label,labels\na.mp4,x,y\n", "columns label, labels for one field"),
        ("my.csv", "file,url\na.mp4,\n,https://x.org/a\n", "row 2) and addresses (row 3)"),
        ("my.csv", b"file\n\xe9t\xe9.mp4\n", "not UTF-8 text: byte 0xe9 in line 2"),
        ("my.csv", "", "is empty"),
        ("my.jsonl", "[1]\n", "no column file or url"),
        ("my.parquet", "PAR1", "cannot be read as Parquet"),
    ],
)
def test_an_unusable_list_is_one_line_that_says_why(
    name: str, content: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(AnnotationError) as caught:
        parse(tmp_path / name, content)
    assert message in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_unknown_columns_are_kept_and_named(tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("file,lable,width\na.mp4,x,\n")
    listed = read_list(tmp_path / "my.csv")
    assert listed.unknown == ["lable", "width"]
    assert make_clips("mine", listed).clips[0].extra == {"lable": "x", "file": "a.mp4"}


def test_labels_keep_their_ids(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text("file,label\na.mp4,wren\nb.mp4,auk\n")
    (a, b) = make_clips("mine", read_list(path), known_labels=["wren"]).clips
    assert (a.label_ids, b.label_ids) == ((0,), (1,))


def test_thousands_of_rows(tmp_path: Path) -> None:
    rows = "".join(f"{n % 90}/{n}.mp4,{n},{n + 3.5},c{n % 7}\n" for n in range(20_000))
    found = parse(tmp_path / "my.csv", "file,start,end,label\n" + rows)
    assert len(found.clips) == 20_000
    assert not found.bad_rows


@given(st.text(max_size=200))
def test_every_name_gives_a_key(name: str) -> None:
    assert check_key(safe_name(name)) is None
    assert safe_name(name) == safe_name(name)


def test_names_in_other_scripts_stay_apart(tmp_path: Path) -> None:
    found = parse(tmp_path / "my.csv", "file\n视频.mp4\n音乐.mp4\nété.mp4\n-x_y.mp4\n")
    assert len({clip.key for clip in found.clips}) == 4
    assert [clip.key for clip in found.clips][2:] == ["ete", "-x_y"]
    youtube = parse(tmp_path / "my.csv", "url,start\nhttps://youtu.be/-abc_DEF123,30\n"
                    "https://www.youtube.com/watch?v=-abc_DEF123&t=3,40\n")  # fmt: skip
    assert [clip.key for clip in youtube.clips] == ["-abc_DEF123_000030", "-abc_DEF123_000040"]
    assert clip_key(read_list(tmp_path / "my.csv").rows[0]) == "-abc_DEF123_000030"
