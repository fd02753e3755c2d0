"""Test that the archives of VALOR, whose folders have the same names, are not mixed up."""

import os
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from avstore.datasets.registry import get
from avstore.manifests.library import open_store
from avstore.manifests.store import Store
from avstore.pipelines.fetch.source import SourceError
from avstore.pipelines.interchange.feature_importer import FeatureImportOptions, import_feature
from tests.conftest import REPO
from tests.pipelines.features.llp_features import CLIPS, write_list
from tests.train.systems.valor.made_up import made_up_store

CLIP_ID = f"llp/{next(iter(CLIPS))}"
SHAPES = {"CLIP": (10, 768), "CLAP": (64, 768)}
FEATURES = {"CLIP": ("clip-vitl14", "valor-clip-labels"), "CLAP": ("clap-map", "valor-clap-labels")}


def arrays(teacher: str) -> dict[str, np.ndarray]:
    """Return the two arrays of a clip, by path; the labels say whose they are."""
    name = f"{CLIP_ID[4:15]}.npy"
    labels = np.full((10, 25), int(teacher == "CLAP"), np.int64)
    values = np.zeros(SHAPES[teacher], np.float32)
    return {f"features/{name}": values, f"segment_pseudo_labels/{name}": labels}


def written(folder: Path, files: Mapping[str, np.ndarray]) -> Path:
    for name, value in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, value)
    return folder


def sources(kind: str, folder: Path, teacher: str) -> Path:
    """Write a teacher's arrays as a folder, a zip, or a folder of both teachers."""
    if kind == "both":
        for each in SHAPES:
            written(folder / "data" / each, arrays(each))
        return folder / "data"
    place = written(folder / kind / teacher, arrays(teacher))
    return Path(shutil.make_archive(str(place), "zip", place)) if kind == "zip" else place


def run(folder: Path, feature: str, source: Path) -> None:
    options = FeatureImportOptions(feature, [str(source)], annotations=[write_list(folder)])
    import_feature(Store(folder / "store"), get("llp"), options)


@pytest.mark.parametrize("kind", ["folder", "zip", "both"])
@pytest.mark.parametrize("teacher", SHAPES)
def test_each_feature_has_the_arrays_of_its_teacher(
    tmp_path: Path, kind: str, teacher: str
) -> None:
    source = sources(kind, tmp_path, teacher)
    for feature in FEATURES[teacher]:
        run(tmp_path, feature, source)
    with open_store(tmp_path / "store") as store:
        values, labels = (store.read(name, [CLIP_ID])[CLIP_ID] for name in FEATURES[teacher])
        stored = store.query("SELECT DISTINCT reason FROM feature_problems").rows()
    assert values.shape == SHAPES[teacher]
    assert labels.max() == int(teacher == "CLAP")
    assert stored == [], "nothing of the other teacher was tried"


@pytest.mark.parametrize("kind", ["folder", "zip", "labels alone"])
def test_the_other_teachers_archive_is_refused(tmp_path: Path, kind: str) -> None:
    source = sources(kind.replace("labels alone", "folder"), tmp_path, "CLIP")
    if kind == "labels alone":
        source = source / "segment_pseudo_labels"
    with pytest.raises(SourceError, match=r"by their folders: .*1 of valor-clip-labels; import"):
        run(tmp_path, "valor-clap-labels", source)


def test_an_archive_of_another_name_is_what_it_is_imported_as(tmp_path: Path) -> None:
    source = sources("zip", tmp_path, "CLIP").rename(tmp_path / "teacher.zip")
    run(tmp_path, "valor-clip-labels", source)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_make_imports_what_a_config_reads_and_trains(tmp_path: Path) -> None:
    """The archives name a clip by its YouTube id; VALOR++ reads five of their seven features."""
    make = shutil.which("make")
    if not make or not (REPO / ".venv/.ready").is_file():
        pytest.skip("needs make, and the virtual environment of make setup")
    made = tmp_path / "made"
    made.mkdir()
    made_up_store(made, {"train": 8, "val": 2, "test": 2})
    folders = {
        "feats": {"feats/r2plus1d_18": "r2plus1d18"},
        "CLIP": {"features": "clip-vitl14", "segment_pseudo_labels": "valor-clip-labels"},
        "CLAP": {"features": "clap-map", "segment_pseudo_labels": "valor-clap-labels"},
    }
    for name, inner in folders.items():
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for folder, feature in inner.items():
                for path in (made / feature).iterdir():
                    archive.write(path, f"{folder}/{path.name[:11]}.npy")
    given = {
        "CLIP": tmp_path / "CLIP.zip",
        "CLAP": tmp_path / "CLAP.zip",
        "ANNOTATIONS": ",".join(map(str, sorted(made.glob("*.csv")))),
        "STORE": tmp_path / "store",
        "CONFIG": "valor_plus_plus",
        "ARGS": f"--out {tmp_path}/run --device cpu --set epochs=1 --set batch_size=4 "
        "--set data.workers=0 --set model.width=64",
    }
    words = [make, "valor-llp", *(f"{name}={value}" for name, value in given.items())]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def called(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*words, *more], cwd=REPO, env=environment, check=False, capture_output=True, text=True
        )

    lacking = called()
    assert lacking.returncode == 2
    assert "valor_plus_plus reads r2plus1d18, of an archive that is not given" in lacking.stderr
    assert not (tmp_path / "store").exists()
    done = called(f"FEATS={tmp_path / 'feats.zip'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("12 published clips = 12 stored + 0 unreadable + 0 missing") == 5
    assert (tmp_path / "run/results.json").is_file()
