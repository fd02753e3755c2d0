"""The built package, installed without the clone, beside a user's modules of the same names."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.media import make_clip

pytestmark = pytest.mark.slow
FOLDERS = ("av_datasets", "avstore", "manifests", "pipelines", "train")
DATA = {".csv", ".css", ".html", ".js", ".sql", ".svg", ".toml", ".typed"}


def run(*words: str | Path, cwd: Path) -> str:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, words)], cwd=cwd, env=env, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(wheel: Path) -> dict[str, str]:
    """Return the sha256 of each of a wheel's files, without the record of itself."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/RECORD")]
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the package is built from."""
    copy = tmp_path_factory.mktemp("source")
    for name in FOLDERS:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPO / name, copy / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPO / name, copy)
    return copy


def built(source: Path, out: Path, *options: str) -> Path:
    """Build with the installed setuptools; return the wheel."""
    command = [sys.executable, "-m", "uv", "build", "--offline", "--no-build-isolation"]
    run(*command, "--python", sys.executable, *options, "--out-dir", out, source, cwd=source)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(source, tmp_path_factory.mktemp("wheel"), "--wheel")


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = contents(wheel)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"avstore"}
    rooms = {"datasets": "av_datasets", **{name: name for name in FOLDERS[2:]}}
    expected = {"avstore/__init__.py", "avstore/__main__.py", "avstore/py.typed"}
    for room, folder in rooms.items():
        files = (path for path in (REPO / folder).rglob("*") if path.suffix in {".py", *DATA})
        expected |= {f"avstore/{room}/{path.relative_to(REPO / folder)}" for path in files}
    assert {name for name in names if name.startswith("avstore/")} == expected
    assert {Path(name).suffix for name in expected} == {".py", *DATA}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_source_distribution_builds_the_same_wheel(
    source: Path, wheel: Path, tmp_path: Path
) -> None:
    assert contents(built(source, tmp_path)) == contents(wheel)
    assert len(list(tmp_path.glob("*.tar.gz"))) == 1


def test_the_package_works_beside_a_users_own_modules(wheel: Path, tmp_path: Path) -> None:
    environment, folder = tmp_path / "venv", tmp_path / "work"
    venv.create(environment, with_pip=False)
    python, avstore = environment / "bin/python", environment / "bin/avstore"
    install = [sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps"]
    run(*install, "--python", python, wheel, cwd=tmp_path)
    # The libraries of this environment, but not its avstore: of a folder that a .pth file names,
    # .pth files are not read.
    libraries = sysconfig.get_paths()["purelib"]
    site = next((environment / "lib").glob("python*/site-packages"))
    (site / "libraries.pth").write_text(f"{libraries}\n")

    folder.mkdir()
    for name in FOLDERS:
        if name != "avstore":
            (folder / f"{name}.py").write_text(f"raise RuntimeError('{name}.py is the user\\'s')\n")
    code = "from avstore.train.data import Loader; import avstore; print(avstore.__file__)"
    assert Path(run(python, "-c", code, cwd=folder).strip()) == site / "avstore/__init__.py"
    version = f"avstore {wheel.name.split('-')[1]}\n"
    assert run(python, "-m", "avstore", "--version", cwd=folder) == version
    assert run(avstore, "--version", cwd=folder) == version

    make_clip(folder / "videos/aaaaaaaaaaa_000001.mp4")
    (folder / "vggsound.csv").write_text("aaaaaaaaaaa,1,dog barking,train\n")
    media = ["--source", "videos", "--annotations", "vggsound.csv", "--workers", "1"]
    run(avstore, "build", "vggsound", *media, cwd=folder)
    rows = run(avstore, "sql", "SELECT key FROM trainable", "--format", "csv", cwd=folder)
    assert rows.split() == ["key", "aaaaaaaaaaa_000001"]


def test_a_tree_that_lost_its_links_builds_no_wheel(source: Path, tmp_path: Path) -> None:
    tree = shutil.copytree(source, tmp_path / "tree", symlinks=True)
    (tree / "avstore/train").unlink()
    (tree / "avstore/train").write_text("../train")  # as Git checks a link out without support
    with pytest.raises(AssertionError, match="avstore/train is not a folder"):
        built(tree, tmp_path / "out", "--wheel")
