"""`avstore figures uavm`: runs of the trainer on stored features, to pictures and tables."""

import csv
import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from avstore.pipelines.cli.app import main
from avstore.train import reproduce_uavm, run
from avstore.train.data import Loader, open_store, sample_list
from avstore.train.experiment import batch_spec, build_objective
from avstore.train.systems.uavm.figures.measure import MissingError, retrieval_list
from avstore.train.systems.uavm.figures.representations import Reading, represent
from avstore.train.systems.uavm.figures.trained import find_trained
from avstore.train.systems.uavm.model_config import UAVMConfig
from tests.train.data.store_factory import Shape, make_store
from tests.train.systems.uavm.released import weights
from tests.train.systems.uavm.test_continual_runs import SETTINGS

MODELS = {
    "narrow-0": (0, ["model.shared_width=4"]),
    "unified-0": (0, []),
    "unified-1": (1, []),
    "shared-0": (0, ["model.own_depth=0", "model.shared_depth=2"]),
    "apart-0": (0, ["model.own_depth=2", "model.shared_depth=0"]),
    "cross-0": (0, ["model.kind=cross_attention"]),
    "audio-0": (0, ["objective.audio_share=0.9"]),
}
PICTURES = {
    "figure-3", "figure-3d", "figure-4", "figure-5", "figure-5-maps", "accuracy-width",
    "accuracy-shared-layers", "accuracy-audio-share",
}  # fmt: skip
TABLES = PICTURES - {"figure-3", "figure-4"} | {
    "figure-3a", "figure-3b", "figure-3c", "figure-4-width", "figure-4-layer",
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a feature of 48 clips, which is both audio and video."""
    return make_store(tmp_path_factory.mktemp("figures") / "store", Shape(clips=48))


def draw(*words: str | Path) -> tuple[int, str, str]:
    """Run the command in this process; return its exit code, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    options = ("figures", "uavm", *words, "--tsne-iterations", "250", "--device", "cpu")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["avstore", *map(str, options)])
        with pytest.raises(SystemExit) as end:
            main()
    return int(end.value.code or 0), out.getvalue(), err.getvalue()


def train(store: Path, out: Path, seed: int, own: list[str]) -> None:
    sets = [word for item in (*SETTINGS, *own) for word in ("--set", item)]
    words = ["--shards", str(store), "--stream", "toy", "--config", "uavm_tiny", "--device", "cpu"]
    assert run.main([*words, "--seed", str(seed), "--out", str(out), "-q", *sets]) == 0


@pytest.fixture(scope="module")
def runs(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    for name, (seed, own) in MODELS.items():
        train(store, place / name, seed, own)
    return place


@pytest.fixture(scope="module")
def drawn(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of all figures, and what the command printed."""
    out = tmp_path_factory.mktemp("drawn") / "figures"
    code, shown, errors = draw(runs, "--output", out, "--per-class", "1")
    assert code == 0, errors
    return out, shown


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_all_figures_are_drawn_with_their_numbers(drawn: tuple[Path, str]) -> None:
    folder, printed = drawn
    assert {path.stem for path in folder.glob("*.png")} == PICTURES
    assert {path.stem for path in folder.glob("*.csv")} == TABLES
    assert all(path.stat().st_size > 3000 for path in folder.glob("*.png"))
    left_out = [line for line in printed.splitlines() if line.startswith("left out: ")]
    (line,) = left_out
    assert "cross_attention has no embedding of one modality" in line
    assert "(cross-0)" in line


def test_repeats_are_one_point_with_their_deviation(drawn: tuple[Path, str]) -> None:
    rows = [row for row in table(drawn[0] / "figure-3a.csv") if row["curve"] == "N_s=1, λ=0.5"]
    rows = rows or table(drawn[0] / "figure-3a.csv")
    assert [(row["shared_width"], row["repeats"]) for row in rows] == [("4.0", "1"), ("8.0", "2")]
    assert float(rows[0]["accuracy_std"]) == 0


def test_depths_of_one_width_are_compared(drawn: tuple[Path, str]) -> None:
    rows = table(drawn[0] / "figure-4-layer.csv")
    assert list(dict.fromkeys(row["shared_depth"] for row in rows)) == ["2.0", "1.0", "0.0"]
    # Input, two layers and logits, of each.
    assert [row["layer"] for row in rows] == ["0", "1", "2", "3"] * 3
    rows = table(drawn[0] / "figure-5.csv")
    points = [row["shared_depth"] for row in rows if row["curve"].endswith("S=8")]
    assert points == ["0.0", "1.0", "2.0"]


def test_accuracies_are_those_of_the_runs(drawn: tuple[Path, str], runs: Path) -> None:
    results = [
        json.loads((runs / name / "results.json").read_text())["summary"]["both_map"]["average"]
        for name in ("unified-0", "unified-1")
    ]
    rows = table(drawn[0] / "accuracy-audio-share.csv")
    (row,) = [r for r in rows if r["view"] == "both" and r["audio_share"] == "0.5"]
    assert row["score"] == "mAP"
    assert float(row["value"]) == pytest.approx(np.mean(results))
    assert float(row["value_std"]) == pytest.approx(np.std(results))


def test_cross_attention_has_its_maps(drawn: tuple[Path, str]) -> None:
    rows = [r for r in table(drawn[0] / "figure-5-maps.csv") if r["view"] == "both"]
    assert len(rows) == 2 * 6  # heads, rows of audio and video
    # Each query gives its most attended row 1.
    assert all(0 < float(row["attention"]) <= 6 for row in rows)


def test_numbers_are_kept_and_layers_are_not(
    drawn: tuple[Path, str], runs: Path, tmp_path: Path
) -> None:
    folder, _ = drawn
    kept = {path: path.stat().st_mtime_ns for path in (folder / "numbers").iterdir()}
    # Six models have a probe, a recall and maps, two of them planes; cross-attention has maps.
    assert len(kept) == 3 * 6 + 2 + 1
    before = (folder / "figure-3b.csv").read_text()
    assert draw(runs, "--output", folder, "--per-class", "1", "--format", "svg")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / "numbers").iterdir()} == kept
    assert (folder / "figure-3.svg").is_file()
    assert (folder / "figure-3b.csv").read_text() == before


def test_published_numbers_are_others(drawn: tuple[Path, str], runs: Path, tmp_path: Path) -> None:
    words = ["--output", tmp_path, "--figure", "5", "--fidelity", "published"]
    assert draw(runs, *words)[0] == 0
    assert {path.stem for path in tmp_path.glob("*.png")} == {"figure-5", "figure-5-maps"}
    own, published = (table(folder / "figure-5.csv") for folder in (drawn[0], tmp_path))
    assert [row["shared_depth"] for row in own] == [row["shared_depth"] for row in published]
    assert own != published


def test_what_one_run_cannot_give_is_said(runs: Path, tmp_path: Path) -> None:
    _, shown, errors = draw(runs / "unified-0", "--output", tmp_path, "--per-class", "13")
    assert {path.stem for path in tmp_path.glob("*.png")} == {
        "figure-3", "figure-3d", "figure-5-maps",
    }  # fmt: skip
    for reason in (
        "left out: figure 3A: it is drawn over the width S, and no two models differ in that only",
        "the retrieval list takes 13 of each; --per-class",
        "figure 4, right: no model gives its numbers",
        "figure 5: it is drawn over the number of shared layers",
        "accuracy-width: it is drawn over",
    ):
        assert reason in shown
    assert errors == ""


def test_runs_of_equal_names_are_several(runs: Path, tmp_path: Path) -> None:
    for name in ("narrow-0", "unified-0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run").symlink_to(runs / name)
    words = ["--figure", "3", "--output", tmp_path / "out"]
    assert draw(*(tmp_path / name / "run" for name in ("narrow-0", "unified-0")), *words)[0] == 0
    several, one = table(tmp_path / "out/figure-3a.csv"), {}
    for name in ("narrow-0", "unified-0"):
        assert draw(runs / name, *words[:-1], tmp_path / name / "out")[0] == 0
        one[name] = table(tmp_path / name / "out/figure-3b.csv")[-1]["accuracy"]
    assert [row["accuracy"] for row in several] == list(one.values())


def test_runs_of_other_systems_and_unfinished_ones_are_left_out(runs: Path, tmp_path: Path) -> None:
    for name, config in {"mae": {"system": "cavmae"}, "begun": {"system": "uavm"}}.items():
        (tmp_path / "all" / name).mkdir(parents=True)
        (tmp_path / "all" / name / "run.json").write_text(json.dumps({"config": config}))
    code, shown, errors = draw(tmp_path / "all", "--output", tmp_path / "out")
    assert code == 2
    assert "left out: begun: not finished" in shown
    assert "left out: mae: of system cavmae, not uavm" in shown
    assert errors == "avstore: nothing can be drawn of these runs\n"


def test_a_store_that_has_moved_is_named(runs: Path, store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for file in (runs / "unified-0").iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**record, "store": str(tmp_path / "gone")}))
    words = [copy, "--output", tmp_path / "out", "--figure", "5"]
    code, shown, errors = draw(*words)
    assert code == 2
    assert "gone" in shown
    assert "Traceback" not in errors
    assert draw(*words, "--store", store)[0] == 0


def test_a_released_file_is_drawn_beside_runs(runs: Path, store: Path, tmp_path: Path) -> None:
    shape = UAVMConfig(classes=5, input_width=4, width=8, heads=4, rows=3, own_depth=1,
                       shared_depth=1)  # fmt: skip
    torch.save({f"module.{k}": x for k, x in weights(shape).items()}, tmp_path / "vgg_uavm.pth")
    found, left_out = find_trained([tmp_path / "vgg_uavm.pth"], str(store))
    assert left_out == []
    assert found[0].shape == shape
    (tmp_path / "other.pth").write_bytes(b"no tensors")
    code, _, errors = draw(tmp_path / "other.pth")
    assert code == 2
    assert len(errors.splitlines()) == 1


def test_layers_are_the_model_s(runs: Path, tmp_path: Path) -> None:
    """Rows of the files are the clips of the list, in its order, whatever the batches."""
    (trained,), _ = find_trained([runs / "unified-0"])
    samples = sample_list(
        open_store(str(trained.store)), "SELECT clip_id FROM trainable", features=["toy-feature"]
    )
    assert len(samples) > trained.config.eval_batch / 2
    made = represent(trained, samples, tmp_path, Reading())
    objective = build_objective(trained.config).eval()
    objective.load(trained.weights)
    spec = batch_spec(trained.config, training=False)
    difference: list[Tensor] = []
    with torch.no_grad():
        for batch in Loader(samples, spec):
            audio, video = objective.features(batch)
            sides = {"audio": objective.model.trace(audio=audio, maps="used"),
                     "video": objective.model.trace(video=video, maps="used")}  # fmt: skip
            for view, trace in sides.items():
                for kept, layer in zip(made.layers[view], trace.embeddings, strict=True):
                    assert np.array_equal(kept[batch.indices.numpy()], layer.numpy())
            difference.append((sides["audio"].maps[-1] - sides["video"].maps[-1]).abs())
    mean = torch.cat(difference).mean().item()
    assert made.difference / len(samples) == pytest.approx(mean, rel=1e-5)


def test_the_retrieval_list_has_so_many_of_each_class(store: Path) -> None:
    samples = sample_list(open_store(str(store)), "SELECT clip_id FROM trainable")
    rows = retrieval_list(samples, 2)
    first = [samples.label_ids(int(row))[0] for row in rows]
    assert sorted(first) == sorted([*range(max(first) + 1)] * 2)
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(rows, retrieval_list(samples, 2))
    assert not np.array_equal(rows, retrieval_list(samples, 2, seed=1))
    with pytest.raises(MissingError, match="takes 100 of each"):
        retrieval_list(samples, 100)


@pytest.mark.slow
def test_all_runs_of_the_reproduction_are_trained(store: Path, tmp_path: Path) -> None:
    sets = [word for item in (*SETTINGS, "epochs=1") for word in ("--set", item)]
    words = ["--shards", str(store), "--dataset", "toy", "--stream", "toy", "--seeds", "1"]
    assert reproduce_uavm.main([*words, "--out", str(tmp_path), "-q", *sets]) == 0
    expected = {*reproduce_uavm.MODELS} | {f"toy-{m}" for m in reproduce_uavm.METHODS}
    assert {path.name.removesuffix("-0") for path in tmp_path.iterdir()} == expected
    assert all((path / "results.json").is_file() for path in tmp_path.iterdir())
