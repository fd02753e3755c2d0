"""Exported lists as the published Dataset classes read them.

The numbers and hashes are of the records that the released classes gave on these exports of the
published annotation files: STELLA at e90d5b7, CAV-MAE at 68fe8c2, UAVM, AVVP at fde5611 and VALOR
at 2677da9. For AVVP and VALOR they are also those of the published lists themselves.
"""

import csv
import gzip
import json
import shutil
from pathlib import Path

import pytest

from avstore.datasets.registry import get
from avstore.datasets.spec import AnnotationError
from avstore.manifests.library import open_store
from avstore.manifests.store import StoreError
from avstore.pipelines.build.task_streams import load_stream
from avstore.pipelines.interchange.export_clips import export_clips
from avstore.pipelines.interchange.foreign_lists import with_foreign_lists
from avstore.pipelines.interchange.lists import LISTS
from avstore.pipelines.interchange.stella import write_stella, write_stella_stream
from tests.pipelines.interchange import published_readers as read
from tests.pipelines.interchange.listed import listed_store

SHRINK = "class_labels_indices_shrink8.csv"
SEGMENTS = """# YTID, start_seconds, end_seconds, positive_labels
--aaaaaaaaa, 30.000, 40.000, "/m/09x0r,/m/01b_21"
b_bbbbbbbbb, 0.000, 9.500, "/m/0bt9lr,/m/05tny_"
ccccccccccc, 10.000, 20.000, "/m/01b_21,/m/05tny_"
"""


@pytest.fixture(scope="module")
def audioset(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published balanced list in place of the unbalanced one, and the evaluation list."""
    folder = tmp_path_factory.mktemp("audioset")
    lists, train = shared_data / "annotations/audioset", folder / "unbalanced_train_segments.csv"
    shutil.copy(lists / "balanced_train_segments.csv", train)
    return listed_store(folder / "data", "audioset", [train, lists / "eval_segments.csv"])


@pytest.fixture(scope="module")
def vggsound(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lists = shared_data / "annotations/vggsound"
    files = [lists / "test.csv", lists / "derived_labelled_subset.csv"]
    return listed_store(tmp_path_factory.mktemp("vggsound") / "data", "vggsound", files)


@pytest.fixture(scope="module")
def llp(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = ("AVVP_train", "AVVP_val_pd", "AVVP_test_pd", "AVVP_eval_audio", "AVVP_eval_visual")
    files = [shared_data / "annotations/llp" / f"{name}.csv" for name in names]
    return listed_store(tmp_path_factory.mktemp("llp") / "data", "llp", files)


def export(store: Path, form: str, split: str, out: Path) -> None:
    sql = f"SELECT clip_id FROM clips WHERE split = '{split}' ORDER BY position"
    with open_store(str(store)) as opened:
        LISTS[form](
            opened, export_clips(opened, sql), out, "clips", "wav" * (form == "llp") or "flac"
        )


def export_stream(store: Path, stream: str, out: Path) -> None:
    with open_store(str(store)) as opened:
        write_stella_stream(opened, load_stream(stream), out, "mp3")


def test_stella_audioset(audioset: Path, tmp_path: Path) -> None:
    export_stream(audioset, "audioset-7", tmp_path)
    meta, classes = "AudioSet/data", "class_labels_indices_audioset.csv"
    retrieval = "audioset_2m_eval_5_per_class_for_retrieval_cleaned.csv"
    for file, class_list, expected in (
        ("audioset_2m_cleaned.csv", classes, (10_081, "607b4b1ab936a171")),
        ("audioset_2m_eval_cleaned.csv", classes, (9_603, "e6c01efaff70b3ad")),
        (retrieval, None, (816, "3310d7cf2f48d410")),
    ):
        assert read.digest(read.stella(tmp_path, meta, file, class_list)) == expected
    rows = list(csv.DictReader((tmp_path / meta / classes).open()))
    assert len(rows) == 171
    assert rows[0] == {
        "index": "4", "mid": "/m/01h8n0", "display_name": "Conversation", "category": "human",
    }  # fmt: skip


def test_stella_audioset_20k(audioset: Path, tmp_path: Path) -> None:
    with open_store(str(audioset)) as opened:
        clips = export_clips(opened, "SELECT clip_id FROM clips WHERE split = 'eval'")
        write_stella(opened, clips, tmp_path, "audioset_eval_cleaned", "mp3")
    meta, file = "AudioSet-20k/data", "audioset_eval_cleaned.csv"
    records = read.stella(tmp_path, meta, file, "class_labels_indices.csv")
    assert read.digest(records) == (20_371, "a2d5558db6befa89")


def test_stella_vggsound(vggsound: Path, tmp_path: Path) -> None:
    export_stream(vggsound, "vggsound-8", tmp_path)
    meta = "vggsound/data"
    retrieval = "vgg_test_5_per_class_for_retrieval_cleaned_shrink8.csv"
    for file, class_list, expected in (
        ("vgg_train_cleaned_shrink8.csv", SHRINK, (23_610, "4453a414475213d7")),
        ("vgg_test_cleaned_shrink8.csv", SHRINK, (7_999, "29c76b7fbcecd355")),
        (retrieval, None, (1_545, "bbfb59a90a66c930")),
    ):
        assert read.digest(read.stella(tmp_path, meta, file, class_list)) == expected


def test_cavmae_and_uavm(vggsound: Path, audioset: Path, tmp_path: Path) -> None:
    """Frame 0: without pictures, the class tries frame 5 and then lower ones."""
    export(vggsound, "cavmae", "test", tmp_path / "cv")
    export(audioset, "cavmae", "eval", tmp_path / "ca")
    assert read.digest(read.cavmae(tmp_path / "cv", 0)) == (15_446, "0c2d192a49f6ba6e")
    assert read.digest(read.cavmae(tmp_path / "ca", 0)) == (20_371, "20a1b787d24a0c38")
    export(vggsound, "uavm", "test", tmp_path / "uv")
    export(audioset, "uavm", "eval", tmp_path / "ua")
    both = ("afeat", "vfeat")
    assert read.digest(read.uavm(tmp_path / "uv", "wav")) == (15_446, "98ed918522e875be")
    assert read.digest(read.uavm(tmp_path / "uv", *both)) == (15_446, "05dabc93d8b3e7ab")
    assert read.digest(read.uavm(tmp_path / "ua", "wav")) == (20_371, "9ab783092b2cc03b")
    assert read.digest(read.uavm(tmp_path / "ua", *both)) == (20_371, "31f8b897d9e9d39e")


def test_avvp_and_valor(llp: Path, shared_data: Path, tmp_path: Path) -> None:
    events = {}
    for split in ("train", "val", "test"):
        export(llp, "llp", split, tmp_path)
        events[split] = [path.read_bytes() for path in sorted(tmp_path.glob("AVVP_eval_*.csv"))]
    assert events["train"] == events["val"] == events["test"], "the lists share their event files"
    for file, avvp, valor in (
        ("AVVP_train.csv", (10_000, "2fef6a688f69e1b7"), (10_000, "636f2d6cc79c5670")),
        ("AVVP_val_pd.csv", (649, "f18638edb0fd78e1"), (649, "b72a62baf7007233")),
        ("AVVP_test_pd.csv", (1_200, "32aac3755f558be2"), (1_200, "9f7546839ae26a29")),
    ):
        for folder in (tmp_path, shared_data / "annotations/llp"):
            assert read.digest(read.llp(folder / file, valor=False)) == avvp
            assert read.digest(read.llp(folder / file, valor=True)) == valor
    assert [sum(1 for _ in path.open()) for path in sorted(tmp_path.glob("AVVP_eval_*"))] == [
        4_105, 2_485,
    ]  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Three clips: labels in and out of the stream, of one task and of two."""
    (tmp_path / "eval_segments.csv").write_text(SEGMENTS)
    return listed_store(tmp_path / "data", "audioset", [tmp_path / "eval_segments.csv"])


def test_labels_are_those_of_the_stream_and_vid_is_the_bare_id(small: Path, tmp_path: Path) -> None:
    export_stream(small, "audioset-7", tmp_path)
    rows = list(csv.reader((tmp_path / "AudioSet/data/audioset_2m_eval_cleaned.csv").open()))
    place = "AudioSet/data"
    assert rows == [
        ["0", "--aaaaaaaaa", f"{place}/frames/--aaaaaaaaa_30000_40000",
         f"{place}/audio/--aaaaaaaaa_30000_40000.mp3", "/m/01b_21", "human"],
        ["1", "b_bbbbbbbbb", f"{place}/frames/b_bbbbbbbbb_0_9500",
         f"{place}/audio/b_bbbbbbbbb_0_9500.mp3", "/m/05tny_", "animal"],
    ]  # fmt: skip


def test_another_class_list_in_the_folder_is_refused(small: Path, tmp_path: Path) -> None:
    export_stream(small, "audioset-7", tmp_path)
    export_stream(small, "audioset-7", tmp_path)
    path = tmp_path / "AudioSet/data/class_labels_indices_audioset.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(StoreError, match=r"indices_audioset\.csv exists with 170 other rows.*171"):
        export_stream(small, "audioset-7", tmp_path)


def test_queries_without_a_class_list_are_refused(small: Path, tmp_path: Path) -> None:
    with open_store(str(small)) as opened:
        tasks = export_clips(opened, "SELECT clip_id, 'a' AS task FROM clips")
        with pytest.raises(StoreError, match="pass --stream NAME"):
            write_stella(opened, tasks, tmp_path, "clips", "mp3")
        with pytest.raises(StoreError, match="no stored clip of the stream 'vggsound-8'"):
            write_stella_stream(opened, load_stream("vggsound-8"), tmp_path, "mp3")


def test_names_in_foreign_lists_are_no_paths(tmp_path: Path) -> None:
    """Only a name's last part is taken, and only if it is a clip's name."""
    frames, audio = "vggsound/data/frames", "vggsound/data/audio"
    rows = [
        f"0,x,{frames}/-id_0000000_30000_40000,{audio}/a.mp3,vgg_22,music",
        f"0,x,../../../etc/a__00000001_5000_15000,{audio}/a.mp3,vgg_22,music",
        f"0,x,{frames}/..,{audio}/a.mp3,vgg_22,music",
        f"0,x,{frames}/../passwd_0_10000,{audio}/a.mp3,/etc/passwd,music",
    ]
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    entries = [
        {"video_id": "../../b_000001", "wav": "/etc/passwd", "labels": "vgg_22"},
        {"video_id": "-id_0000000_000030", "wav": "/etc/passwd", "labels": "vgg_22"},
        {"wav": "/audio/c0000000003_000120.flac", "labels": "vgg_22"},
    ]
    (tmp_path / "clips.json").write_text(json.dumps({"data": entries}))
    spec = with_foreign_lists(get("vggsound"), "train")
    found = spec.parse([tmp_path / "clips.csv"])
    assert [clip.key for clip in found.clips] == ["-id_0000000_000030", "a__00000001_000005"]
    assert [bad.row for bad in found.bad_rows] == [3, 4]
    found = spec.parse([tmp_path / "clips.json"])
    assert [clip.key for clip in found.clips] == ["-id_0000000_000030", "c0000000003_000120"]
    assert "contains a path separator" in found.bad_rows[0].reason


def test_a_list_of_bare_ids_is_refused_with_what_to_pass(shared_data: Path, tmp_path: Path) -> None:
    """CAV-MAE's own list of AudioSet names the clips by their bare ids."""
    packed = shared_data / "annotations/audioset/sample_json_as.json.gz"
    (tmp_path / "as.json").write_bytes(gzip.decompress(packed.read_bytes()))
    with pytest.raises(AnnotationError, match="pass the segment files of AudioSet"):
        with_foreign_lists(get("audioset"), "train").parse([tmp_path / "as.json"])
