"""AVSA's segmentation: loss and settings of the objective, and runs over a store of panoramas."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from avstore.datasets.yt360_panoptic import panoptic_classes
from avstore.train.config import Config, load_config
from avstore.train.data import Loader, open_store, sample_list
from avstore.train.errors import UserError
from avstore.train.experiment import batch_spec, build_objective
from avstore.train.systems.avsa.model import AlignmentNet
from avstore.train.systems.avsa.model_config import AVSAConfig
from avstore.train.systems.avsa.segmentation import SegmentationObjective
from avstore.train.systems.avsa.settings import SegmentationSettings
from tests.train.systems.avsa.labelled import CAR, SKY, labelled_store
from tests.train.systems.avsa.released_segmentation import NUMBERS, scored_batches
from tests.train.systems.avsa.test_runs import NETS, go, scores
from tests.train.test_resume import Killed, dying_before, numbers

OWN = ("objective.size=32", "data.seconds=2.0")
CONFIGS = {"avsa_segm_video": 0, "avsa_segm_audio": 16, "avsa_segm": 48}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips to train on and four to test, with label maps."""
    return labelled_store(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def pretrained(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "avsa"
    assert go(store, out, "avsa", *OWN, "objective.gallery=4") == 0
    return out / "task-01.pt"


def test_labels_in_a_batch_are_where_their_things_are(store: Path) -> None:
    config = load_config("avsa_segm", {}, ["batch_size=12", "data.seconds=2.0"])
    samples = sample_list(
        open_store(store),
        "SELECT clip_id FROM stored_clips WHERE split = 'train'",
        features=["segmentation"],
    )
    (batch,) = Loader(samples, replace(batch_spec(config, training=True), pixels="uint8"), seed=2)
    labels, last = batch["label_map"], batch.video[:, :, -1].float().mean(2)
    assert labels.dtype == torch.uint8
    assert labels.shape == (12, 4, 112, 112)
    car, sky = panoptic_classes().evaluated.index(CAR), panoptic_classes().evaluated.index(SKY)
    assert set(labels.unique().tolist()) == {car, sky}
    # The squares move by a column or a few until the time of the map.
    agree = ((last > 85) == (labels == car)).float().mean()
    assert agree > 0.97
    assert 0.02 < (labels == car).float().mean() < 0.4


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_trains_the_head_alone(
    store: Path, pretrained: Path, tmp_path: Path, config: str
) -> None:
    own = (*OWN, f"init={pretrained}", "objective.windows=2")
    assert go(store, tmp_path / "out", config, *own) == 0
    found = scores(tmp_path / "out")
    assert {"miou", "pixel_accuracy", "picture_miou", "batch_accuracy"} <= found.keys()
    before = torch.load(pretrained)["model"]
    after = torch.load(tmp_path / "out" / "task-01.pt")["model"]
    assert after["head.laterals.3.weight"].shape[1] == 16 + CONFIGS[config]
    for name, value in after.items():
        if name.startswith(("model.video.", "model.audio.")):
            assert torch.equal(value, before[name.removeprefix("model.")]), f"{name} was trained"


def test_the_loss_falls(store: Path, pretrained: Path, tmp_path: Path) -> None:
    """After a few steps with a high rate, the sky is found, which most pixels are."""
    own = (*OWN, f"init={pretrained}", "epochs=3", "optim.lr=3e-3", 'optim.schedule="none"')
    assert go(store, tmp_path / "out", "avsa_segm", *own) == 0
    losses = [row[4] for row in numbers(tmp_path / "out") if row[3] == "loss"]
    assert losses[-1] < losses[0] / 2
    assert scores(tmp_path / "out")["pixel_accuracy"] > 80
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["headline"] == ["miou"]


def test_a_stopped_run_continues_to_the_same_numbers(
    store: Path, pretrained: Path, tmp_path: Path
) -> None:
    own = (*OWN, f"init={pretrained}", "objective.backbone=published")
    assert go(store, tmp_path / "whole", "avsa_segm", *own) == 0
    with dying_before(1), pytest.raises(Killed):
        go(store, tmp_path / "half", "avsa_segm", *own)
    assert go(store, tmp_path / "half", "avsa_segm", *own) == 0
    assert numbers(tmp_path / "half") == numbers(tmp_path / "whole")
    again = (*OWN, f"init={tmp_path}/whole/task-01.pt", "epochs=0")
    assert go(store, tmp_path / "again", "avsa_segm", *again) == 0
    assert scores(tmp_path / "again") == scores(tmp_path / "whole")


def test_a_head_that_was_not_trained_is_not_scored(
    store: Path, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(store, tmp_path / "out", "avsa_segm", *OWN, f"init={pretrained}", "epochs=0") == 2
    assert "parts of the model: head;" in capsys.readouterr().err


def objective(**settings: object) -> SegmentationObjective:
    own = SegmentationSettings(**{"views": 2, "size": 32, **settings})
    shape = AVSAConfig(stem=4, widths=(4, 4, 8, 16), blocks=1)
    return SegmentationObjective(AlignmentNet(shape), None, None, own)


class Batch(SimpleNamespace):
    """What the objective reads of a batch."""

    def __getitem__(self, name: str) -> torch.Tensor:
        return vars(self)[name]

    def __contains__(self, name: str) -> bool:
        return name in vars(self)

    def __len__(self) -> int:
        return len(self.frames)


def batch(labels: torch.Tensor) -> Batch:
    torch.manual_seed(0)
    frames, waveform = torch.randn(3, 2, 8, 3, 32, 32), 0.1 * torch.randn(3, 2, 4, 24_000)
    return Batch(frames=frames, waveform=waveform, sample_rate=24_000, label_map=labels)


def test_the_loss_is_that_of_the_released_code(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (logits, labels) in enumerate(scored_batches()):
        large = torch.nn.functional.interpolate(logits, labels.shape[1:], mode="bilinear")
        found = objective()
        monkeypatch.setattr(found, "logits", lambda _, large=large: large)
        clips = Batch(frames=labels[::2], label_map=labels.view(-1, 2, 8, 8).to(torch.uint8))
        loss = found(clips).loss
        assert loss.shape == (len(labels) // 2,)
        assert float(loss.mean()) == pytest.approx(NUMBERS["loss"][number], abs=1e-5)


def test_a_batch_without_a_label_has_no_loss_and_moves_nothing_to_nan() -> None:
    found = objective()
    loss = found(batch(torch.full((3, 2, 32, 32), 255, dtype=torch.uint8))).loss
    loss.mean().backward()
    assert loss.tolist() == [0, 0, 0]
    gradients = [p.grad for p in found.head.parameters()]
    assert all(g is not None and not g.any() for g in gradients)
    assert all(p.grad is None for p in found.model.parameters())


def test_published_networks_gather_statistics_and_frozen_ones_do_not() -> None:
    labels = torch.zeros(3, 2, 32, 32, dtype=torch.uint8)
    for backbone, moves in (("frozen", False), ("published", True)):
        found = objective(backbone=backbone).train()
        before = {name: value.clone() for name, value in found.model.named_buffers()}
        found(batch(labels))
        after = dict(found.model.named_buffers())
        moved = [name for name, value in before.items() if not torch.equal(value, after[name])]
        assert bool(moved) == moves
        assert found.model.audio_predictor.training == moves
        assert not found.eval().model.training


def test_the_published_fidelity_sets_what_the_released_code_does() -> None:
    config = load_config("avsa_segm", {"fidelity": "published"}, [])
    own = config.objective
    assert (own.geometry, own.distance, own.augmented_test) == ("published", 0.0, True)
    assert own.backbone == "published"
    strict = steps_of(load_config("avsa_segm", {}, []), training=False)
    assert [type(step).__name__ for step in strict] == ["LabelAtEnd", "LabelledViews"]
    steps = steps_of(config, training=False)
    expected = ["LabelAtEnd", "MirrorPanorama", "LabelledViews", "AugmentViews"]
    assert [type(step).__name__ for step in steps] == expected
    assert steps[3].flip == 0.0
    widths = [steps_of(config, training=kind)[2].views.width for kind in (True, False)]
    assert widths == [(0.15, 0.30), (0.25, 0.25)]


def steps_of(config: Config, *, training: bool) -> tuple:
    return batch_spec(config, training=training).transform.function.transforms


def test_what_does_not_fit_is_refused() -> None:
    sets = ["model.predictors=off", *NETS]
    with pytest.raises(UserError, match=r"needs predictors; set model\.predictors=context"):
        build_objective(load_config("avsa_segm", {}, sets))
    with pytest.raises(UserError, match=r"objective\.size=40 is no multiple of 16"):
        batch_spec(load_config("avsa_segm", {}, ["objective.size=40"]), training=True)


def test_clips_without_labels_are_left_out(
    store: Path, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = labelled_store(tmp_path, clips=8, without=(2, 7))
    assert go(root, tmp_path / "out", "avsa_segm", *OWN, f"init={pretrained}") == 0
    assert "1 of 6 to train on, 1 of 2 to evaluate on" in " ".join(capsys.readouterr().out.split())


def test_label_maps_of_clips_that_are_not_stored_are_left_out(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = labelled_store(tmp_path, clips=8, unstored=(2, 7))
    assert go(root, tmp_path / "out", "avsa_segm", *OWN, f"init={pretrained}") == 0
    assert "1 of 6 to train on, 1 of 2 to evaluate on" in " ".join(capsys.readouterr().out.split())
