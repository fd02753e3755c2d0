"""A training step of UAVM, held to the numbers of the released code (YuanGongND/uavm at b3120c7).

Its dataset class was run on these features with the draws below in place of its own, its model with
Adam for six steps in fp32 on a CPU.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from avstore.train.classifier import row_losses
from avstore.train.data import Augment, BatchSpec
from avstore.train.data.augment import augment
from avstore.train.data.decode import DecodedSample
from avstore.train.data.request import SampleRequest
from avstore.train.data.rng import RandomKey
from avstore.train.data.transforms import features, labels
from avstore.train.systems.uavm.model import UAVM
from avstore.train.systems.uavm.model_config import Modality, UAVMConfig
from avstore.train.systems.uavm.objective import modality_of_step
from avstore.train.systems.uavm.weights import load_weights
from tests.train.systems.uavm.features import MadeUp, system
from tests.train.systems.uavm.released import weights

ROWS, WIDTH, CLASSES, SHARE = 6, 3, 5, 0.37
LABELS = ([2], [0, 3], [3, 1], [4])
PARTNERS = {1: 2, 3: 0}  # clips 0 and 2 are not mixed
KEYS = [RandomKey(5, 0, place) for place in range(4)]
TINY = UAVMConfig(classes=CLASSES, input_width=WIDTH, width=8, heads=2, rows=ROWS)
PUBLISHED = Path(__file__).with_name("released_steps.json")


def clips() -> list[tuple[np.ndarray, np.ndarray]]:
    """Audio of 7 rows, which are cut; video of 4 to 7 in half precision, with a row of zeros."""
    draw = np.random.RandomState(3)
    found = []
    for number in range(4):
        audio = draw.standard_normal((7, WIDTH)).astype(np.float32)
        video = draw.standard_normal((4 + number, WIDTH)).astype(np.float16)
        video[1] = 0
        found.append((audio, video))
    return found


def prepared(index: int) -> dict[str, np.ndarray]:
    """A clip as the loader's decoding gives it."""
    names = ("audio", "video")
    return {k: features.fit(x, ROWS, True) for k, x in zip(names, clips()[index], strict=True)}


def request(index: int) -> SampleRequest:
    nothing: dict[str, Any] = dict.fromkeys(("sample", "fbank", "waveform", "crc32"))
    empty: dict[str, Any] = dict.fromkeys(("frames", "masks", "features", "members"), ())
    return SampleRequest(random=KEYS[index], share=SHARE, mixing=True, **nothing, **empty)


@pytest.mark.parametrize("index", range(4))
def test_features_and_targets_are_the_released_ones(index: int) -> None:
    published = json.loads(PUBLISHED.read_text())["prepared"][index]
    spec = BatchSpec(
        4, read=("audio",), labels="multi_hot", augment=Augment(mixup=0.5, feature_roll=15)
    )
    other = PARTNERS.get(index)
    sample = DecodedSample("a", index, features=prepared(index))
    partner = None if other is None else DecodedSample("b", other, features=prepared(other))
    augment(sample, partner, request(index), spec)
    for name in ("audio", "video"):
        assert np.allclose(sample.features[name], published[name], atol=1e-6)
    second = None if other is None else LABELS[other]
    target = labels.multi_hot(LABELS[index], CLASSES, 0.1, second, SHARE)
    assert np.allclose(target, published["target"], atol=1e-7)


def test_targets_of_vggsound_by_hand() -> None:
    target = labels.multi_hot([7], 309, 0.1)
    assert target[7] == pytest.approx(0.9)
    assert target[0] == pytest.approx(3.236e-4, rel=1e-3)
    assert target.sum() == pytest.approx(0.99968, abs=1e-5)


def batches() -> Iterator[tuple[Modality, Tensor, Tensor, Tensor]]:
    """Six batches: modality, audio, video, targets."""
    draw = np.random.RandomState(17)
    for modality in ("audio", "video", "video", "audio", "audio", "video"):
        audio, video = (draw.standard_normal((4, ROWS, WIDTH)) for _ in range(2))
        targets = draw.dirichlet([0.3] * CLASSES, 4)
        tensors = [torch.from_numpy(x).float() for x in (audio, video, targets)]
        yield modality, tensors[0], tensors[1], tensors[2]


def trained(loss: str, zeros: bool, path: Path) -> tuple[list[float], dict[str, float]]:
    """Losses of six steps, and how far each part has moved."""
    torch.save({f"module.{k}": x for k, x in weights(TINY).items()}, path)
    model = UAVM(TINY)
    load_weights(model, path)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.Adam(
        [p for p in model.parameters() if p.requires_grad], 1e-2, (0.95, 0.999), weight_decay=5e-2
    )
    losses = []
    for modality, audio, video, targets in batches():
        logits = model(**{modality: audio if modality == "audio" else video})
        mean = row_losses(logits, targets, loss).mean()
        optimizer.zero_grad(set_to_none=not zeros)
        mean.backward()
        optimizer.step()
        losses.append(mean.item())
    squares: dict[str, float] = {"own.audio": 0.0, "own.video": 0.0, "upper": 0.0}
    for name, p in model.named_parameters():
        part = next(part for part in squares if name.startswith(part))
        squares[part] += float((p.detach() - before[name]).square().sum())
    return losses, {part: value**0.5 for part, value in squares.items()}


@pytest.mark.parametrize("loss", ["ce", "bce"])
@pytest.mark.parametrize("idle", ["zeros", "none"])
def test_six_steps_are_the_released_ones(loss: str, idle: str, tmp_path: Path) -> None:
    """`zeros`: gradients of the idle stage are 0, so momentum moves it, as torch 1.11 did."""
    published = json.loads(PUBLISHED.read_text())[f"{loss}_{idle}"]
    losses, moved = trained(loss, idle == "zeros", tmp_path / "model.pth")
    assert losses == pytest.approx(published["losses"], abs=1e-5)
    assert moved == pytest.approx(published["moved"], abs=1e-4)


def test_row_losses_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    targets = torch.tensor([[0.9, 0.05], [1.0, 1.0]])
    total = torch.logsumexp(logits, 1)
    ce = (targets * (total[:, None] - logits)).sum(1)
    assert torch.allclose(row_losses(logits, targets, "ce"), ce)
    p = logits.sigmoid()
    bce = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean(1)
    assert torch.allclose(row_losses(logits, targets, "bce"), bce)


def test_modalities_are_drawn_by_step_and_seed() -> None:
    drawn = [modality_of_step(1, step) for step in range(400)]
    assert drawn == [modality_of_step(1, step) for step in range(400)]
    assert "".join(modality_of_step(7, step)[0] for step in range(12)) == "aaaaaaavaava"
    assert 160 < drawn.count("audio") < 240
    assert drawn != [modality_of_step(2, step) for step in range(400)]
    assert {modality_of_step(1, step, 1.0) for step in range(50)} == {"audio"}
    assert {modality_of_step(1, step, 0.0) for step in range(50)} == {"video"}
    more = [modality_of_step(1, step, 0.9) for step in range(400)]
    assert all(b == "audio" for a, b in zip(drawn, more, strict=True) if a == "audio")


def learnt(audio_share: float, own: int, shared: int) -> tuple[float, float, float]:
    """Accuracy of audio, video and both after training on 20 classes of 8 clips."""
    data = MadeUp()
    torch.manual_seed(0)
    objective = system(data.config(own, shared), audio_share=audio_share)
    optimizer = torch.optim.Adam(objective.parameters(), 1e-3, (0.95, 0.999))
    draw = torch.Generator().manual_seed(0)
    for step in range(15 * 10):
        if step % 10 == 0:
            order = torch.randperm(len(data.truth), generator=draw)
        batch = data.training(order[16 * (step % 10) :][:16], step)
        optimizer.zero_grad(set_to_none=False)
        objective(batch).loss.mean().backward()
        optimizer.step()
    scores = objective.scores(data.evaluation(), {})["all"]
    audio, video, both = (scores[f"{view}_accuracy"] / 100 for view in ("audio", "video", "both"))
    return audio, video, both


def test_both_modalities_are_learnt_one_at_a_time() -> None:
    assert min(learnt(0.5, 1, 1)) > 0.9


@pytest.mark.parametrize(("own", "shared"), [(1, 1), (2, 0)])
def test_a_modality_that_is_never_drawn_is_not_learnt(own: int, shared: int) -> None:
    audio, video, both = learnt(1.0, own, shared)
    assert (audio > 0.9, both > 0.9, video < 0.2) == (True, True, True)
