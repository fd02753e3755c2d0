"""CAV-MAE as released: its tensors load, and the numbers are those that its own code gives.

The numbers were computed once by the released classes (YuanGongND/cav-mae at 68fe8c2, timm 0.4.5)
with the weights, inputs and random draws of `released_cavmae`.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avstore.train.config import load_config
from avstore.train.optim import Progress, make_optimizer, set_lr
from avstore.train.sections import OptimConfig
from avstore.train.systems.cavmae.downstream.cavmae_classify import mean_token
from avstore.train.systems.cavmae.downstream.config import Modality, load_downstream
from avstore.train.systems.cavmae.model import CAVMAE, Masked
from avstore.train.systems.cavmae.published_weights import from_cavmae
from avstore.train.systems.cavmae.weights import load_backbone, read_head
from tests.train.systems.cavmae import released_cavmae as released
from tests.train.systems.cavmae.released_cavmae import CONFIG, SMALL

CLASSES = 7


@pytest.fixture
def pretrained(tmp_path: Path) -> CAVMAE:
    """Our model with the weights of a released checkpoint of pre-training."""
    model = CAVMAE(CONFIG)
    load_backbone(model, _saved(released.pretrained(SMALL), tmp_path))
    return model


class Finetuned(nn.Module):
    """Our model and head with the weights of a released checkpoint of finetuning."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.model = CAVMAE(CONFIG.model_copy(update={"learned_pos": True}))
        load_backbone(self.model, path)
        self.head = nn.Sequential(nn.LayerNorm(SMALL.width), nn.Linear(SMALL.width, CLASSES))
        state = read_head(path, ("mlp_head.",))
        assert state is not None
        self.head.load_state_dict(state)

    def forward(self, modality: Modality) -> Tensor:
        video, audio = released.inputs()
        out: Tensor = self.head(mean_token(self.model, video[:, None], audio[:, None], modality))
        return out


@pytest.fixture
def finetuned(tmp_path: Path) -> Finetuned:
    return Finetuned(_saved(released.finetuned(SMALL, CLASSES), tmp_path))


def _saved(shapes: released.Shapes, folder: Path) -> Path:
    state = {f"module.{name}": value for name, value in released.drawn(shapes).items()}
    torch.save(state, folder / "audio_model.pth")
    return folder / "audio_model.pth"


def masked(model: CAVMAE, seed: int) -> Masked:
    video, audio = released.inputs()
    patches = model.patches(video[:, None], audio[:, None])
    out: Masked = model(patches, released.released_order(patches, model.config, seed))
    return out


def test_parameters_are_as_many_as_the_released_logs_say() -> None:
    """Its classes have norms in addition that nothing uses; position tables are not trained."""
    config = load_config("cavmae", {}, []).model
    with torch.device("meta"):
        model = CAVMAE(config)
    unused = 2 * 2 * 2 * (22 * 768 + 8 * 512)
    total = sum(p.numel() for p in model.parameters()) + unused
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) + unused
    assert (round(total / 1e6, 3), round(trained / 1e6, 3)) == (191.036, 190.130)
    assert total == _count(released.pretrained(released.Size()))
    for classes, logged in ((309, 164.739), (527, 164.907)):
        head = 2 * 768 + 769 * classes
        decoder = sum(p.numel() for p in model.decoder.parameters()) + 2 * 2 * 2 * 8 * 512
        assert round((total - decoder + head) / 1e6, 3) == logged
        assert total - decoder + head == _count(released.finetuned(released.Size(), classes))


def _count(shapes: released.Shapes) -> int:
    return sum(torch.Size(shape).numel() for shape in shapes.values())


def test_released_names_and_shapes_have_a_place() -> None:
    """All 647 tensors of pre-training and all 478 of finetuning, at their full size."""
    config = load_config("cavmae", {}, []).model
    for shapes, unused in (
        (released.pretrained(released.Size()), 22 * 8 + 8 * 8),
        (released.finetuned(released.Size(), 527), 22 * 8 + 4),
    ):
        with torch.device("meta"):
            model = CAVMAE(config)
            adapted = from_cavmae({k: torch.empty(s) for k, s in shapes.items()}, config)
        assert (adapted.used | adapted.left_out.keys()) == shapes.keys()
        assert len(adapted.left_out) == unused
        own = {name: value.shape for name, value in model.state_dict().items()}
        found = {name: value.shape for name, value in adapted.state.items()}
        assert found == {name: shape for name, shape in own.items() if name not in adapted.kept}


def test_position_tables_are_the_released_ones() -> None:
    """By random projections of the released tables, whose audio rows are frequency-major."""
    model = CAVMAE(CONFIG)
    draw = torch.Generator().manual_seed(13)
    for table, steps, expected in (
        (model.audio.pos, 4, [-1.1221642, 2.6493218, 1.754847, 7.9506311]),
        (model.video.pos, 0, [23.0989723, 19.3522511, 16.1448288, -22.5595856]),
        (model.decoder.pos_audio, 4, [-8.0503254, -5.5207748, 2.0015235, 0.9568148]),
    ):
        rows = table[0]
        if steps:
            rows = rows.reshape(steps, 8, -1).transpose(0, 1).flatten(0, 1)
        left = torch.randn(4, len(rows), generator=draw)
        right = torch.randn(rows.shape[1], generator=draw)
        assert torch.allclose(left @ rows @ right, torch.tensor(expected), atol=1e-5)
        assert not table.requires_grad


def test_initial_weights_have_the_released_distribution() -> None:
    torch.manual_seed(0)
    model = CAVMAE(CONFIG.model_copy(update={"width": 256, "decoder_width": 128}))
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            bound = (6 / (module.in_features + module.out_features)) ** 0.5
            assert float(module.weight.abs().max()) <= bound, name
            assert float(module.weight.std()) == pytest.approx(bound / 3**0.5, rel=0.03), name
            assert not module.bias.any()
    tokens = [p for name, p in model.named_parameters() if "modality" in name or "token" in name]
    assert len(tokens) == 5
    assert float(torch.cat([p.flatten() for p in tokens]).std()) == pytest.approx(0.02, rel=0.1)
    assert model.decoder.mask_token_audio is model.decoder.mask_token_video


def test_pretraining_gives_the_released_losses_and_embeddings(pretrained: CAVMAE) -> None:
    with torch.no_grad():
        out = masked(pretrained, 5)
    found = torch.stack([out.mae_audio.mean(), out.mae_video.mean(), out.contrast.mean()])
    assert torch.allclose(found, torch.tensor([1.159914, 1.1698669, 0.0230344]), atol=1e-5)
    video, audio = released.inputs()
    pooled_a, pooled_v = pretrained.embed(video[:, None], audio[:, None])
    expected = torch.tensor([0.0959252, 0.297216, 0.3358295, 0.0944304])
    assert torch.allclose(pooled_a[0, :4], expected, atol=1e-5)
    expected = torch.tensor([0.3204929, 0.4060862, -0.3224394, -0.2965669])
    assert torch.allclose(pooled_v[0, :4], expected, atol=1e-5)


def test_four_steps_of_pretraining_give_the_released_losses(pretrained: CAVMAE) -> None:
    optim = load_config("cavmae", {}, ["optim.lr=1e-3"]).optim
    optimizer = make_optimizer(pretrained, optim)
    losses = []
    for step in range(4):
        set_lr(optimizer, optim, Progress(step, 100, 4))
        loss = masked(pretrained, 20 + step).loss.mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses == pytest.approx([2.3600781, 2.3562236, 2.2939305, 2.2799489], abs=1e-5)


@pytest.mark.parametrize(
    ("modality", "logits"),
    [
        ("both", [-0.3347286, -0.1170379, -0.0633985, -0.0418416, -0.1811953]),
        ("audio", [-0.3598012, -0.1065619, -0.0966382, -0.0827287, -0.2283701]),
        ("video", [-0.241503, -0.1191861, -0.0706057, -0.0711706, -0.1614329]),
        ("audio_of_both", [-0.3675093, -0.1093746, -0.0798836, -0.0741206, -0.2168329]),
        ("video_of_both", [-0.2311661, -0.1225871, -0.0558896, -0.0705146, -0.1601656]),
    ],
)
def test_finetuned_weights_give_the_released_logits(
    finetuned: Finetuned, modality: Modality, logits: list[float]
) -> None:
    with torch.no_grad():
        assert torch.allclose(finetuned(modality)[0, :5], torch.tensor(logits), atol=1e-5)


def test_five_steps_of_finetuning_give_the_released_losses(finetuned: Finetuned) -> None:
    """An epoch a step, so that the rate is halved after two."""
    optim = load_downstream("cavmae_vs", {}, []).optim.model_copy(update={"lr": 1e-3})
    optimizer = make_optimizer(finetuned, optim)
    targets = torch.full((4, CLASSES), 0.1 / CLASSES)
    targets[torch.arange(4), torch.arange(4)] = 0.9
    multi = F.binary_cross_entropy_with_logits(finetuned("both"), targets)
    assert float(multi.detach()) == pytest.approx(0.6449721, abs=1e-5)
    losses = []
    for step in range(5):
        set_lr(optimizer, optim, Progress(step, 5, 1))
        loss = F.cross_entropy(finetuned("both"), targets)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    expected = [1.9329545, 1.8368009, 1.7625709, 1.7269861, 1.708025]
    assert losses == pytest.approx(expected, abs=1e-5)


HALVES = [2.0**-k for k in range(20)]


@pytest.mark.parametrize(
    ("optim", "epochs", "logged"),
    [
        (load_config("cavmae", {}, []).optim, 25, [1] * 10 + [0.5] * 5 + [0.25] * 5 + [0.125] * 5),
        (load_config("cavmae_as", {}, []).optim, 25, [1] * 10 + [0.5] * 5 + [0.25] * 5),
        (load_config("cavmae_second", {}, []).optim, 10, [1] * 10),
        (load_downstream("cavmae_vs", {}, []).optim, 10, [1, 1, *HALVES[1:9]]),
        (load_downstream("cavmae_as", {}, []).optim, 10, [1, 1, *HALVES[1:9]]),
        (load_downstream("cavmae_as20k", {}, []).optim, 15, [1] * 5 + HALVES[1:11]),
    ],
)
def test_learning_rates_are_those_of_the_released_logs(
    optim: OptimConfig, epochs: int, logged: list[float]
) -> None:
    optimizer = make_optimizer(nn.Linear(2, 2), optim)
    rates = []
    for epoch in range(epochs):
        set_lr(optimizer, optim, Progress(3 * epoch + 2, 3 * epochs, 3))
        rates.append(optimizer.param_groups[0]["lr"] / optim.lr)
    assert rates[: len(logged)] == pytest.approx(logged)
    assert len(optimizer.param_groups) == 1  # biases are decayed, too


def test_the_head_learns_faster() -> None:
    optim = load_downstream("cavmae_as", {}, []).optim
    module = nn.ModuleDict({"model": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    rates = sorted(group["lr"] for group in make_optimizer(module, optim).param_groups)
    assert rates == pytest.approx([1e-5, 5e-4])
