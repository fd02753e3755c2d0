"""Class-incremental runs of UAVM by the command, on stored features."""

from pathlib import Path

import pytest

from avstore.manifests.catalogue import open_write
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from avstore.manifests.tasks import create_task_view
from avstore.train import run
from tests.train.data.store_factory import Shape, make_store
from tests.train.test_process_counts import apart, processes, until
from tests.train.test_resume import Killed, dying_before, numbers

TASKS = {"common": "label_ids[1] = 0", "others": "label_ids[1] > 0"}
SETTINGS = (
    *("objective.audio=toy-feature", "objective.video=toy-feature", "objective.loss=bce"),
    *("data.feature_norm=false", "model.classes=5", "model.rows=3", "model.input_width=4"),
    *("model.width=8", "model.heads=2", "epochs=2", "batch_size=4", "optim.lr=1e-2"),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a feature of 48 clips of 5 classes, and a stream of two tasks."""
    root = make_store(tmp_path_factory.mktemp("uavm") / "store", Shape(clips=48))
    with writing(Store(root)), open_write(Store(root)) as writer:
        for position, (task, clips) in enumerate(TASKS.items()):
            query = f"SELECT clip_id FROM trainable WHERE {clips}"
            for role in ("train", "eval"):
                writer.con.execute(
                    "INSERT INTO tasks VALUES ('two', ?, ?, ?, ?)", [position, task, role, query]
                )
        create_task_view(writer.con)
        writer.publish()
    return root


def start(store: Path, out: Path, method: str, *more: str) -> int:
    sets = [word for item in (*SETTINGS, *more) for word in ("--set", item)]
    return run.main(
        [*("--shards", str(store), "--stream", "two", "--out", str(out), "--device", "cpu"),
         *("--config", "uavm_tiny", "--method", method), *sets]
    )  # fmt: skip


@pytest.mark.parametrize("method", ["ewc", "lwf", "icarl"])
def test_a_stopped_run_continues_to_the_scores_of_a_whole_one(
    store: Path, tmp_path: Path, method: str
) -> None:
    memory = ("options.memory_size=8",) if method == "icarl" else ()
    assert start(store, tmp_path / "whole", method, *memory) == 0
    steps = max(row[2] for row in numbers(tmp_path / "whole"))
    with pytest.raises(Killed), dying_before(steps - 2):  # in the second task
        start(store, tmp_path / "half", method, *memory, "steps_per_checkpoint=1")
    assert start(store, tmp_path / "half", method, *memory, "steps_per_checkpoint=1") == 0
    found = numbers(tmp_path / "whole")
    assert numbers(tmp_path / "half") == found
    scored = {(trained, task) for trained, task, _, metric, _ in found if metric == "both_map"}
    assert {(trained, task) for trained in TASKS for task in TASKS} <= scored
    losses = {metric for trained, task, _, metric, _ in found if task is None}
    assert {"objective", "penalty" if method == "ewc" else "distillation", "loss"} == losses


def test_a_method_of_patches_is_refused_in_a_line(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(store, tmp_path / "run", "stella") == 2
    assert "selects the patches of CAV-MAE" in capsys.readouterr().err


def begin(store: Path, out: Path, method: str) -> int:
    """Train class-incrementally, on any number of processes."""
    return start(store, out, method, "options.memory_size=8", "optim.zero_gradients=true")


@pytest.mark.slow
def test_a_run_with_idle_branches_continues_on_other_numbers_of_processes(
    store: Path, tmp_path: Path
) -> None:
    until(store, tmp_path / "whole/er", "er", None, begin)
    until(store, tmp_path / "er", "er", 3, begin)
    processes(4, store, [("er", tmp_path / "er", 7)], begin)
    processes(2, store, [("er", tmp_path / "er", None)], begin)
    assert apart(tmp_path / "whole/er", tmp_path / "er") == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.classes=3", "labels up to 4 and the model 3 classes; set model.classes=5"),
        ("objective.loss=ce", "clips have several labels"),
        ("objective.audio=no-such", "no-such"),
    ],
)
def test_clips_that_do_not_fit_are_refused_before_training(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, message: str
) -> None:
    assert start(store, tmp_path / "run", "er", setting) == 2
    assert message in capsys.readouterr().err
