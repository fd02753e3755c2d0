"""UCF101 and HMDB51: folds, the order of labels, and keys of file names that can be none."""

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avstore.datasets import hmdb51, ucf101
from avstore.datasets.spec import AnnotationError, Annotations, DatasetSpec, check_key
from avstore.manifests import open_store
from avstore.pipelines.fetch.file_matching import FileMatcher, assign_files
from avstore.pipelines.fetch.source import MediaRequest
from tests.av_datasets.fixtures import fixture_of, published_of
from tests.av_datasets.fixtures.hmdb51 import LONG
from tests.media import make_clip
from tests.pipelines.cli.test_build import avstore

UCF101, HMDB51 = ucf101.UCF101, hmdb51.HMDB51
BOTH = pytest.mark.parametrize("spec", [UCF101, HMDB51], ids=["ucf101", "hmdb51"])


def small(spec: DatasetSpec, folder: Path) -> Annotations:
    return spec.parse(fixture_of(spec.name).write(folder))


def read(spec: DatasetSpec, folder: Path, **files: str) -> Annotations:
    paths = [folder / f"{name}.txt" for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.write_text(text)
    return spec.parse(paths)


def requests(spec: DatasetSpec, found: Annotations) -> list[MediaRequest]:
    return [
        MediaRequest(c.clip_id, c.key, c.source_id, None, None, spec.media_names(c))
        for c in found.clips
    ]


def test_a_clip_is_in_train_of_one_fold_and_in_test_of_another(tmp_path: Path) -> None:
    ucf = {clip.key: clip for clip in small(UCF101, tmp_path).clips}
    pushups = ucf["v_HandStandPushups_g01_c01"]
    assert (pushups.split, pushups.subsets) == ("test", ("fold1_test", "fold2_train"))
    assert ucf["v_Archery_g01_c01"].split == "unassigned"
    assert pushups.extra == {"group": 1}
    assert (pushups.labels, pushups.label_ids) == (("HandstandPushups",), (36,))
    hmdb = {clip.source_id: clip for clip in small(HMDB51, tmp_path).clips}
    assert (hmdb[LONG].split, hmdb[LONG].subsets) == ("unassigned", ("fold2_test",))


def test_labels_count_from_zero_in_the_published_order() -> None:
    names = [label.label for label in UCF101.vocabulary()]
    assert names.index("Hammering") == names.index("HammerThrow") - 1 == 34
    assert (names[0], names[100]) == ("ApplyEyeMakeup", "YoYo")
    assert [label.label_id for label in UCF101.vocabulary()] == list(range(101))
    names = [label.label for label in HMDB51.vocabulary()]
    assert names == sorted(names)
    assert len(names) == 51


def test_a_class_list_of_another_order_is_reported(tmp_path: Path) -> None:
    train = "Archery/v_Archery_g01_c01.avi 3\n"
    found = read(UCF101, tmp_path, classInd="1 ApplyEyeMakeup\n2 Archery\n", trainlist01=train)
    (bad,) = found.bad_rows
    assert bad.reason == "class Archery has number '2'; expected 3"
    assert len(found.clips) == 1
    with pytest.raises(AnnotationError, match=r"classInd\.txt has classes only; pass trainlist01"):
        UCF101.parse([tmp_path / "classInd.txt"])


@pytest.mark.parametrize(
    ("spec", "name", "row", "reason"),
    [
        (UCF101, "trainlist01", "Archery/v_Archery_g01_c02.avi 4", "number '4'; expected 3"),
        (UCF101, "trainlist01", "Archer/v_Archery_g01_c02.avi", "nearest known one is 'Archery'"),
        (UCF101, "testlist01", "v_Archery_g01_c02.avi", "not a row of a list"),
        (UCF101, "testlist01", "Archery/v.x.avi", "clip key 'v.x'"),
        (UCF101, "testlist01", "Archery/good.avi", "duplicate clip 'good' in fold 1: row 1 of"),
        (UCF101, "testlist01", "YoYo/good.avi", "clip 'good' is another one in an earlier row"),
        (HMDB51, "walk_test_split1", "b.avi 3", "not a row of a list"),
        (HMDB51, "walk_test_split1", "b.mp4 1", "not a row of a list"),
        (HMDB51, "walk_test_split1", "../b.avi 1", "not a row of a list"),
        (HMDB51, "walk_test_split1", "good.avi 0", "duplicate clip 'good' in fold 1: row 1 of"),
        (HMDB51, "walk_test_split1", "go.od.avi 1", "not a row of a list"),
    ],
)
def test_bad_rows_are_named(
    tmp_path: Path, spec: DatasetSpec, name: str, row: str, reason: str
) -> None:
    good = "Archery/good.avi\n" if spec is UCF101 else "good.avi 1\n"
    found = read(spec, tmp_path, **{name: good + row})
    assert [clip.key for clip in found.clips] == ["good"]
    assert [bad.row for bad in found.bad_rows] == [2]
    assert reason in found.bad_rows[0].reason


@BOTH
def test_a_file_of_another_name_is_refused(spec: DatasetSpec, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"classes\.txt has an unknown name; use the publ"):
        read(spec, tmp_path, classes="walk\n")


NAMES = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="./\\"),
                min_size=1, max_size=120)  # fmt: skip


@given(st.lists(NAMES, min_size=1, max_size=5, unique=True))
def test_keys_of_any_names(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    rows = "".join(f"{name}.avi 1\n" for name in names)
    found = read(HMDB51, tmp_path_factory.mktemp("keys"), walk_test_split1=rows)
    assert len(found.clips) + len(found.bad_rows) == len(names)  # names that give one key
    for clip in found.clips:
        assert check_key(clip.key) is None
        assert len(clip.key) <= 64
        assert clip.extra.get("filename", clip.key) == clip.source_id in names


def test_files_are_found_by_their_published_names(tmp_path: Path) -> None:
    wanted = requests(HMDB51, small(HMDB51, tmp_path))
    files = [f"sword/{request.source_id}.avi" for request in wanted]
    found = assign_files(FileMatcher(wanted), [(file, False) for file in files])
    assert [found.clips[request.clip_id].path for request in wanted] == files
    wanted = requests(UCF101, small(UCF101, tmp_path))
    files = ["HandstandPushups/v_HandstandPushups_g01_c01.avi", "v_Archery_g01_c01.avi"]
    found = assign_files(FileMatcher(wanted), [(file, False) for file in files])
    assert sorted(clip.path for clip in found.clips.values()) == files
    assert not found.unmatched


@pytest.mark.slow
def test_a_build_from_the_folder_of_the_lists(tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    found = small(HMDB51, lists)
    for seed, clip in enumerate(found.clips):
        make_clip(tmp_path / "videos/x" / f"{clip.source_id}.avi", 1.0, audio=False, seed=seed)
    words = ("--source", tmp_path / "videos", "--annotations", lists, "--workers", "1")
    done = avstore("build", "hmdb51", *words, "--store", tmp_path / "data")
    assert "3 wanted = 3 stored" in done.stdout
    with open_store(str(tmp_path / "data")) as store:
        rows = store.query("SELECT stream, role, clip_id FROM task_clips ORDER BY ALL").rows()
        assert store.pictures(rows[0]["clip_id"], 0, 4).shape == (4, 64, 96, 3)
    assert [(row["stream"], row["role"]) for row in rows] == [
        ("hmdb51-fold1", "eval"),
        ("hmdb51-fold1", "train"),
        ("hmdb51-fold2", "eval"),
    ]


@BOTH
def test_real_folds(spec: DatasetSpec, shared_data: Path) -> None:
    published = published_of(spec.name)
    assert published is not None
    found = spec.parse([shared_data / "annotations" / name for name in published.files])
    folds = defaultdict(set)
    for clip in found.clips:
        for subset in clip.subsets:
            folds[subset].add((clip.labels, clip.extra.get("group", clip.key)))
    for fold in (1, 2, 3):  # clips of one group, which is one video, are on one side
        assert folds[f"fold{fold}_train"].isdisjoint(folds[f"fold{fold}_test"])
    assert {label for clip in found.clips for label in clip.label_ids} == set(
        range(len(spec.vocabulary()))
    )
