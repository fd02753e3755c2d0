"""Schedules against torch's own and the released code's loop, written out."""

import numpy as np
import pytest
import torch

from avstore.train.config import load_config
from avstore.train.optim import Progress, make_optimizer, set_lr
from avstore.train.schedules import plateau_factor, warmup_factor
from avstore.train.sections import OptimConfig


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("spread", [0.3, 2e-4])
def test_plateau_is_that_of_torch(seed: int, spread: float) -> None:
    scores = 0.5 + spread * np.random.default_rng(seed).random(30)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], 1.0)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=2
    )
    for epoch, score in enumerate(scores.tolist()):
        torchs.step(score)
        found = plateau_factor(scores[: epoch + 1].tolist())
        assert found == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-7)


def test_plateau_by_hand() -> None:
    assert plateau_factor([]) == 1
    assert plateau_factor([0.5, 0.4, 0.4]) == 1
    assert plateau_factor([0.5, 0.4, 0.4, 0.5]) == 0.5
    assert plateau_factor([0.5, 0.4, 0.4, 0.6, 0.5, 0.5]) == 1


@pytest.mark.parametrize("batch_size", [10, 48, 120, 144, 600])
def test_published_warmup_is_that_of_the_released_loop(batch_size: int) -> None:
    """Only multiples of 50 up to 1,000 set it; a step counts a tenth of its samples."""
    expected = 0.0
    for step in range(300):
        count = step * (batch_size // 10)
        if count in range(0, 1001, 50):
            expected = count / 1000
        assert warmup_factor(step, batch_size, published=True) == expected


def test_warmup_by_hand() -> None:
    published = [warmup_factor(step, 120, published=True) for step in (0, 24, 25, 50, 75, 10_000)]
    assert published == [0, 0, 0.3, 0.6, 0.9, 0.9]
    assert [warmup_factor(step, 100) for step in (0, 50, 100, 10_000)] == [0, 0.5, 1, 1]
    with pytest.raises(ValueError, match="never leaves 0 with batch_size=9"):
        warmup_factor(0, 9, published=True)


@pytest.mark.parametrize(
    ("start", "epochs", "expected"),
    [
        (1, 4, [1, 0.5, 0.25, 0.125]),  # UAVM and its baselines: halved after every epoch
        (15, 18, [1.0] * 15 + [0.5, 0.25, 0.125]),  # the extractor on VGGSound
    ],
)
def test_steps_of_uavm_are_those_of_torch(start: int, epochs: int, expected: list[float]) -> None:
    config = OptimConfig(lr=5e-5, schedule="steps", step_start=start, step_epochs=1)
    optimizer = make_optimizer(torch.nn.Linear(2, 2), config)
    published = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], 5e-5)
    torchs = torch.optim.lr_scheduler.MultiStepLR(published, list(range(start, 1000)), gamma=0.5)
    for epoch in range(epochs):
        for step in (10 * epoch, 10 * epoch + 9):
            set_lr(optimizer, config, Progress(step, 10 * epochs, 10))
            rate = optimizer.param_groups[0]["lr"]
            assert rate == pytest.approx(5e-5 * expected[epoch])
            assert rate == pytest.approx(published.param_groups[0]["lr"])
        published.step()
        torchs.step()


@pytest.mark.parametrize(
    ("config", "rates"),
    [
        ("valor", {1: 1e-5, 9: 9e-5, 10: 1e-4, 35: 5.05e-5, 60: 1e-6}),
        ("valor_plus", {1: 3e-5, 9: 2.7e-4, 10: 3e-4, 35: 1.515e-4, 60: 3e-6}),
        ("han", {1: 3e-4, 10: 3e-4, 11: 3e-5, 20: 3e-5, 21: 3e-6, 40: 3e-7}),
    ],
)
def test_an_epoch_has_one_rate_in_valor_and_han(config: str, rates: dict[int, float]) -> None:
    loaded = load_config(config, {}, [])
    optimizer = make_optimizer(torch.nn.Linear(2, 2), loaded.optim)
    steps = 157 * loaded.epochs
    for epoch, rate in rates.items():
        for step in (157 * (epoch - 1), 157 * epoch - 1):
            set_lr(optimizer, loaded.optim, Progress(step, steps, 157))
            assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)
