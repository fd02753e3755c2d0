"""Test that availability manifests are written and compared."""

from dataclasses import replace
from pathlib import Path

import pytest

from avstore.manifests.catalogue import open_read
from avstore.manifests.store import Store, StoreError
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.availability import (
    compare_availability,
    describe_comparison,
    export_availability,
)
from tests.pipelines.fetch.recorded_store import make_result, record, retry


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_two_labs_are_compared(recorded_store: Store, tmp_path: Path, ending: str) -> None:
    a, b = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    with open_read(recorded_store) as con:
        assert export_availability(con, "toy", a) == 20
    # The second lab lacks all clips of class 1 but one, and has another file for clip 0.
    retry(recorded_store, ["toy/k00013"])
    results = [replace(make_result(0, None), path="/videos/other.mp4", sha256="f" * 64)]
    results += [make_result(n, Verdict.REMOVED) for n in (1, 3, 5, 7)]
    record(recorded_store, "r2", results)
    with open_read(recorded_store) as con:
        export_availability(con, "toy", b)
    found = compare_availability(a, b)
    assert found.published == (20, 20, 20)
    assert (found.both, found.only_a, found.only_b, found.neither) == (6, 4, 0, 10)
    assert (found.differing, found.unknown_bytes) == (1, 0)
    assert {c.label: (c.published, c.stored_a, c.stored_b) for c in found.classes} == {
        "class 0": (10, 5, 5),
        "class 1": (10, 5, 1),
    }
    assert found.distance == pytest.approx(5 / 6 - 0.5)
    same = compare_availability(a, a)
    assert (same.distance, same.only_a, same.only_b) == (0.0, 0, 0)
    line = describe_comparison(found, "a", "b")[1]
    assert line == "stored in both 6, only in a 4, only in b 0, in neither 10"


def test_a_file_that_is_no_availability_manifest_raises_a_clear_error(
    recorded_store: Store, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("video,label\nx,y\n")
    with pytest.raises(StoreError, match="has no column clip_id"):
        compare_availability(wrong, wrong)
    with pytest.raises(StoreError, match="no availability manifest"):
        compare_availability(tmp_path / "absent.parquet", wrong)
    with open_read(recorded_store) as con:
        with pytest.raises(StoreError, match=r"neither \.csv nor \.parquet"):
            export_availability(con, "toy", tmp_path / "x.xlsx")
        with pytest.raises(StoreError, match="holds no dataset"):
            export_availability(con, "toys", tmp_path / "x.csv")
