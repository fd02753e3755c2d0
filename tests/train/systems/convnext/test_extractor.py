"""UAVM's audio extractor: trained by the loop, its checkpoint an extractor's weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import convnext_base

from avstore.pipelines.features.extractors.convnext import ConvNextAudio as Extractor
from avstore.pipelines.features.weights import Weights
from avstore.train import run
from avstore.train.config import load_config
from avstore.train.errors import UserError
from avstore.train.experiment import batch_spec
from avstore.train.systems.convnext.model import ConvNextAudio
from avstore.train.systems.convnext.model_config import ConvNextConfig
from avstore.train.systems.convnext.weights import load_weights
from tests.train.test_resume import numbers

SMALL = ConvNextConfig(widths=(8, 16), depths=(1, 1), classes=5)


def test_published_settings_reach_the_loader() -> None:
    spec = batch_spec(load_config("uavm_audio", {}, []), training=True)
    augment = spec.augment
    assert (augment.mixup, augment.mixup_domain, augment.mixup_beta) == (0.5, "waveform", 10.0)
    assert (augment.freq_mask, augment.time_mask, augment.roll) == (48, 192, 10)
    assert (spec.fbank_frames, spec.smoothing, spec.classes) == (1000, 0.1, 309)
    assert load_config("uavm_audio", {}, ["fidelity=published"]).optim.published_warmup
    as_full = load_config("uavm_audio_as", {}, [])
    assert (as_full.average, as_full.optim.lr, as_full.data.mean) == ((16, 30), 5e-4, -4.2677)


def test_another_number_of_classes_keeps_the_trunk(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = ConvNextAudio(SMALL)
    torch.save({"model": first.state_dict()}, tmp_path / "task-01.pt")
    other = ConvNextAudio(SMALL.model_copy(update={"classes": 3}))
    load_weights(other, tmp_path / "task-01.pt")
    assert torch.equal(other.features[0][0].weight, first.features[0][0].weight)
    assert other.classifier[2].weight.shape[0] == 3
    with pytest.raises(UserError, match="does not fit"):
        load_weights(
            ConvNextAudio(SMALL.model_copy(update={"depths": (1, 2)})), tmp_path / "task-01.pt"
        )
    torch.save({"layer.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="holds no ConvNeXt"):
        load_weights(other, tmp_path / "other.pt")


@pytest.mark.slow
def test_a_checkpoint_of_the_trainer_is_an_extractors_weights(tmp_path: Path) -> None:
    """ImageNet's names and released names load too; all three give the same tokens."""
    torch.manual_seed(0)
    imagenet = convnext_base().state_dict()
    torch.save(imagenet, tmp_path / "imagenet.pth")
    model = ConvNextAudio(ConvNextConfig()).eval()
    load_weights(model, tmp_path / "imagenet.pth")
    torch.save({"config": {}, "model": model.state_dict()}, tmp_path / "task-01.pt")
    words = {"features": "module.model.0", "classifier": "module.model.2"}
    released = {
        name.replace(head, words[head], 1): value
        for name, value in model.state_dict().items()
        for head in [name.partition(".")[0]]
    }
    torch.save(released, tmp_path / "vgg_audio_feat.pth")
    fbank = np.random.default_rng(0).normal(size=(1, 990, 128)).astype(np.float32)
    with torch.no_grad():
        tokens = model.trunk(torch.from_numpy(fbank)[:, None]).mean(2).transpose(1, 2).numpy()
    assert tokens.shape == (1, 30, 1024)
    for name in ("task-01.pt", "vgg_audio_feat.pth"):
        forward = Extractor().load(Weights("file", None, path=str(tmp_path / name)), "cpu")
        np.testing.assert_allclose(forward(fbank), tokens, atol=1e-5)
    again = ConvNextAudio(ConvNextConfig()).eval()
    load_weights(again, tmp_path / "vgg_audio_feat.pth")
    assert torch.equal(again.classifier[2].weight, model.classifier[2].weight)


def test_it_is_finetuned_and_scored(two_task_store: Path, tmp_path: Path) -> None:
    settings = [
        *("model.widths=[8,16,32,64]", "model.depths=[1,1,1,1]", "model.fbank_frames=256"),
        *("epochs=3", "batch_size=4", "average=[2,3]", "data.noise=true", "precision=fp32"),
        *("optim.published_warmup=true", "batch_size=12"),
    ]
    sets = [word for item in settings for word in ("--set", item)]
    code = run.main(
        [*("--shards", str(two_task_store), "--stream", "vggsound", "--out", str(tmp_path / "run")),
         *("--config", "uavm_audio", "--device", "cpu"), *sets]
    )  # fmt: skip
    assert code == 0
    scored = {(task, metric) for _, task, _, metric, _ in numbers(tmp_path / "run")}
    assert {("epoch", "audio_accuracy"), ("vggsound", "audio_map")} <= scored
    saved = torch.load(tmp_path / "run/task-01.pt", weights_only=True)["model"]
    assert saved["features.0.0.weight"].shape == (8, 1, 4, 4)
