"""The spatial sample, from its build to the scores that only directions of sound can give."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from avstore.pipelines.cli.app import app
from avstore.train import reproduce_avsa


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_views_are_told_apart_by_the_direction_of_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ("--store", str(tmp_path / "store"))
    assert CliRunner().invoke(app, ["build", "yt360", "--source", "sample", *store]).exit_code == 0
    # Half the pictures: 60 s of training in place of 150.
    words = ["--shards", str(tmp_path / "store"), "--out", str(tmp_path / "runs")]
    code = reproduce_avsa.main([*words, "--set", "objective.frames=4"])
    assert code == 0, capsys.readouterr().out
