"""CAV-MAE's own pre-training and finetuning, from the command to the scores."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch

from avstore.datasets.registry import get
from avstore.pipelines.build.driver import BuildOptions, build
from avstore.pipelines.extract.recipe import load_recipe
from avstore.train import evaluate
from avstore.train import run as train_run
from avstore.train.averaging import WeightAverage
from avstore.train.config import load_config
from avstore.train.data import Batch, BatchSpec, Loader, open_store
from avstore.train.data.transforms.frames import choose_frames
from avstore.train.experiment import batch_spec
from avstore.train.scoring import Scoring
from avstore.train.systems.cavmae.downstream.cavmae_classify import CAVMAEClassify
from avstore.train.systems.cavmae.downstream.config import load_downstream
from avstore.train.systems.cavmae.downstream.data import load_data
from avstore.train.systems.cavmae.model import CAVMAE
from tests.conftest import REPO
from tests.media import make_clip
from tests.train.systems.cavmae import released_cavmae as released
from tests.train.systems.cavmae.released_cavmae import CONFIG
from tests.train.test_resume import Killed, dying_before

PRETRAIN = """
extends = "cavmae"
epochs = 2
batch_size = 4
micro_batch = 2
precision = "fp32"

[data]
workers = 0

[model]
width = 32
heads = 2
depth = 2
decoder_width = 16
decoder_depth = 1
decoder_heads = 2
image_size = 32
fbank_frames = 256

[optim]
lr = 1e-3
step_start = 1
"""
FINETUNE = """
extends = "{parent}"
epochs = 3
batch_size = 2
precision = "fp32"
average = [2, 3]
final_frames = 3

[data]
workers = 0

[model]
{model}
"""


@pytest.fixture(scope="module")
def pretrained(two_task_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of pre-training on all of VGGSound's clips."""
    folder = tmp_path_factory.mktemp("pretrained")
    (folder / "small.toml").write_text(PRETRAIN)
    words = ["--config", str(folder / "small.toml"), "--out", str(folder / "run")]
    assert train_run.main(["--shards", str(two_task_store), *words, "--device", "cpu"]) == 0
    return folder / "run"


def finetune(store: Path, folder: Path, name: str, *words: str, parent: str = "cavmae_vs") -> int:
    model = "\n".join(
        f"{key} = {json.dumps(value)}"
        for key, value in CONFIG.model_dump(mode="json").items()
        if key != "learned_pos"
    )
    path = folder / f"{name}.toml"
    path.write_text(FINETUNE.format(parent=parent, model=model))
    common = ["--shards", str(store), "--config", str(path), "--out", str(folder / name)]
    return evaluate.main([*common, "--device", "cpu", *words])


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def losses(folder: Path) -> list[float]:
    with duckdb.connect(str(folder / "results.duckdb"), read_only=True) as con:
        sql = "SELECT value FROM metrics WHERE metric = 'loss' ORDER BY step"
        return [row[0] for row in con.sql(sql).fetchall()]


def test_pretraining_is_one_task_of_the_whole_dataset(pretrained: Path) -> None:
    found = results(pretrained)
    assert found["tasks"] == ["vggsound"]
    assert sorted(path.name for path in pretrained.glob("task-*.pt")) == ["task-01.pt"]
    assert len(losses(pretrained)) == 2  # six clips, four a step
    model = found["config"]["model"]
    assert (model["frames"], model["decode"], model["linear_init"]) == (1, "joint", "xavier")


def test_finetuning_from_it_gives_an_accuracy(
    two_task_store: Path, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = ("--init", str(pretrained / "task-01.pt"))
    assert finetune(two_task_store, tmp_path, "ft", *weights) == 0
    assert "accuracy" in capsys.readouterr().out
    found = results(tmp_path / "ft")
    assert (found["headline"], found["config"]["model"]["learned_pos"]) == ("accuracy", True)
    state = torch.load(tmp_path / "ft/task-01.pt")["model"]
    assert state["head.1.weight"].shape == (309, 32)
    before = torch.load(pretrained / "task-01.pt")["model"]
    moved = {k for k, x in before.items() if not torch.equal(x, state[k])}
    assert {"audio.pos", "video.pos"} < moved
    assert not any(name.startswith("decoder.") for name in moved)
    # What was finetuned is scored again, without training.
    again = ("--init", str(tmp_path / "ft/task-01.pt"), "--set", "epochs=0")
    assert finetune(two_task_store, tmp_path, "again", *again) == 0
    assert results(tmp_path / "again")["scores"] == pytest.approx(found["scores"])


def test_the_batches_are_as_released(two_task_store: Path) -> None:
    """Whole frames, any one of ten; in finetuning mixed, weighted and smoothed."""
    spec = batch_spec(load_config("cavmae", {}, []), training=True)
    assert (spec.frames, spec.frame_choice, spec.augment.crop, spec.augment.noise) == (
        1, "random", False, True,
    )  # fmt: skip
    assert batch_spec(load_config("cavmae", {}, []), training=False).frame_choice is None
    task = _task(two_task_store)
    spec, samples = task.spec(training=True), task.data.train
    augment = spec.augment
    assert (augment.mixup, augment.mixup_domain, augment.mixup_beta) == (0.5, "waveform", 10.0)
    assert (augment.crop, augment.freq_mask, augment.time_mask) == (False, 48, 192)
    assert (task.config.data.balanced, spec.smoothing, spec.classes) == (True, 0.1, 309)
    (batch,) = Loader(samples, replace(spec, batch_size=6))
    targets = task.targets(batch)
    assert torch.allclose(targets.sum(1), torch.full((6,), 0.9 + 0.1 * 308 / 309), atol=1e-3)
    assert any(pair is not None for pair in batch.mixed_with)
    evaluated = next(scored(task, task.spec(training=False)))
    assert task.targets(evaluated).unique().tolist() == [0, 1]


def scored(task: CAVMAEClassify, spec: BatchSpec) -> Iterator[Batch]:
    return Scoring(task.data.stream, 0, torch.device("cpu")).batches(spec)


def _task(store: Path, *sets: str) -> CAVMAEClassify:
    config = load_downstream("cavmae_vs", {}, ["data.workers=0", *sets])
    config = config.model_copy(update={"model": CONFIG})
    data = load_data(open_store(store), "vggsound", CAVMAEClassify.roles)
    return CAVMAEClassify(CAVMAE(CONFIG), config, data)


def test_final_scores_average_the_frames_of_a_clip(two_task_store: Path) -> None:
    task = _task(two_task_store)
    assert choose_frames("even", 10, 10, 10.0, None) == list(range(10))
    assert choose_frames("middle", 10, 1, 10.0, None) == [5]
    (spec,) = task.final_specs()
    assert (spec.frames, spec.frame_choice) == (10, "even")
    batch = next(scored(task, spec))
    with torch.no_grad():
        single = [
            task.logits_of(batch.video[:, k : k + 1], batch.audio).softmax(-1) for k in range(10)
        ]
        assert torch.allclose(task.probability(batch), sum(single) / 10, atol=1e-6)
    assert not torch.allclose(single[0], single[9], atol=1e-5)
    (spec,) = _task(two_task_store, "modality=audio").final_specs()
    assert spec.frames == 1


def test_a_stopped_run_continues_to_the_same_average(two_task_store: Path, tmp_path: Path) -> None:
    often = ("--set", "steps_per_checkpoint=1")
    assert finetune(two_task_store, tmp_path, "whole", *often) == 0
    with dying_before(7), pytest.raises(Killed):
        finetune(two_task_store, tmp_path, "half", *often)
    assert finetune(two_task_store, tmp_path, "half", *often) == 0
    ours, whole = (
        torch.load(tmp_path / name / "task-01.pt")["model"] for name in ("half", "whole")
    )
    assert all(torch.equal(ours[name], value) for name, value in whole.items())
    assert results(tmp_path / "half")["scores"] == results(tmp_path / "whole")["scores"]
    with dying_before(8), pytest.raises(Killed):
        finetune(two_task_store, tmp_path, "last", *often)
    (path,) = (tmp_path / "last/checkpoints").glob("step-*/shared.pt")
    last = torch.load(path)["method"]["objective.head.1.weight"]
    assert not torch.equal(last, whole["head.1.weight"])


def test_weights_of_a_range_of_epochs_are_averaged() -> None:
    average = WeightAverage(2, 3)
    for epoch in range(1, 5):
        average.add(epoch, {"x": torch.tensor([float(epoch)])})
    assert average.count == 2
    assert average.mean()["x"].tolist() == [2.5]


def test_a_released_finetuned_model_is_scored_without_training(
    two_task_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "audio_model.pth"
    shapes = released.finetuned(released.SMALL, 309)
    state = released.drawn(shapes)
    torch.save({f"module.{k}": x for k, x in state.items()}, path)
    words = ("--init", str(path), "--set", "epochs=0", "--set", "modality=audio_of_both")
    assert finetune(two_task_store, tmp_path, "scored", *words) == 0
    task = _task(two_task_store)
    task.load(path)
    assert torch.equal(task.state_dict()["head.1.weight"], state["mlp_head.1.weight"])
    state |= released.drawn(
        {k: x for k, x in released.finetuned(released.SMALL, 7).items() if "mlp_head" in k}
    )
    torch.save({f"module.{k}": x for k, x in state.items()}, path)
    assert finetune(two_task_store, tmp_path, "other", *words) == 2
    assert "has a head of 7 classes and the clips have 309" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["epochs=2"], "average = [3, 10] is no range in epochs 1 to 2"),
        (["data.finish=device"], "cannot be used with mixup"),
        (["modality=sound"], "modality: Input should be"),
        (["task=classify"], "final_frames is a setting of the task cavmae_classify alone"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    two_task_store: Path, capsys: pytest.CaptureFixture[str], sets: list[str], message: str
) -> None:
    words = [word for text in sets for word in ("--set", text)]
    shards = ["--shards", str(two_task_store)]
    assert evaluate.main([*shards, "--config", "cavmae_vs", *words]) == 2
    assert message in capsys.readouterr().err


def test_several_labels_a_clip_give_the_mean_average_precision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """AudioSet-20K: the balanced list alone, all 527 classes, binary cross-entropy."""
    rows: dict[str, list[str]] = {"balanced_train": [], "unbalanced_train": [], "eval": []}
    for number, name in enumerate(["balanced_train"] * 3 + ["unbalanced_train"] + ["eval"] * 2):
        key = f"audio00000{number}"
        make_clip(tmp_path / "videos" / f"{key}_000030.mp4", tone_hz=300 + number, seed=number)
        labels = "/m/09x0r,/m/04rlf" if number % 2 else "/m/09x0r"
        rows[name].append(f'{key}, 30.000, 40.000, "{labels}"')
    files = []
    for name, lines in rows.items():
        files.append(tmp_path / f"{name}_segments.csv")
        files[-1].write_text("# one\n# two\n# YTID, start_seconds, …\n" + "\n".join(lines) + "\n")
    options = BuildOptions(
        store=tmp_path / "data", source=str(tmp_path / "videos"), annotations=tuple(files),
        workers=1,
    )  # fmt: skip
    build(get("audioset"), load_recipe("cav_mae"), options)
    assert finetune(tmp_path / "data", tmp_path, "as", parent="cavmae_as20k") == 2
    _, command = capsys.readouterr().err.splitlines()[0].split("; add it: ")
    words = shlex.split(command.split(";")[0])
    assert words[-5:-1] == ["tasks", "add", "audioset-20k", "--store"]
    subprocess.run([sys.executable, "-m", "avstore", *words[-5:]], cwd=REPO, check=True)
    assert finetune(tmp_path / "data", tmp_path, "as", parent="cavmae_as20k") == 0
    found = results(tmp_path / "as")
    assert found["headline"] == "map"
    assert {"map", "auc", "d_prime"} <= found["scores"].keys()
    assert len(losses(tmp_path / "as")) == 3  # three balanced clips, two a step
    assert torch.load(tmp_path / "as/task-01.pt")["model"]["head.1.bias"].shape == (527,)
