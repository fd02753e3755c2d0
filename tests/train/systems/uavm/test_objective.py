"""UAVM as a system: modality of a step, certainty, scores by group, and what it refuses."""

import math
from pathlib import Path

import pytest
import torch

from avstore.train.checkpoint import save_tensors
from avstore.train.config import load_config
from avstore.train.data import Batch
from avstore.train.errors import UserError
from avstore.train.experiment import build_stepper, check_options
from avstore.train.methods import find_method
from avstore.train.objective import Output
from avstore.train.systems.uavm.model import UAVM
from avstore.train.systems.uavm.model_config import UAVMConfig
from avstore.train.systems.uavm.objective import UAVMObjective, modality_of_step
from avstore.train.systems.uavm.settings import UAVMSettings
from tests.train.systems.uavm.features import AUDIO, VIDEO, as_batch, spec, system

TINY = UAVMConfig(classes=4, input_width=6, width=8, heads=2, own_depth=1, shared_depth=1, rows=3)
CROSS = TINY.model_copy(update={"kind": "cross_attention"})


def batch(step: int = 0, smoothing: float = 0.0) -> Batch:
    torch.manual_seed(step)
    audio, video = torch.randn(2, 6, TINY.rows, TINY.input_width)
    return as_batch(audio, video, [0, 1, 2, 3, 0, 1], TINY.classes, step, smoothing)


@pytest.mark.parametrize("kind", ["unified", "independent"])
def test_a_step_sees_the_modality_that_seed_and_step_draw(kind: str) -> None:
    objective = system(TINY.model_copy(update={"kind": kind}), seed=3)
    seen = set()
    for step in range(6):
        rows = batch(step)
        modality = modality_of_step(3, step)
        seen.add(modality)
        expected = objective.model(
            **{modality: rows.features[AUDIO if modality == "audio" else VIDEO]}
        )
        assert torch.equal(objective(rows).embeddings["logits"], expected)
    assert seen == {"audio", "video"}


@pytest.mark.parametrize(("method", "features"), [("er", 1), ("gmed", 2), ("esmer", 2)])
def test_a_step_reads_what_it_trains_unless_a_method_keeps_its_rows(
    method: str, features: int
) -> None:
    sets = ["model.input_width=8", "model.width=8", "model.rows=3"]
    config = load_config("uavm_tiny", {"method": method}, sets)
    found = find_method(method)
    options = check_options(found, config)
    objective = build_stepper(config, found, options, torch.device("cpu")).method.objective
    for step in range(12):
        read = objective.spec(training=True).at(step).read
        assert len(read) == features
        assert (AUDIO if modality_of_step(config.seed, step) == "audio" else VIDEO) in read
    assert objective.spec(training=False).at(0).read == (AUDIO, VIDEO)


def test_copies_of_a_step_see_one_modality() -> None:
    objective = system(TINY, seed=3)
    now, other = batch(0), batch(2)  # video, then audio
    draws = objective.draw(now)
    assert objective.draw(other) != draws
    again = objective(other, draws.rows(slice(2, None))).embeddings["logits"]
    assert torch.equal(again, objective.model(video=other.features[VIDEO]))


def test_cross_attention_sees_both_and_has_one_view() -> None:
    objective = system(CROSS)
    rows = batch()
    assert objective.draw(rows) is None
    logits = objective.model(rows.features[AUDIO], rows.features[VIDEO])
    assert torch.equal(objective(rows).embeddings["logits"], logits)
    scores = objective.scores([rows], {})["all"]
    assert {name.split("_")[0] for name in scores} == {"both"}
    assert objective.embed(rows)["both"].shape == (6, TINY.width)


@pytest.mark.parametrize(("loss", "sure"), [("ce", 0.75), ("bce", 0.9)])
def test_certainty_is_the_probability_of_the_largest_label(loss: str, sure: float) -> None:
    objective = system(TINY, loss=loss)
    logits = torch.zeros(6, 4)
    # 9 / (9 + 1 + 1 + 1) among the classes, or 9 / (9 + 1) of its own.
    logits[torch.arange(6), torch.tensor([0, 1, 2, 3, 0, 1])] = math.log(9)
    rows = batch(smoothing=0.1)
    found = objective.certainty(Output(logits[:, 0], embeddings={"logits": logits}), rows)
    assert found["logits"].tolist() == pytest.approx([sure] * 6)


def test_scores_are_of_each_group_among_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, rows = system(TINY), batch()
    answers = torch.eye(4)[[0, 1, 2, 0, 0, 2]]  # row 3 is of class 3, row 5 of class 1
    ids = rows.clip_ids
    monkeypatch.setattr(
        objective, "classify", lambda own: {"audio": answers[[ids.index(c) for c in own.clip_ids]]}
    )
    groups = {"first": [ids[n] for n in (0, 1, 4, 5)], "second": ids[2:4], "one": [ids[0], ids[4]]}
    found = objective.scores([rows.rows(slice(4)), rows.rows(slice(4, 6))], groups)
    accuracy = {name: scores["audio_accuracy"] for name, scores in found.items()}
    assert accuracy == pytest.approx({"first": 75, "second": 50, "one": 100, "all": 400 / 6})
    assert found["first"]["audio_classes_scored"] == 2
    # Class 0 is ranked right; of class 1 one clip comes first, the other is in a tie of three.
    assert found["first"]["audio_map"] == pytest.approx(100 * (1 + 0.75) / 2)
    # Every clip of this group is of one class: there is nothing to rank.
    assert found["one"]["audio_classes_scored"] == 0
    assert math.isnan(found["one"]["audio_map"])
    assert found["one"].keys() == found["all"].keys()


def test_scores_leave_the_mode_as_it_was() -> None:
    objective = system(TINY).train()
    found = objective.scores([batch()], {})["all"]
    assert objective.training
    views = objective.classify(batch())
    assert torch.allclose(views["both"], (views["audio"] + views["video"]) / 2)
    for view in ("audio", "video", "both"):
        assert {f"{view}_{name}" for name in ("accuracy", "map", "auc", "d_prime")} <= found.keys()


@pytest.mark.parametrize(
    ("loss", "shown", "chance"), [("ce", "both_accuracy", 25.0), ("bce", "both_map", None)]
)
@pytest.mark.parametrize("config", [TINY, CROSS])
def test_what_a_matrix_shows_is_among_the_scores(
    config: UAVMConfig, loss: str, shown: str, chance: float | None
) -> None:
    objective = system(config, loss=loss)
    measure = objective.measure(6)
    assert (measure.shown, measure.chance) == ((shown,), chance)
    assert {shown, *measure.summarised} <= objective.scores([batch()], {})["all"].keys()
    assert len(measure.summarised) == (1 if config is CROSS else 3)


def test_weights_of_a_run_are_loaded(tmp_path: Path) -> None:
    one, other = system(TINY), system(TINY)
    save_tensors(tmp_path / "task-01.pt", {"config": {}, "model": one.weights()})
    other.load(tmp_path / "task-01.pt")
    views = other.classify(batch())
    assert all(torch.equal(x, views[view]) for view, x in one.classify(batch()).items())


def test_half_precision_features_are_taken() -> None:
    objective = system(TINY)
    rows = batch()
    rows.features[VIDEO] = rows.features[VIDEO].half()
    assert objective.classify(rows)["video"].dtype == torch.float32


def test_a_spec_without_the_features_or_labels_is_refused() -> None:
    model = UAVM(TINY)
    without = spec(feature_rows=3)
    object.__setattr__(without, "read", (AUDIO,))
    with pytest.raises(UserError, match="does not read convnext-visual"):
        UAVMObjective(model, without, spec(), UAVMSettings(), 0)
    other = spec()
    object.__setattr__(other, "labels", "ids")
    with pytest.raises(UserError, match="gives 'ids'"):
        UAVMObjective(model, spec(), other, UAVMSettings(), 0)


def test_position_tables_are_not_decayed() -> None:
    objective = system(TINY)
    tables = [name for name, _ in objective.named_parameters() if objective.layout.undecayed(name)]
    assert tables == ["model.own.audio.pos", "model.own.video.pos", "model.upper.both.pos"]
