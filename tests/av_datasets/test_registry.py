"""A dataset is registered by adding its file."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from avstore.datasets import registry
from avstore.manifests.library import open_store
from tests.conftest import REPO
from tests.media import make_clip

BIRDS = next(
    code
    for code in re.findall(r"```python\n(.*?)```", (REPO / "docs/datasets.md").read_text(), re.S)
    if "birds.py" in code
)


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        words,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source tree, with this environment, and a file for one more dataset."""
    for name in ("av_datasets", "avstore", "manifests", "pipelines", "train"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPO / name, tmp_path / name, symlinks=True, ignore=ignore)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(REPO / name, tmp_path)
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    (tmp_path / ".venv/.ready").touch()  # so that make installs nothing
    for name, words in (("python", ""), ("avstore", "-m avstore ")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n')
        (programs / name).chmod(0o755)
    (tmp_path / "av_datasets/birds.py").write_text(BIRDS)
    return tmp_path


def test_a_file_in_the_tree_is_a_dataset_with_a_make_target(tree: Path) -> None:
    make_clip(tree / "videos/aaa_000005.mp4")
    (tree / "birds.csv").write_text("aaa,5,wren,train\n")
    assert "birds" in run(tree, "make", "help")
    media = ["SOURCE=videos", "ANNOTATIONS=birds.csv", "STORE=data", "WORKERS=1"]
    run(tree, "make", "birds-shards", *media)
    with open_store(str(tree / "data")) as store:
        rows = store.query("SELECT clip_id FROM trainable").rows()
    assert rows == [{"clip_id": "birds/aaa_000005"}]


def test_only_the_module_of_the_dataset_is_imported() -> None:
    code = (
        "import sys; from avstore.datasets import registry; registry.get('msrvtt'); "
        "print(*(name for name in sys.modules if name.startswith('avstore.datasets.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name.rpartition(".")[2] for name in done.stdout.split()}
    assert "msrvtt" in loaded
    assert loaded.isdisjoint(set(registry.own_names()) - {"msrvtt"})


def test_a_module_without_a_spec_of_its_name_is_no_dataset() -> None:
    assert {"audioset", "ave", "avs", "llp", "msrvtt", "vggsound"} <= set(registry.own_names())
    for name in ("spec", "registry", "sample", "no_such", ""):
        assert not registry.is_own(name)
        with pytest.raises(LookupError, match=f"there is no dataset {name!r}; did you mean"):
            registry.get(name)
