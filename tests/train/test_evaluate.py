"""`python train/evaluate.py` over small stores of AVE, AVSBench and VGGSound, built for it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import mean

import duckdb
import numpy as np
import pytest
import torch
from PIL import Image

from avstore.datasets.registry import get
from avstore.manifests.catalogue import open_write
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from avstore.pipelines.build.driver import BuildOptions, build
from avstore.pipelines.extract.recipe import load_recipe
from avstore.train import evaluate
from avstore.train.batch_show import batch_samples
from avstore.train.config import DataConfig
from avstore.train.data import Loader, open_store, sample_list
from avstore.train.systems.cavmae.downstream.config import load_downstream
from avstore.train.systems.cavmae.downstream.data import load_data
from avstore.train.systems.cavmae.downstream.segment import Segmentation
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.model_config import ModelConfig
from tests.media import make_clip
from tests.train.test_process_counts import apart, processes, until
from tests.train.test_resume import Killed, dying_before, numbers

SMALL = ModelConfig(
    width=32, heads=2, depth=1, joint_depth=2, decoder_width=16, decoder_depth=1, decoder_heads=2,
    image_size=64, fbank_frames=256,
)  # fmt: skip


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as a run leaves it after a task."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "task-01.pt"
    config = {"model": SMALL.model_dump(mode="json"), "data": DataConfig().model_dump(mode="json")}
    torch.save({"config": config, "model": CAVMAE(SMALL).state_dict()}, path)
    return path


def _build(dataset: str, folder: Path, annotations: tuple[Path, ...]) -> Path:
    spec = get(dataset)
    options = BuildOptions(
        store=folder / "data", source=str(folder / "videos"), annotations=annotations, workers=1
    )
    build(spec, load_recipe(spec.recipe), options)
    return folder / "data"


@pytest.fixture(scope="session")
def ave_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six AVE clips of two classes, four to train on."""
    folder = tmp_path_factory.mktemp("ave")
    rows = ["Church bell&ave00000000&good&0&10", "Bark&ave00000001&good&2&5"]
    rows += ["Church bell&ave00000002&good&1&6", "Bark&ave00000003&good&0&10"]
    rows += ["Church bell&ave00000004&good&3&8", "Bark&ave00000005&good&0&4"]
    for number in range(6):
        path = folder / "videos" / f"ave{number:08d}.mp4"
        make_clip(path, tone_hz=200 + 150 * (number % 2), seed=number)
    files = {"Annotations.txt": rows, "trainSet.txt": rows[:4], "testSet.txt": rows[4:]}
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return _build("ave", folder, tuple(folder / name for name in files))


@pytest.fixture(scope="session")
def avs_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four AVSBench clips, and masks of a square: the first second in train, all five in test."""
    folder = tmp_path_factory.mktemp("avs")
    lines = ["name,start_time,category,split"]
    for number in range(4):
        split, name = ("train", "train", "test", "test")[number], f"avs0000000{number}_1"
        lines.append(f"{name},0,helicopter,{split}")
        make_clip(folder / "videos" / f"{name}.mp4", 5.0, seed=number)
        place = folder / "s4_data/gt_masks" / split / "helicopter" / name
        place.mkdir(parents=True)
        for frame in range(1, 2 if split == "train" else 6):
            mask = np.zeros((224, 224), np.uint8)
            mask[60:160, 60:160] = 255
            Image.fromarray(mask).convert("1").save(place / f"{name}_{frame}.png")
    (folder / "s4_meta_data.csv").write_text("\n".join(lines) + "\n")
    return _build("avs", folder, (folder / "s4_meta_data.csv",))


def go(store: Path, recipe: str, out: Path, *more: str | Path, **sets: object) -> int:
    common: dict[str, object] = {"precision": "fp32", "data.workers": 0, "batch_size": 2, **sets}
    words = [word for key, value in common.items() for word in ("--set", f"{key}={value}")]
    return evaluate.main(
        ["--shards", str(store), "--config", recipe, "--out", str(out), "--device", "cpu"]
        + [str(word) for word in more] + words
    )  # fmt: skip


def scores(out: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((out / "results.json").read_text())["scores"]
    return found


def losses(out: Path) -> list[float]:
    with duckdb.connect(str(out / "results.duckdb"), read_only=True) as con:
        sql = "SELECT value FROM metrics WHERE metric = 'loss' ORDER BY step"
        return [row[0] for row in con.sql(sql).fetchall()]


def test_classification_is_scored_and_a_rerun_returns(
    two_task_store: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--stream", "two", "--init", weights)
    settings = {"epochs": 2, "data.freq_mask": 4, "data.time_mask": 8, "windows": "[0.0, 4.0]"}
    assert go(two_task_store, "classify", tmp_path / "a", *more, **settings) == 0
    found = scores(tmp_path / "a")
    assert {"accuracy", "top5", "map", "auc", "d_prime"} <= found.keys()
    assert len(losses(tmp_path / "a")) == 2 * 3
    card = (tmp_path / "a/card.md").read_text()
    assert "| banjo | 3 of 3 | 2 of 2 |" in card
    assert f"| accuracy | {found['accuracy']:.2f} |" in card
    assert go(two_task_store, "classify", tmp_path / "a", *more, **settings) == 0
    assert "finished already" in capsys.readouterr().out
    assert go(two_task_store, "classify", tmp_path / "a", *more, **settings, seed=5) == 2
    assert "other settings: seed 2021 -> 5; give" in capsys.readouterr().err


SETTINGS = {"epochs": 3, "steps_per_checkpoint": 1, "windows": "[]"}


@pytest.mark.parametrize(
    "more",
    [
        {"frozen": "false", "select": "best"},
        {"average": "[2,3]", "data.balanced": "true"},
    ],
)
def test_a_stopped_run_continues_to_the_same_numbers(
    two_task_store: Path, weights: Path, tmp_path: Path, more: dict[str, str]
) -> None:
    words = ("--stream", "two", "--init", weights)
    assert go(two_task_store, "classify", tmp_path / "whole", *words, **SETTINGS, **more) == 0
    with dying_before(5), pytest.raises(Killed):  # in the second epoch
        go(two_task_store, "classify", tmp_path / "half", *words, **SETTINGS, **more)
    assert not (tmp_path / "half/results.json").exists()
    assert go(two_task_store, "classify", tmp_path / "half", *words, **SETTINGS, **more) == 0
    assert numbers(tmp_path / "half") == numbers(tmp_path / "whole")
    assert scores(tmp_path / "half") == scores(tmp_path / "whole")


def test_the_weights_of_the_best_epoch_are_reported(
    two_task_store: Path, weights: Path, tmp_path: Path
) -> None:
    """With a rate that ruins the head after the first epoch."""
    words = ("--stream", "two", "--init", weights)
    found = {}
    for select in ("best", "last"):
        settings = {**SETTINGS, "select": select, "optim.lr": 3.0, "optim.schedule": "'none'"}
        assert go(two_task_store, "classify", tmp_path / select, *words, **settings) == 0
        found[select] = torch.load(tmp_path / select / "task-01.pt")["model"]
    epochs = by_epoch(tmp_path / "best", "accuracy")
    assert epochs == by_epoch(tmp_path / "last", "accuracy")
    assert scores(tmp_path / "best")["accuracy"] == max(epochs)
    assert scores(tmp_path / "last")["accuracy"] == epochs[-1]
    same = torch.equal(*(state["head.layers.0.weight"] for state in found.values()))
    assert same == (epochs.index(max(epochs)) == len(epochs) - 1)


def by_epoch(out: Path, metric: str) -> list[float]:
    with duckdb.connect(str(out / "results.duckdb"), read_only=True) as con:
        sql = "SELECT value FROM metrics WHERE task = 'epoch' AND metric = ? ORDER BY step"
        return [row[0] for row in con.execute(sql, [metric]).fetchall()]


def test_a_frozen_backbone_is_in_no_checkpoint(
    two_task_store: Path, weights: Path, tmp_path: Path
) -> None:
    words = ("--stream", "two", "--init", weights)
    for name, frozen in (("head", "true"), ("whole", "false")):
        settings = {**SETTINGS, "epochs": 1, "frozen": frozen}
        assert go(two_task_store, "classify", tmp_path / name, *words, **settings) == 0
    files = (tmp_path / name / "task-01.pt" for name in ("head", "whole"))
    head, whole = (torch.load(file)["model"] for file in files)
    assert {key.split(".")[0] for key in head} == {"head"}
    assert {"audio", "video", "joint", "decoder", "head"} <= {key.split(".")[0] for key in whole}
    (kept,) = (tmp_path / "head/checkpoints").glob("step-*/shared.pt")
    (all_of_it,) = (tmp_path / "whole/checkpoints").glob("step-*/shared.pt")
    assert not any("model." in name for name in torch.load(kept)["method"])
    assert any("model." in name for name in torch.load(all_of_it)["method"])


def test_what_was_finetuned_is_scored_again(
    two_task_store: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--stream", "two", "--init")
    for name, frozen in (("whole", "false"), ("head", "true")):
        settings = {**SETTINGS, "epochs": 1, "frozen": frozen}
        assert go(two_task_store, "classify", tmp_path / name, *words, weights, **settings) == 0
    whole, head = (tmp_path / name / "task-01.pt" for name in ("whole", "head"))
    assert go(two_task_store, "retrieval", tmp_path / "again", *words, whole) == 0
    assert go(two_task_store, "retrieval", tmp_path / "x", *words, head) == 2
    assert "holds a head without its backbone" in capsys.readouterr().err
    # The head too, also if its backbone was frozen; a head that nothing has trained is not scored.
    untrained = {**SETTINGS, "epochs": 0}
    for name in ("whole", "head"):
        init = tmp_path / name / "task-01.pt"
        out = tmp_path / f"{name} again"
        assert go(two_task_store, "classify", out, *words, init, **untrained) == 0
        assert scores(out) == pytest.approx(scores(tmp_path / name))
    assert go(two_task_store, "classify", tmp_path / "y", *words, weights, **untrained) == 2
    assert "scores a head that was never trained" in capsys.readouterr().err


def test_weights_of_another_system_are_refused(
    two_task_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "task-01.pt"
    torch.save({"config": {"system": "uavm", "model": {"kind": "unified"}}, "model": {}}, path)
    assert go(two_task_store, "classify", tmp_path / "x", "--init", path) == 2
    assert "holds weights of the system uavm" in capsys.readouterr().err


def test_all_settings_are_printed_without_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(["--config", "avs", "--print-config", "--set", "epochs=7"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "mine.toml").write_text(text)
    mine = load_downstream(str(tmp_path / "mine.toml"), {}, [])
    assert mine == load_downstream("avs", {}, ["epochs=7"]).model_copy(update={"name": "mine"})
    assert (mine.data.crop, mine.data.noise, mine.avs_head) == (False, False, "described")


def test_batches_of_a_run_can_be_listed(ave_store: Path, weights: Path, tmp_path: Path) -> None:
    assert go(ave_store, "ave", tmp_path / "a", "--init", weights, epochs=2) == 0
    rows = [batch_samples(tmp_path / "a", step) for step in range(4)]
    assert [(row["task"], row["epoch"]) for row in rows[3]] == [("ave", 1)] * 2
    first = {row["clip_id"] for own in rows[:2] for row in own}
    assert first == {row["clip_id"] for own in rows[2:] for row in own}
    assert len(first) == 4


def begin(store: Path, out: Path, frozen: str) -> int:
    weights = out.parent / "weights.pt"
    more = {**SETTINGS, "batch_size": 4, "frozen": frozen}
    return go(store, "classify", out, "--stream", "two", "--init", weights, **more)


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(
    two_task_store: Path, weights: Path, tmp_path: Path
) -> None:
    shutil.copy(weights, tmp_path / "weights.pt")
    frozen = ("true", "false")
    for value in frozen:
        (tmp_path / "whole").mkdir(exist_ok=True)
        shutil.copy(weights, tmp_path / "whole/weights.pt")
        until(two_task_store, tmp_path / "whole" / value, value, None, begin)
        until(two_task_store, tmp_path / value, value, 2, begin)
    processes(2, two_task_store, [(value, tmp_path / value, None) for value in frozen], begin)
    for value in frozen:
        assert apart(tmp_path / "whole" / value, tmp_path / value) == []
        assert scores(tmp_path / value) == pytest.approx(scores(tmp_path / "whole" / value))


def test_ave_is_scored_by_the_second(ave_store: Path, weights: Path, tmp_path: Path) -> None:
    assert go(ave_store, "ave", tmp_path / "a", "--init", weights, epochs=6) == 0
    found = scores(tmp_path / "a")
    assert 0 <= found["accuracy"] <= 100
    assert mean(losses(tmp_path / "a")[-2:]) < mean(losses(tmp_path / "a")[:2])
    # The published starts of the seconds give another input (B13).
    assert go(ave_store, "ave", tmp_path / "b", "--init", weights, epochs=1) == 0
    published = {"epochs": 1, "fidelity": "published"}
    assert go(ave_store, "ave", tmp_path / "c", "--init", weights, **published) == 0
    assert losses(tmp_path / "b") != losses(tmp_path / "c")


def test_avs_is_scored_on_its_masks(avs_store: Path, weights: Path, tmp_path: Path) -> None:
    more = ("--init", weights)
    assert go(avs_store, "avs", tmp_path / "a", *more, epochs=2) == 0
    found = scores(tmp_path / "a")
    assert found.keys() == {"miou", "f_score", "f_score_per_video", "iou"}
    # Published: frames are cropped at random and masks are not (B6).
    published = {"epochs": 1, "fidelity": "published"}
    assert go(avs_store, "avs", tmp_path / "b", *more, **published) == 0
    assert losses(tmp_path / "b")[0] != losses(tmp_path / "a")[0]


def test_masks_that_the_shards_lack_are_named(
    avs_store: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"  # the same annotations and videos, without the masks beside them
    shutil.copytree(avs_store.parent / "videos", bare / "videos")
    shutil.copy(avs_store.parent / "s4_meta_data.csv", bare)
    store = _build("avs", bare, (bare / "s4_meta_data.csv",))
    assert go(store, "avs", tmp_path / "c", "--init", weights, epochs=1) == 2
    message = capsys.readouterr().err
    assert "12 of 12 masks are not in the shards" in message
    assert "mask_0.png of avs/avs00000000_1" in message
    assert "--source FOLDER" in message


def test_masks_from_the_shards_are_those_of_the_files(avs_store: Path) -> None:
    """As when they were read from the published folder: cut by the video's shape, then resized."""
    store = open_store(avs_store)
    samples = sample_list(store, "SELECT clip_id FROM trainable WHERE split = 'test'")
    config = load_downstream("avs", {}, [])
    data = load_data(store, "avs", Segmentation.roles)
    task = Segmentation(CAVMAE(SMALL), config.model_copy(update={"model": SMALL}), data)
    spec = replace(task.spec(training=False), batch_size=2)
    (batch,) = Loader(samples, spec)
    masks, known = task.truth(batch)
    folder = avs_store.parent / "s4_data/gt_masks/test/helicopter"
    for row, clip_id in enumerate(batch.clip_ids):
        name = clip_id.removeprefix("avs/")
        for second in range(SMALL.frames):
            with Image.open(folder / name / f"{name}_{second + 1}.png") as image:
                whole = torch.from_numpy(np.array(image)).float()
            cut = whole[:, 37 : 37 + 149]  # 96 x 64: the middle two thirds of 224 columns
            expected = torch.nn.functional.interpolate(cut[None, None], size=(64, 64))
            assert torch.equal(masks[row, second], expected[0])
    assert known.all()


def test_retrieval_needs_no_training(two_task_store: Path, weights: Path, tmp_path: Path) -> None:
    more = ("--stream", "two", "--init", weights)
    assert go(two_task_store, "retrieval", tmp_path / "a", *more) == 0
    assert {"a2v_r1", "v2a_r10", "modality_gap", "chance_avg"} <= scores(tmp_path / "a").keys()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "nosuch"], "classify"),
        (["--config", "tiny", "--stream", "two", "--init", "/no/such.pt"], "/no/such.pt"),
        (["--config", "tiny", "--stream", "nosuch"], "two"),
        (["--config", "tiny", "--set", "optim.lrr=1"], "lrr"),
        (["--config", "tiny", "--set", "init=1"], "init"),
        (["--config", "tiny", "--set", "windows=[20.0]"], "windows begin at 20 s, outside a clip"),
        (["--config", "tiny", "--set", "micro_batch=13"], "is more than a batch of 12"),
        (
            ["--config", "tiny", "--set", "average=[1,2]", "--set", "select=best"],
            "error: config 'tiny': average reports a mean of epochs, and select = \"best\" one: "
            "choose one\n",
        ),
        (["--config", "tiny", "--set", "freq_mask=4"], "there is data.freq_mask"),
        (["--config", "ave", "--set", "data.noise=true"], "needs its seconds in place"),
        (["--config", "ave", "--set", "windows=[1.0]"], "a setting of the task classify alone"),
        (["--config", "avs", "--set", "data.frame_choice=random"], "means nothing to the task"),
        (["--config", "retrieval", "--set", "epochs=2"], "retrieval trains nothing"),
    ],
)
def test_wrong_calls_give_one_line(
    two_task_store: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert evaluate.main(["--shards", str(two_task_store), *words]) == 2
    stderr = capsys.readouterr().err
    assert message in stderr
    _, *commands = stderr.strip().splitlines()
    assert bool(commands) == (words[-2:] == ["--stream", "nosuch"])
    assert all(line.startswith("  ") and " --stream " in line for line in commands)
    assert all("evaluate" in line and " --config tiny " in line for line in commands)


def test_classification_is_scored_by_another_label_set(
    two_task_store: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(shutil.copytree(two_task_store, tmp_path / "store"))
    with writing(store), open_write(store) as writer:
        writer.con.execute(
            "INSERT INTO clip_labels SELECT clip_id, 'again', "
            "CASE WHEN label_id % 2 = 0 THEN 'both' ELSE 'audio' END, 'class', label_id, '{}' "
            "FROM task_clips, (SELECT DISTINCT unnest(label_ids) AS label_id FROM clips "
            "WHERE dataset = 'vggsound') WHERE stream = 'two' AND role <> 'train'"
        )
        writer.publish()
    more = ("--stream", "two", "--init", weights)
    settings = {"epochs": 1, "windows": "[0.0]"}
    out = tmp_path / "again"
    assert go(store.root, "classify", out, *more, labels="again", **settings) == 0
    assert "accuracy" not in scores(out), "clips have several labels each"
    assert go(store.root, "classify", tmp_path / "x", *more, labels="other", **settings) == 2
    said = capsys.readouterr().err
    assert "no clip to score has a label in the label set 'other'" in said
    assert "again:audio" in said
