"""Further label sets: VGGSounder's labels beside VGGSound's own, in manifest, ledger and lists."""

from pathlib import Path

import pytest

from avstore.datasets.registry import get
from avstore.datasets.spec import AnnotationError
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.lock import writing
from avstore.manifests.rebuild import rebuild
from avstore.manifests.store import Store
from avstore.manifests.verify import verify
from avstore.pipelines.build.annotations import ingest_annotations
from avstore.pipelines.build.repair import repair_store
from avstore.pipelines.interchange.data_card import page
from tests.av_datasets.fixtures import fixture_of

SETS = "SELECT clip_id, modality, labels, label_ids FROM label_sets ORDER BY modality"
COUNTS = "SELECT modality, count(*), sum(len(label_ids)) FROM label_sets GROUP BY ALL ORDER BY ALL"


def annotated(store: Store, files: list[Path]) -> Store:
    store.root.mkdir()
    with writing(store), open_write(store) as writer:
        ingest_annotations(writer.con, store, get("vggsound"), files)
        writer.publish()
    return store


def rows(store: Store, sql: str) -> list[tuple]:
    with open_read(store) as con:
        return con.execute(sql).fetchall()


def test_labels_by_modality_and_a_rebuild_keeps_them(tmp_path: Path) -> None:
    store = annotated(Store(tmp_path / "data"), fixture_of("vggsound").write(tmp_path))
    clip, banjo, dove = "vggsound/zz_1_000030", "playing banjo", "pigeon, dove cooing"
    assert rows(store, SETS) == [
        (clip, "any", [dove, banjo], [19, 22]),
        (clip, "audio", [dove, banjo], [19, 22]),
        (clip, "both", [banjo], [22]),
        (clip, "visual", [banjo], [22]),
    ]
    assert rows(store, f"SELECT labels FROM clips WHERE clip_id = '{clip}'") == [([banjo],)]
    facts = "SELECT extra->>'voice_over', extra->>'static_image' FROM clip_labels"
    assert rows(store, facts) == [("true", "false")] * 2
    before = rows(store, "FROM clip_labels ORDER BY ALL")
    store.manifest.unlink()
    with writing(store), open_write(store, fresh=True) as writer:
        rebuild(writer, store)
        writer.publish()
    assert rows(store, "FROM clip_labels ORDER BY ALL") == before
    with open_read(store) as con:
        assert [problem.what for problem in verify(con, store)] == []


def test_their_lost_file_in_the_ledger_is_written_again(tmp_path: Path) -> None:
    store = annotated(Store(tmp_path / "data"), fixture_of("vggsound").write(tmp_path))
    before = rows(store, "FROM clip_labels ORDER BY ALL")
    (lost,) = store.ledger.glob("annotations/vggsound/*/clip_labels.parquet")
    lost.unlink()
    with open_read(store) as con:
        assert [problem.what for problem in verify(con, store)] != []
    with writing(store):
        repair_store(store)
    assert lost.is_file()
    assert rows(store, "FROM clip_labels ORDER BY ALL") == before
    with open_read(store) as con:
        assert [problem.what for problem in verify(con, store)] == []


def test_other_annotations_remove_them(tmp_path: Path) -> None:
    files = fixture_of("vggsound").write(tmp_path)
    store = annotated(Store(tmp_path / "data"), files)
    with writing(store), open_write(store) as writer:
        ingest_annotations(writer.con, store, get("vggsound"), files[:2])
        writer.publish()
    assert rows(store, "FROM clip_labels") == []


def test_label_sets_alone_are_refused(tmp_path: Path) -> None:
    *_, vggsounder = fixture_of("vggsound").write(tmp_path)
    with pytest.raises(AnnotationError, match=r"pass vggsound\.csv"):
        get("vggsound").parse([vggsounder])


def test_the_card_names_them() -> None:
    card = page(get("vggsound"))
    assert "| label sets | `vggsounder` |" in card
    assert "29,509 labels" in card


def test_the_published_list(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "annotations/vggsound"
    store = annotated(Store(tmp_path / "data"), [folder / "test.csv", folder / "vggsounder.csv"])
    assert rows(store, COUNTS) == [
        ("any", 12_014, 29_509),
        ("audio", 11_917, 28_526),
        ("both", 9_889, 18_377),
        ("visual", 10_188, 19_360),
    ]
