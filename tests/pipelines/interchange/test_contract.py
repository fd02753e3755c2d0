"""Every dataset from its files to shards, to an export and back: the rows stay the same."""

import tarfile
from pathlib import Path

import duckdb
import pytest

from avstore.datasets.registry import get, own_names
from avstore.datasets.spec import DatasetSpec
from avstore.manifests.library import open_store
from avstore.manifests.store import Store
from avstore.pipelines.build.driver import BuildOptions, build
from avstore.pipelines.extract.recipe import load_recipe
from avstore.pipelines.interchange.export import export
from avstore.pipelines.interchange.export_clips import export_clips
from avstore.pipelines.interchange.foreign_media import read_items
from avstore.pipelines.interchange.importer import import_items
from avstore.pipelines.interchange.lists import write_llp
from tests.av_datasets.fixtures import fixture_of
from tests.media import make_clip
from tests.pipelines.cli.test_members import spatial

pytestmark = pytest.mark.slow
TABLES = (
    "SELECT * EXCLUDE (ingested_at) FROM datasets",
    "SELECT * FROM clips",
    "SELECT * FROM labels",
    "SELECT * FROM segments",
    "SELECT * FROM clip_labels",
    "SELECT * FROM annotation_errors",
    "SELECT * FROM tasks",
    "SELECT * FROM task_clips",
    "SELECT * FROM samples",
)


def rows(store: Path, query: str) -> list[tuple]:
    with duckdb.connect(str(store / "manifest.duckdb"), read_only=True) as con:
        return con.execute(f"{query} ORDER BY ALL").fetchall()


def built(spec: DatasetSpec, folder: Path) -> tuple[Path, list[Path]]:
    """A store of the dataset's fixture, with a made video for every clip."""
    (folder / "files").mkdir()
    files = fixture_of(spec.name).write(folder / "files")
    recipe = load_recipe(spec.recipe)
    for seed, clip in enumerate(spec.parse(files).clips):
        name = spec.media_names(clip)[0]
        span = spec.clip_seconds if clip.start_s is None else clip.end_s - clip.start_s
        seconds = max(span, recipe.duration_s) if span else 1.0
        path = folder / "videos" / f"{name.stem}.mp4"
        if recipe.audio.layout == "foa":
            path.parent.mkdir(exist_ok=True)
            spatial(path.with_suffix(".mkv"))
        else:
            make_clip(path, seconds, tone_hz=300 + seed, seed=seed)
    options = BuildOptions(folder / "data", str(folder / "videos"), tuple(files), workers=1)
    build(spec, recipe, options)
    return folder / "data", files


SPECS = {name: get(name) for name in own_names()}
OF_VIDEO = [name for name, spec in SPECS.items() if "video" in load_recipe(spec.recipe).members]
OF_FRAMES = [name for name in SPECS if name not in OF_VIDEO]


@pytest.mark.parametrize("name", OF_VIDEO)
def test_files_to_shards_to_export(name: str, tmp_path: Path) -> None:
    """What an import takes has frames, so these datasets end here."""
    store, _ = built(SPECS[name], tmp_path)
    with open_store(str(store)) as opened:
        keys = [row["key"] for row in opened.query("SELECT key FROM trainable").rows()]
        export(opened, "SELECT clip_id, labels FROM trainable", None, str(tmp_path / "wds"))
    assert len(keys) == sum(fixture_of(name).splits.values())
    members = []
    for path in (tmp_path / "wds").glob("*.tar"):
        with tarfile.open(path) as tar:
            members += [Path(each) for each in tar.getnames()]
    assert sorted(each.stem for each in members if each.suffix == ".mp4") == sorted(keys)


@pytest.mark.parametrize("spec", [SPECS[name] for name in OF_FRAMES], ids=OF_FRAMES)
def test_files_to_shards_to_export_to_import(spec: DatasetSpec, tmp_path: Path) -> None:
    store, files = built(spec, tmp_path)
    stored = rows(store, "SELECT count(*) FROM samples")[0][0]
    assert stored == sum(fixture_of(spec.name).splits.values())
    with open_store(str(store)) as opened:
        sql = "SELECT clip_id, labels, captions FROM trainable ORDER BY position"
        export(opened, sql, ["json", "fbank", "audio", "frames"], str(tmp_path / "wds"))
    other = Store(tmp_path / "other")
    done = import_items(other, spec, read_items(tmp_path / "wds"), files)
    assert done.stored == stored
    for query in TABLES:
        assert rows(other.root, query) == rows(store, query), query


def test_llp_files_are_reproduced(tmp_path: Path) -> None:
    spec = get("llp")
    store, files = built(spec, tmp_path)
    with open_store(str(store)) as opened:
        clips = export_clips(opened, "SELECT clip_id FROM clips ORDER BY position")
        written = write_llp(opened, clips, tmp_path / "out", "clips", "wav")
    assert [path.name for path in written] == [path.name for path in files]
    before, after = spec.parse(files), spec.parse(written)
    assert after.clips == before.clips
    assert after.segments == before.segments
    assert not after.bad_rows
