"""Test which clip a file name gives: the forms in use, and never the wrong clip."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.datasets.registry import get
from avstore.datasets.spec import Clip, MediaName
from avstore.datasets.youtube import clip_names
from avstore.pipelines.fetch.containers import EXTENSIONS
from avstore.pipelines.fetch.file_matching import FileMatcher, assign_files
from avstore.pipelines.fetch.requests import clip_request
from avstore.pipelines.fetch.source import MediaRequest, SourceError

ID = "00W1lcxW-WU"


def request(
    source_id: str, start: float | None, end: float | None = None, **more: object
) -> MediaRequest:
    """A clip as VGGSound and AudioSet name it; [start, start + 10) by default."""
    if start is not None and end is None:
        end = start + 10
    names = clip_names(source_id, start or 0.0, end or 10.0)
    key = source_id if start is None else names[0].stem
    return MediaRequest(
        f"toy/{key}.{start}.{end}",
        key,
        source_id,
        start,
        end,
        names,
        **more,  # type: ignore[arg-type]
    )


def found(path: str, *requests: MediaRequest, names: str | None = None) -> list[tuple[str, bool]]:
    """Return (clip id, whether it is cut from the file) of each clip of a file."""
    matches = FileMatcher(requests, names).decide(path).matches
    return [(match.request.clip_id, match.whole) for match in matches]


FORTY = request(ID, 40.0)


@pytest.mark.parametrize(
    "name",
    [
        "00W1lcxW-WU_40.000.mp4",
        "00W1lcxW-WU_40.000_50.000.mp4",
        "00W1lcxW-WU_40_50.webm",
        "00W1lcxW-WU_40.mkv",
        "00W1lcxW-WU_40.0.MP4",
        "00W1lcxW-WU_000040.mp4",
        "00W1lcxW-WU_0040_0050.mp4",
        "00W1lcxW-WU_000040_000050.flv",
        "00W1lcxW-WU_40000_50000.mp4",
        "00W1lcxW-WU_040000_050000.mp4",
        "00W1lcxW-WU-40-50.mp4",
        "00W1lcxW-WU_40.000_50.000.mp4.mkv",
        "train/dog barking/00W1lcxW-WU_40.000.avi",
    ],
)
def test_every_usual_form_is_found(name: str) -> None:
    others = [request(ID, 400.0), request("00W1lcxW", 40.0), request("-abcdefghij", 40.0)]
    assert found(name, *others, FORTY) == [(FORTY.clip_id, False)]


def test_a_whole_video_belongs_to_each_of_its_clips() -> None:
    later = request(ID, 400.0)
    assert found(f"a/{ID}.mp4", FORTY, later) == [(FORTY.clip_id, True), (later.clip_id, True)]


@pytest.mark.parametrize(
    "name",
    [
        "00W1lcxW-WU_41.mp4",
        "00W1lcxW-WU_40_51.mp4",
        "00W1lcxW-WU_40000.mp4",
        "00W1lcxW-WU_40.5.mp4",
        "00w1lcxw-wu_40.mp4",
        "00W1lcxW-WU_40",
        "00W1lcxW-WU_40.txt",
        "00W1lcxW-WU_40.f137.mp4",
        "40.mp4",
    ],
)
def test_other_names_are_of_no_clip(name: str) -> None:
    assert found(name, FORTY) == []


def test_a_name_of_two_clips_is_not_guessed_and_says_which() -> None:
    whole, cut = request("abc_30", 5.0), request("abc", 30.0)
    assigned = assign_files(FileMatcher([whole, cut]), [("abc_30.mp4", False)])
    assert not assigned.clips
    assert {match.request for match in assigned.ambiguous["abc_30.mp4"]} == {whole, cut}
    assert assigned.missing_note(cut) == " (abc_30.mp4 may be this clip or abc_30_000005: not used)"


def test_a_clip_without_times_shares_its_file() -> None:
    """As AVSBench's MS3 lists a clip by its name, and AVSS the same one with its times."""
    whole = request(ID, None)
    assert found(f"{ID}.mp4", whole, FORTY) == [(whole.clip_id, False), (FORTY.clip_id, True)]
    listed = [
        clip_request(
            get("avs"), Clip("avs", key, "c_0", start, None, "test", extra={"name": "c_0"})
        )
        for key, start in (("c_0", None), ("avss_c_0", 30.0))
    ]
    assert found("c_0.mp4", *listed) == [("avs/c_0", False), ("avs/avss_c_0", False)]


def test_seconds_and_milliseconds_of_two_clips_are_not_guessed() -> None:
    early, late = request(ID, 5.0), request(ID, 5000.0, 15000.0)
    assert found(f"{ID}_5000_15000.mp4", early, late) == []
    assert found(f"{ID}_5000_15000.mp4", early) == [(early.clip_id, False)]
    assert found(f"{ID}_5000.0_15000.0.mp4", early, late) == [(late.clip_id, False)]


def test_the_datasets_own_name_wins_and_fractions_decide() -> None:
    half, whole = request(ID, 30.5), request(ID, 30.0)
    assert found(f"{ID}_000030.mp4", half, whole) == [(whole.clip_id, False)]
    assert found(f"{ID}_000030.mp4", half) == [(half.clip_id, False)]
    nearby = request(ID, 30.7)
    assert found(f"{ID}_000030.mp4", half, nearby) == []
    assert found(f"{ID}_30.5.mp4", half, nearby) == [(half.clip_id, False)]


def test_one_file_is_chosen_of_several_and_the_others_are_kept() -> None:
    files = [f"{ID}.mp4", f"b/{ID}_40.mp4", f"{ID}_000040.webm", f"{ID}_000040.mp4"]
    empty = {f"{ID}_000040.mp4"}
    chosen = assign_files(FileMatcher([FORTY]), [(f, f in empty) for f in files])
    assert chosen.clips[FORTY.clip_id].path == f"{ID}_000040.webm"
    assert chosen.clips[FORTY.clip_id].spares == (f"b/{ID}_40.mp4", f"{ID}.mp4", *empty)


@pytest.mark.parametrize(
    ("dataset", "clip", "file", "cut_from_whole"),
    [
        ("vggsound", Clip("vggsound", "-a_b_000030", "-a_b", 30.0, 40.0, "test"), "-a_b.mp4", True),
        ("llp", Clip("llp", "-a_b_30_40", "-a_b", 30.0, 40.0, "train"), "-a_b.mp4", False),
        ("llp", Clip("llp", "-a_b_30_40", "-a_b", 30.0, 40.0, "train"), "-a_b_30.000.mp4", False),
        ("ave", Clip("ave", "-a_b", "-a_b", None, None, "train"), "AVE/-a_b.mp4", False),
        ("msrvtt", Clip("msrvtt", "video0", "video0", None, None, "train"), "a/video0.mp4", False),
        ("msrvtt", Clip("msrvtt", "video0", "-a_b", 1.5, 9.0, "train"), "-a_b_1.5_9.mp4", False),
        ("avs", Clip("avs", "-aaaaaaaaa__5000_10000", "-aaaaaaaaa_", 5.0, 10.0, "train"),
         "-aaaaaaaaa__5.000_10.000.mp4", False),
        ("audioset", Clip("audioset", "-a_b_000030", "-a_b", 30.0, 40.0, "train"),
         "c/-a_b_30.000_40.000.mkv", False),
    ],
)  # fmt: skip
def test_every_dataset(dataset: str, clip: Clip, file: str, cut_from_whole: bool) -> None:
    assert found(file, clip_request(get(dataset), clip)) == [(clip.clip_id, cut_from_whole)]


IDS = st.one_of(
    st.text("ab-_0123456789", min_size=1, max_size=11),
    st.integers(0, 50).map(str),
    st.tuples(st.sampled_from("ab"), st.integers(0, 50)).map(lambda t: f"{t[0]}_{t[1]}"),
)
STARTS = st.one_of(st.integers(0, 60).map(float), st.integers(0, 60_000).map(lambda ms: ms / 1000))
FORMS = [
    lambda i, a, b: f"{i}_{a:.3f}",
    lambda i, a, b: f"{i}_{a:.3f}_{b:.3f}",
    lambda i, a, b: f"{i}_{a:g}_{b:g}",
    lambda i, a, b: f"{i}_{round(a * 1000)}_{round(b * 1000)}",
    lambda i, a, b: i,
]


@settings(max_examples=600, deadline=None)
@given(
    spans=st.lists(st.tuples(IDS, STARTS), min_size=1, max_size=8, unique=True),
    form=st.sampled_from(FORMS),
    extension=st.sampled_from(EXTENSIONS),
)
def test_a_file_never_goes_to_another_clip(
    spans: list[tuple[str, float]], form: object, extension: str
) -> None:
    """A file made for one clip is that clip's, or no clip's; of a list of one it is found."""
    requests = [
        MediaRequest(f"toy/{n}", f"key{n}", i, a, a + 10, (MediaName(f"key{n}"),))
        for n, (i, a) in enumerate(spans)
    ]
    matcher = FileMatcher(requests)
    whole = form is FORMS[-1]
    for clip in requests:
        start, end = clip.start_s or 0.0, clip.end_s or 0.0
        decision = matcher.decide(f"x/{form(clip.source_id, start, end)}.{extension}")  # type: ignore[operator]
        wrong = [
            match
            for match in decision.matches
            if match.request is not clip
            and not (whole and match.whole and match.request.source_id == clip.source_id)
        ]
        assert not wrong
        assert clip in [m.request for m in (*decision.matches, *decision.rejected)]
        if len(requests) == 1:
            assert [m.request for m in decision.matches] == [clip]


def test_200_000_files_match_200_000_clips_in_seconds() -> None:
    requests = [request(f"{n:011d}", float(n % 300)) for n in range(200_000)]
    files = [(f"{n % 300}/{n:011d}_{n % 300:.3f}.mp4", False) for n in range(200_000)]
    began = time.process_time()
    assigned = assign_files(FileMatcher(requests), files)
    assert len(assigned.clips) == 200_000
    assert time.process_time() - began < 15


def test_a_pattern_names_the_files(tmp_path: Path) -> None:
    clip = request(ID, 40.0, labels=("dog barking",), split="train")
    cases = {
        "{id}_{start:.3f}": f"any/{ID}_40.000.mp4",
        "{label}/{id}_{start:06d}": f"videos/dog barking/{ID}_000040.mkv",
        "{label}/{key}.mp4": f"dog_barking/{ID}_000040.mp4",
        "{split}/{id}_{start_ms}": f"train/{ID}_40000.mp4",
        "Y{id}_{start}_{end}": f"Y{ID}_40_50.mp4",
        "clip:{label}/{id}": f"dog barking/{ID}.mp4",
    }
    for pattern, path in cases.items():
        assert found(path, clip, names=pattern) == [(clip.clip_id, False)], pattern
    assert found(f"x/{ID}.mp4", clip, names="{id}") == [(clip.clip_id, True)]
    assert found(f"x/{ID}.mp4", clip, names="whole:{id}") == [(clip.clip_id, True)]
    assert found(f"{ID}_000040.mp4", clip, names="{id}_{start:.3f}") == [], (
        "only the pattern counts"
    )
    assert found(f"{ID}_40.mp4", request(ID, 40.5), names="{id}_{start:d}") == []
    assert found(f"{ID}.mp4", clip, request(ID, 60.0), names="clip:{id}") == []


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{id}_{strat}", r"\{strat\} is not a field; did you mean \{start\}\?"),
        ("{id", "is not a format string"),
        ("{start:.3f}", r"neither \{id\} nor \{key\}"),
        ("plain", r"neither \{id\} nor \{key\}"),
        ("{id.__class__}", "is not a field"),
        ("{id[0]}", "is not a field"),
        ("{id!r}", "is not a field"),
        ("{}", "is not a field"),
        ("{id}_{start:q}", "cannot be formatted"),
        ("{id:{start}}", "is not a field"),
        ("../{id}", "not a path below SOURCE"),
        ("/data/{id}", "not a path below SOURCE"),
    ],
)
def test_a_wrong_pattern_says_what_is_wrong(pattern: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        FileMatcher([FORTY], pattern)
    assert "\n" not in str(caught.value)
    assert "for example" in str(caught.value)


def test_a_file_in_the_annotations_is_the_only_one() -> None:
    clip = request(ID, 40.0, file="mine/a b.mp4")
    assert found("mine/a b.mp4", clip) == [(clip.clip_id, False)]
    assert found(f"{ID}_40.mp4", clip) == []
    whole = request(ID, 40.0, file=f"mine/{ID}.mp4")
    assert found(f"mine/{ID}.mp4", whole) == [(whole.clip_id, True)]
