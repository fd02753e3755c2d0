"""A user's own system: a module in the current directory, named by a config."""

from pathlib import Path

import pytest

from avstore.train import run
from avstore.train.config import load_config
from avstore.train.errors import UserError
from tests.docs.pages import DOCS, blocks
from tests.train.test_resume import numbers


@pytest.fixture
def page_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The module and the config that docs/training.md shows, in the current directory."""
    text = (DOCS / "training.md").read_text()
    (module,) = [block for block in blocks(text, "python") if "class Linear(Classifier)" in block]
    (config,) = [block for block in blocks(text, "toml") if 'system = "linear:LINEAR"' in block]
    (tmp_path / "linear.py").write_text(module)
    (tmp_path / "linear.toml").write_text(config)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_documented_system_trains_on_a_stream(two_task_store: Path, page_module: Path) -> None:
    words = ["--shards", str(two_task_store), "--stream", "two", "--config", "linear.toml"]
    sets = ["epochs=2", "batch_size=2", "options.memory_size=4"]
    code = run.main(
        [*words, "--method", "er", "--device", "cpu", "--out", str(page_module / "run")]
        + [word for item in sets for word in ("--set", item)]
    )
    assert code == 0
    scored = {(task, metric) for _, task, _, metric, _ in numbers(page_module / "run")}
    assert {("banjo", "audio_accuracy"), ("barking", "audio_accuracy")} <= scored


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ("linear:NOTHING", "has no 'NOTHING'"),
        ("linear:Linear", "it is no avstore.train.systems.System"),
        ("nosuch:LINEAR", "no module named 'nosuch'"),
    ],
)
def test_what_is_no_system_is_named(page_module: Path, system: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config("linear.toml", {}, [f"system={system}"])
