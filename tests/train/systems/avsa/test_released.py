"""AVSA's networks and losses compute what the released classes do, from released checkpoints."""

from pathlib import Path

import pytest
import torch

from avstore.train.errors import UserError
from avstore.train.systems.avsa.losses import directions
from avstore.train.systems.avsa.model import AlignmentNet
from avstore.train.systems.avsa.model_config import AVSAConfig
from avstore.train.systems.avsa.weights import load_backbone, load_weights
from tests.train.systems.avsa.released import NUMBERS, checkpoint, embeddings, views

TEMPERATURE = 0.07


def loaded(path: Path, predictors: str, criterion: str | None) -> AlignmentNet:
    model = AlignmentNet(AVSAConfig(predictors=predictors))
    load_weights(model, checkpoint(path / "checkpoint.pth.tar", criterion))
    return model.eval()


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_are_as_many_as_those_of_the_released_classes() -> None:
    with torch.device("meta"):
        model = AlignmentNet(AVSAConfig())
    assert (count(model.video), count(model.audio)) == (15_379_136, 4_735_104)
    assert count(model.audio_predictor) == count(model.video_predictor) == 6_304_768
    assert count(model.heads) == 262_656
    assert count(model) - count(model.video) - count(model.audio) == NUMBERS["parameters"]["avsa"]


def test_embeddings_of_released_weights(tmp_path: Path) -> None:
    model = loaded(tmp_path, "context", "avsa")
    pictures, spectra = views()
    with torch.no_grad():
        video, audio = model.embed(pictures.transpose(2, 3), spectra)
    for found, name in ((video, "video"), (audio, "audio")):
        expected = torch.tensor(NUMBERS[name]).view(2, 2, 6)
        torch.testing.assert_close(found[..., :6], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("predictors", "criterion"), [("context", "avsa"), ("alone", "alone"), ("off", "avc")]
)
def test_losses_and_diagnostics_of_released_weights(
    tmp_path: Path, predictors: str, criterion: str
) -> None:
    model = loaded(tmp_path, predictors, criterion)
    video, audio = embeddings()
    if predictors == "off":
        video, audio = video[:, :1], audio[:, :1]
    with torch.no_grad():
        found = directions(model.compare(video, audio), TEMPERATURE)
    losses = {name: float(own.loss.mean()) for name, own in found.items()}
    numbers = NUMBERS[criterion]
    assert sum(losses.values()) / 2 == pytest.approx(numbers["loss"], rel=1e-5)
    if predictors == "off":
        return
    for name, own in found.items():
        assert losses[name] == pytest.approx(numbers[f"Loss/{name.upper()}"], rel=1e-5)
        for metric, won in own.wins().items():
            if metric != "avsa_strict":
                rate = 100 * float(won.float().mean())
                known = numbers[f"Metrics/{name.upper()}/{metric.upper()}-Acc"]
                assert rate == pytest.approx(known, abs=1e-3)


def test_predictions_of_released_weights(tmp_path: Path) -> None:
    model = loaded(tmp_path, "context", "avsa")
    video, audio = embeddings()
    assert model.audio_predictor is not None
    assert model.video_predictor is not None
    with torch.no_grad():
        found = model.audio_predictor(video), model.video_predictor(audio)
    for own, expected in zip(found, NUMBERS["predicted"], strict=True):
        known = torch.tensor(expected).view(4, 4)
        torch.testing.assert_close(own[0, :, :4], known, rtol=1e-5, atol=1e-5)


def test_alignment_starts_from_the_encoders_of_correspondence(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "avc.pth.tar", "avc")
    model = AlignmentNet(AVSAConfig())
    before = {name: x.clone() for name, x in model.state_dict().items()}
    load_weights(model, path)
    changed = {name for name, x in model.state_dict().items() if not torch.equal(x, before[name])}
    assert changed
    assert {name.partition(".")[0] for name in changed} == {"video", "audio"}


def test_a_run_continues_from_its_own_weights(tmp_path: Path) -> None:
    first, second = (AlignmentNet(AVSAConfig(stem=4, widths=(4, 4, 8, 8))) for _ in range(2))
    torch.save({"model": first.state_dict(), "config": {}}, tmp_path / "task-01.pt")
    load_weights(second, tmp_path / "task-01.pt")
    assert all(torch.equal(x, second.state_dict()[name]) for name, x in first.state_dict().items())


def test_context_needs_weights_with_predictors(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "avc.pth.tar", "avc")
    model = AlignmentNet(AVSAConfig())
    with pytest.raises(UserError, match=r"has other predictors than these settings need, or none"):
        load_backbone(model, path, context=True)
    load_backbone(model, path, context=False)


def test_weights_of_another_size_are_refused_by_name(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "avsa.pth.tar", "avsa")
    model = AlignmentNet(AVSAConfig(widths=(64, 128, 256, 256)))
    with pytest.raises(UserError, match=r"another shape: audio\.blocks\.3\.layers\.0\.weight"):
        load_weights(model, path)


def test_a_tensor_without_a_place_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"model": {"module.video_model.conv9x.weight": torch.zeros(1)}}, tmp_path / "x.pt")
    model = AlignmentNet(AVSAConfig(stem=4, widths=(4, 4, 8, 8)))
    with pytest.raises(UserError, match=r"without a place in the model: video_model\.conv9x"):
        load_weights(model, tmp_path / "x.pt")


def test_a_training_step_has_the_loss_and_gradients_of_the_released_classes(
    tmp_path: Path,
) -> None:
    model = AlignmentNet(AVSAConfig(dropout=0.0))
    load_weights(model, checkpoint(tmp_path / "checkpoint.pth.tar", "avsa"))
    pictures, spectra = views()
    found = directions(model(pictures.transpose(2, 3), spectra), TEMPERATURE)
    loss = sum(own.loss.mean() for own in found.values()) / 2
    loss.backward()
    parts = {
        "video": [model.video],
        "audio": [model.audio],
        "predictors": [model.audio_predictor, model.video_predictor],
        "heads": [model.heads],
    }
    norms = {
        name: float(sum(p.grad.square().sum() for m in own for p in m.parameters()).sqrt())
        for name, own in parts.items()
    }
    expected = dict(NUMBERS["training"])
    assert float(loss.detach()) == pytest.approx(expected.pop("loss"), rel=1e-5)
    assert norms == pytest.approx(expected, rel=1e-4)
