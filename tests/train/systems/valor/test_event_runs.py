"""VALOR on AVE by the command: configs, what each reads, wrong stores, tasks, figures."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from avstore.manifests.store import StoreError
from avstore.pipelines.cli.app import app
from avstore.train.systems.state_dicts import read_state_dict
from tests.train.systems.valor import made_up, made_up_ave
from tests.train.systems.valor.made_up_ave import AveEvents
from tests.train.systems.valor.test_figures import draw, table
from tests.train.systems.valor.test_runs import go, results
from tests.train.test_resume import numbers

COUNTS = {"train": 16, "val": 4, "test": 6}
LEARN = ("epochs=12", "optim.warmup_epochs=0", "optim.lr=1e-3")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen clips to train on, four to select by, six to test."""
    return made_up_ave.made_up_store(tmp_path_factory.mktemp("ave"), COUNTS)


@pytest.fixture(scope="module")
def llp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of LLP."""
    return made_up.made_up_store(tmp_path_factory.mktemp("llp"), COUNTS)


@pytest.fixture(scope="module")
def weak(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weakly supervised run."""
    out = tmp_path_factory.mktemp("weak") / "run"
    assert go(store, out, "valor_ave_weak", *LEARN) == 0
    return out


def weights(out: Path) -> dict[str, torch.Tensor]:
    return read_state_dict(out / "task-01.pt")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("config", "sets", "losses"),
    [
        ("valor_ave", [], {"seconds"}),
        ("valor_ave", ["objective.targets=['seconds','teachers']"], {"seconds", "teachers"}),
        ("valor_ave_weak", ["objective.targets=['clip']"], {"clip"}),
    ],
)
def test_configs_run_from_features_alone(
    store: Path, tmp_path: Path, config: str, sets: list[str], losses: set[str]
) -> None:
    assert go(store, tmp_path / "run", config, *sets) == 0
    found = results(tmp_path / "run")
    assert found["headline"] == ["accuracy"]
    rows = numbers(tmp_path / "run")
    by_name = {(row[1], row[3]): row[4] for row in rows}
    assert by_name["all", "clips_scored"] == 6
    assert by_name["epoch", "clips_scored"] == 4, "weights are selected by the clips of val"
    assert {row[3] for row in rows} == {*losses, "loss", "accuracy", "clips_scored"}
    assert "(derived)" in (tmp_path / "run/card.md").read_text()


def test_weak_training_does_not_depend_on_labels_of_seconds(
    store: Path, weak: Path, tmp_path: Path
) -> None:
    """Other intervals of the training clips give the same weights, and supervised ones others."""
    drawn = AveEvents.drawn(sum(COUNTS.values()), 0, classes=6)
    whole = [0] * len(drawn.ids), [10] * len(drawn.ids)
    other = AveEvents(drawn.ids, drawn.labels, *whole)
    changed = made_up_ave.made_up_store(tmp_path, COUNTS, annotated=other)
    assert go(changed, tmp_path / "weak", "valor_ave_weak", *LEARN) == 0
    assert same(weights(weak), weights(tmp_path / "weak"))
    for name, place in (("one", store), ("other", changed)):
        assert go(place, tmp_path / name, "valor_ave") == 0
    assert not same(weights(tmp_path / "one"), weights(tmp_path / "other"))


@pytest.mark.parametrize("config", ["valor_ave", "valor_ave_weak"])
def test_a_store_of_llp_is_refused(
    llp: Path, tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(llp, tmp_path / "run", config, "stream=llp") == 2
    error = capsys.readouterr().err.strip()
    assert "no clip of the list has audio-visual segments (segments='both')" in error
    assert "the dataset of llp/" in error
    assert "\n" not in error


def test_a_config_of_llp_refuses_a_store_of_ave(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(store, tmp_path / "run", "valor_plus_plus", "stream=ave") == 2
    error = capsys.readouterr().err.strip()
    assert "a dataset with 28 classes and the network has 25; set model.classes=28" in error
    assert "\n" not in error


def test_a_network_without_room_for_background_is_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(store, tmp_path / "run", "valor_ave", "model.classes=28") == 2
    assert "28 classes and the network has 27 and background; set model.classes=29" in (
        capsys.readouterr().err
    )


def test_the_tasks_of_ave_4_are_learnt_one_after_another(tmp_path: Path) -> None:
    store = made_up_ave.made_up_store(tmp_path, {"train": 28, "val": 1, "test": 28}, classes=28)
    added = CliRunner().invoke(app, ["tasks", "add", "ave-4", "--store", str(store)])
    assert added.exit_code == 0, added.output
    for method, sets in (("finetune", ()), ("er", ("options.memory_size=16",))):
        out = tmp_path / method
        words = ("model.layers=1", *sets)
        assert go(store, out, "valor_ave_continual", *words, method=method) == 0
        found = results(out)
        assert len(found["tasks"]) == 4
        scored = {row[:2] for row in numbers(out) if row[3] == "accuracy"}
        assert {(t, e) for t in found["tasks"] for e in (*found["tasks"], "all")} <= scored


def test_figures_of_events(weak: Path, tmp_path: Path) -> None:
    done = draw(weak, tmp_path, "--timelines", "1")
    assert done.exit_code == 0, done.output
    timelines = [*tmp_path.glob("timeline-*.png")]
    assert len(timelines) == 2
    for path in (*timelines, tmp_path / "epochs.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 100
    assert not (tmp_path / "thresholds.csv").exists()
    average = results(weak)["summary"]["accuracy"]["average"]
    assert average > 20
    clips = table(tmp_path / "clips.csv")
    assert sum(float(row["accuracy"]) for row in clips) / 6 == pytest.approx(average, abs=1e-4)
    classes = {row["class"]: row for row in table(tmp_path / "classes.csv")}
    assert len(classes) == 29
    seconds = {name: int(row["seconds"]) for name, row in classes.items()}
    assert sum(seconds.values()) == 60
    found = sum(n * float(classes[name]["accuracy"]) for name, n in seconds.items() if n)
    assert found / 60 == pytest.approx(average, abs=1e-4)
    losses = table(tmp_path / "epochs.csv")[-1]
    assert {"accuracy", "loss_clip", "loss_teachers", "loss_loss"} <= losses.keys()


def test_a_threshold_is_refused_with_one_class_a_second(weak: Path, tmp_path: Path) -> None:
    refused = draw(weak, tmp_path, "--threshold", "0.3")
    assert isinstance(refused.exception, StoreError)
    assert "threshold 0.3 means nothing to a run with one class a second" in str(refused.exception)
