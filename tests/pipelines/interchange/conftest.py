"""A small store, built once: six VGGSound clips of two classes and their annotation file."""

from pathlib import Path

import pytest

from avstore.datasets.registry import get
from avstore.pipelines.build.driver import BuildOptions, build
from avstore.pipelines.extract.recipe import load_recipe
from tests.media import make_clip

ROWS = [
    ("-id_0000000", 30, "playing banjo", "train"),
    ("a__00000001", 5, '"pigeon, dove cooing"', "train"),
    ("b-_00000002", 0, "playing banjo", "train"),
    ("c0000000003", 120, "playing banjo", "test"),
    ("d0000000004", 7, '"pigeon, dove cooing"', "test"),
    ("e0000000005", 9, "playing banjo", "test"),
]


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(store, annotation file). The last clip has no sound and is not stored."""
    folder = tmp_path_factory.mktemp("interchange")
    for seed, (name, start, _, _) in enumerate(ROWS):
        video = folder / "videos" / f"{name}_{start:06d}.mp4"
        make_clip(video, tone_hz=200 + 90 * seed, seed=seed, audio=seed < 5)
    annotations = folder / "vggsound.csv"
    annotations.write_text("".join(f"{a},{b},{c},{d}\n" for a, b, c, d in ROWS))
    options = BuildOptions(
        store=folder / "data",
        source=str(folder / "videos"),
        annotations=(annotations,),
        shard_clips=2,
        workers=1,
    )
    spec = get("vggsound")
    build(spec, load_recipe(spec.recipe), options)
    return folder / "data", annotations
