"""A batch of real clips can be overfitted."""

import csv
import shutil
from pathlib import Path

import pytest
import torch

from avstore.datasets.registry import get
from avstore.pipelines.build.driver import BuildOptions, build
from avstore.pipelines.extract.recipe import load_recipe
from avstore.train.config import load_config
from avstore.train.data import Loader, open_store, sample_list
from avstore.train.evaluation.retrieval import retrieval
from avstore.train.experiment import batch_spec, build_stepper
from avstore.train.methods import find_method


@pytest.fixture(scope="module")
def real_store(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight real clips of VGGSound."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "videos").mkdir()
    rows = list(csv.DictReader((shared_data / "media" / "vggsound_clips.csv").open()))[:8]
    with (folder / "vggsound.csv").open("w", newline="") as file:
        for row in rows:
            name = f"{row['youtube_id']}_{int(row['start_seconds']):06d}.mp4"
            shutil.copy(shared_data / "media" / row["file"], folder / "videos" / name)
            keys = ("youtube_id", "start_seconds", "label", "split")
            csv.writer(file, lineterminator="\n").writerow([row[k] for k in keys])
    options = BuildOptions(
        store=folder / "data", source=str(folder / "videos"),
        annotations=(folder / "vggsound.csv",), workers=1,
    )  # fmt: skip
    spec = get("vggsound")
    build(spec, load_recipe(spec.recipe), options)
    return folder / "data"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["finetune", "stella"])
def test_real_clips_are_overfitted(real_store: Path, name: str) -> None:
    samples = sample_list(open_store(real_store), "SELECT clip_id FROM trainable")
    size = len(samples)
    assert size >= 5
    config = load_config("tiny", {"method": name}, [f"batch_size={size}", f"eval_batch={size}"])
    found = find_method(name)
    stepper = build_stepper(config, found, found.Options(), torch.device("cpu"))
    spec = batch_spec(config, training=False)
    (batch,) = Loader(samples, spec)
    history = [stepper.step(batch, number) for number in range(150)]
    assert sum(history[-1].values()) < 0.8 * sum(history[0].values())
    stepper.method.eval()
    audio, video = stepper.method.evaluated().model.embed(batch.video, batch.audio)
    scores = retrieval(audio, video, {})["all"]
    assert scores["a2v_r1"] == scores["v2a_r1"] == 100
