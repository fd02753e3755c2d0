"""`avstore figures valor` over a run on made-up features."""

import csv
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tests.train.systems.valor.made_up import made_up_store
from tests.train.systems.valor.test_runs import go, results


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs."""
    folder = tmp_path_factory.mktemp("figures")
    store = made_up_store(folder, {"train": 16, "val": 4, "test": 6})
    assert go(store, folder / "run", "valor") == 0
    return folder / "run"


def draw(run: Path, output: Path, *words: str) -> Result:
    from avstore.pipelines.cli.app import app

    return CliRunner().invoke(app, ["figures", "valor", str(run), "--output", str(output), *words])


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_figures_and_their_numbers(trained: Path, tmp_path: Path) -> None:
    done = draw(trained, tmp_path, "--timelines", "1")
    assert done.exit_code == 0, done.output
    pictures = sorted(tmp_path.glob("*.png"))
    assert len([path for path in pictures if path.name.startswith("timeline-")]) == 2
    for path in pictures:
        with Image.open(path) as picture:
            assert min(picture.size) > 100
    assert len(table(tmp_path / "classes.csv")) == 25
    half = {row["threshold"]: row for row in table(tmp_path / "thresholds.csv")}["0.5"]
    summary = results(trained)["summary"]
    for name in ("segment_audio", "segment_type", "event_event"):
        assert float(half[name]) == pytest.approx(summary[name]["average"], abs=1e-4)
    epochs = table(tmp_path / "epochs.csv")
    assert [row["epoch"] for row in epochs] == ["1", "2", "3"]
    assert float(epochs[-1]["loss_loss"]) < float(epochs[0]["loss_loss"])
    clips = table(tmp_path / "clips.csv")
    assert len(clips) == 6
    assert sum(float(row["segment_audio"]) for row in clips) / 6 == pytest.approx(
        summary["segment_audio"]["average"], abs=1e-4
    )


def test_chosen_clips_are_drawn(trained: Path, tmp_path: Path) -> None:
    assert draw(trained, tmp_path / "a").exit_code == 0
    clip = table(tmp_path / "a/clips.csv")[2]["clip_id"]
    assert draw(trained, tmp_path / "b", "--clip", clip, "--format", "svg").exit_code == 0
    assert [path.name for path in (tmp_path / "b").glob("timeline-*")] == [
        f"timeline-{clip.removeprefix('llp/')}.svg"
    ]
    refused = draw(trained, tmp_path / "c", "--clip", "llp/none")
    assert "is not among the 6 clips" in str(refused.exception)
