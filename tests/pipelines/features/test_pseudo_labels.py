"""Test `avstore features labels`: pseudo labels by class, and those that no clip can have."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from avstore.datasets.llp import vocabulary
from avstore.manifests.store import StoreError
from avstore.pipelines.cli.features import app
from tests.pipelines.features.llp_features import CLIPS, imported

NUMBERS = {label.label: label.label_id for label in vocabulary()}
DOG, CAT = NUMBERS["Dog"], NUMBERS["Cat"]
FIRST, SECOND, THIRD = CLIPS


def labels(*spans: tuple[int, int, int]) -> np.ndarray:
    """Return (10, 25) int64 with 1 in [onset, offset) of each (class, onset, offset)."""
    value = np.zeros((10, 25), np.int64)
    for number, onset, offset in spans:
        value[onset:offset, number] = 1
    return value


def made(folder: Path, audio: dict[str, np.ndarray], visual: dict[str, np.ndarray]) -> Path:
    imported(folder, "valor-clap-labels", audio)
    return imported(folder, "valor-clip-labels", visual)


def report(store: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["labels", "--store", str(store), *words])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two clips with both features, one with the audio feature alone."""
    audio = {
        FIRST: labels((DOG, 0, 4)),
        SECOND: labels((DOG, 0, 1), (CAT, 5, 10)),
        THIRD: labels((CAT, 0, 10)),
    }
    visual = {FIRST: labels((DOG, 2, 10)), SECOND: labels((DOG, 0, 1))}
    return made(tmp_path, audio, visual)


def test_shares_and_examples_of_each_class(store: Path) -> None:
    result = report(store, "--json")
    assert result.exit_code == 0, result.output
    rows = {row["label"]: row for row in map(json.loads, result.output.splitlines())}
    assert list(rows) == list(NUMBERS)
    assert rows["Dog"] == {
        "label_id": DOG,
        "label": "Dog",
        "clips": 2,
        "audio": 0.25,
        "visual": 0.45,
        "audio_none": 0,
        "visual_none": 0,
        "neither": 0,
        "disagreement": 0.4,
        "examples": f"llp/{FIRST}",
    }
    assert [rows["Cat"][name] for name in ("clips", "audio", "visual", "visual_none")] == [
        *(1, 0.5, 0.0, 1)
    ]
    assert (rows["Cat"]["disagreement"], rows["Cat"]["examples"]) == (0.5, f"llp/{SECOND}")
    assert rows["Speech"]["clips"] == 0
    assert rows["Speech"]["audio"] is None
    assert rows["Speech"]["disagreement"] is None


def test_the_table_ends_with_the_clips_that_have_the_features(store: Path) -> None:
    *rows, last = report(store).output.splitlines()
    assert rows[1 + DOG].split()[:4] == ["Dog", "2", "25.0", "%"]
    assert last == (
        "2 clips with both features; 1 with valor-clap-labels alone, 0 with valor-clip-labels "
        "alone, 0 with neither"
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_are_written_to_a_file(store: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"labels.{suffix}"
    result = report(store, "--output", str(output), "--split", "train")
    assert result.exit_code == 0, result.output
    query = f"SELECT label, clips, visual FROM '{output}' WHERE label_id = {DOG}"
    assert duckdb.sql(query).fetchall() == [("Dog", 2, 0.45)]


def test_labels_that_a_clip_cannot_have_are_named(tmp_path: Path) -> None:
    two = labels((DOG, 0, 1))
    two[0] *= 2
    audio = {FIRST: labels((DOG, 0, 4), (CAT, 3, 4)), SECOND: labels()}
    store = made(tmp_path, audio, {FIRST: two, SECOND: labels()})
    result = report(store)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"llp/{FIRST}: valor-clap-labels: Cat is not one of the clip's labels",
        f"llp/{FIRST}: valor-clip-labels: 2 is neither 0 nor 1",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split", "val"], "the store has no clip of llp of split val"),
        (["--dataset", "ave"], "the store has no clip of ave"),
        (["--audio", "other"], "llp has no feature other in this store"),
        (["--output", "labels.txt"], "does not end in .csv, .json or .parquet"),
    ],
)
def test_what_is_not_there_is_one_line(store: Path, words: list[str], message: str) -> None:
    error = report(store, *words).exception
    assert isinstance(error, StoreError)
    assert message in str(error)
    assert "\n" not in str(error)


def test_another_feature_is_refused_with_its_shape(store: Path, tmp_path: Path) -> None:
    imported(tmp_path, "vggish", {FIRST: np.ones((10, 128), np.float32)})
    error = report(store, "--audio", "vggish").exception
    assert f"vggish of llp/{FIRST} is float32 (10, 128); pseudo labels are integers" in str(error)
