"""VALOR's network on AVE: losses, scores, and what it learns from seconds and from clips."""

import numpy as np
import pytest
import torch
from torch import Tensor

from avstore.train.data import Batch, BatchSpec
from avstore.train.errors import UserError
from avstore.train.evaluation.events import event_accuracy, event_accuracy_by_class
from avstore.train.optim import make_optimizer
from avstore.train.systems.valor.events import EventObjective
from avstore.train.systems.valor.model import ParsingNet
from avstore.train.systems.valor.settings import EventSettings
from tests.train.systems.valor.made_up import shown
from tests.train.systems.valor.made_up_ave import AveEvents
from tests.train.systems.valor.test_objective import OPTIM, SHAPE

AVE_SHAPE = SHAPE.model_copy(update={"classes": 29})


def system(*targets: str) -> EventObjective:
    torch.manual_seed(0)
    settings = EventSettings(targets=targets)
    spec = BatchSpec(32, read=settings.inputs, labels="segments")
    return EventObjective(ParsingNet(AVE_SHAPE), spec, spec, settings)


def batch(events: AveEvents, labels: Tensor, seed: int = 10) -> Batch:
    audio, visual = (shown(events.active(m), 32, m, seed + m) for m in range(2))
    return Batch(
        video=None,
        audio=None,
        labels=labels,
        clip_ids=[f"ave/{name}" for name in events.ids],
        step=0,
        slots=torch.full((len(labels),), -1),
        features={
            "vggish": audio,
            "resnet152": visual,
            "r2plus1d18": torch.zeros(len(labels), 10, 32),
            "valor-clap-labels": events.active(0),
            "valor-clip-labels": events.active(1),
        },
    )


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def test_losses_equal_their_definitions() -> None:
    """Of the network's outputs, in NumPy, a second and a class at a time where it can be."""
    events = AveEvents.drawn(5, 3)
    truth = events.truth
    truth[1, :3, 7] = 1  # a second with two events
    truth[1, :3, 28] = 0
    objective = system("seconds", "clip", "teachers").eval()
    given = batch(events, truth)
    with torch.no_grad():
        parsed, out = objective.parse(given), objective(given)
    z, times, shares = (x.double().numpy() for x in (parsed.logits, parsed.times, parsed.shares))
    np.testing.assert_allclose(shares.sum(2), 1, atol=1e-6)
    logits = shares[:, :, 0] * z[:, :, 0] + shares[:, :, 1] * z[:, :, 1]
    weights = softmax(shares[:, :, 0] * times[:, :, 0] + shares[:, :, 1] * times[:, :, 1], 1)
    p = softmax(logits, 2)
    heard, seen = (events.active(m).numpy() > 0 for m in range(2))
    seconds, clips, teachers = [], [], []
    for n in range(5):
        own, taught = [], []
        for t in range(10):
            known = np.flatnonzero(truth[n, t].numpy())
            own.append(-np.mean([np.log(p[n, t, c]) for c in known]))
            both = np.flatnonzero(heard[n, t] & seen[n, t])
            taught.append(-np.mean([np.log(p[n, t, c]) for c in (both if len(both) else [28])]))
        seconds.append(np.mean(own))
        teachers.append(np.mean(taught))
        pooled = [sum(weights[n, t, c] * p[n, t, c] for t in range(10)) for c in range(28)]
        named = truth[n, :, :28].amax(0).numpy() > 0
        clips.append(
            -np.mean([np.log(q if y else 1 - q) for q, y in zip(pooled, named, strict=True)])
        )
    for name, value in {"seconds": seconds, "clip": clips, "teachers": teachers}.items():
        np.testing.assert_allclose(out.parts[name].numpy(), value, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(out.loss, np.sum([seconds, clips, teachers], 0), rtol=1e-4)


def test_the_clips_loss_is_the_same_from_labels_of_clips_and_of_seconds() -> None:
    events, objective = AveEvents.drawn(4, 1), system("clip").eval()
    losses = [objective(batch(events, labels)).loss for labels in (events.truth, events.weak)]
    torch.testing.assert_close(*losses)


def test_pseudo_labels_of_other_classes_are_refused() -> None:
    events = AveEvents.drawn(2, 1)
    given = batch(events, events.weak)
    given.features["valor-clip-labels"] = torch.zeros(2, 10, 25)
    with pytest.raises(UserError, match=r"valor-clip-labels has .* \(10, 25\).* \(10, 28\); build"):
        system("clip", "teachers")(given)


def test_accuracy_counts_background_and_clips_without_an_event() -> None:
    events, objective = AveEvents.drawn(6, 2), system("seconds")
    truth = events.truth
    truth[0] = 0
    truth[0, :, 28] = 1
    for parameter in objective.parameters():
        parameter.data.zero_()
    objective.model.event.bias.data[28] = 1  # background everywhere
    given = batch(events, truth)
    first = given.clip_ids[:1]
    scores = objective.scores([given], {"bare": first, "none": []})
    share = 100 * float(truth[:, :, 28].mean())
    assert scores["all"] == {"clips_scored": 6, "accuracy": pytest.approx(share)}
    assert scores["bare"] == {"clips_scored": 1, "accuracy": 100}
    assert scores["none"] == {"clips_scored": 0}


def test_accuracy_of_classes_is_of_their_own_seconds() -> None:
    truth = torch.eye(3)[torch.tensor([[0, 0, 0, 2], [2, 0, 2, 2]])]
    scores = torch.eye(3)[torch.tensor([[0, 0, 2, 2], [1, 1, 2, 2]])]
    found = event_accuracy_by_class(scores, truth)
    assert found[[0, 2]].tolist() == [50, 75]
    assert found[1].isnan(), "no second has it"
    assert event_accuracy(scores, truth) == {"accuracy": 62.5}


def accuracy(*targets: str) -> float:
    """Train on 300 clips of six classes, and score 100 others."""
    train, test = AveEvents.drawn(300, 0, classes=6), AveEvents.drawn(100, 1, classes=6)
    labels = train.truth if "seconds" in targets else train.weak
    objective = system(*targets).train()
    optimizer = make_optimizer(objective, OPTIM)
    given = batch(train, labels)
    for _ in range(15):
        for index in torch.randperm(300).split(32):
            optimizer.zero_grad()
            objective(given.rows(index.tolist())).loss.mean().backward()
            torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
            optimizer.step()
    return objective.scores([batch(test, test.truth, 20)], {})["all"]["accuracy"]


def test_seconds_teach_more_than_clips_and_clips_more_than_nothing() -> None:
    """Background is in a third of the seconds; the teachers are right here, so they teach it."""
    truth = AveEvents.drawn(100, 1, classes=6).truth
    most = 100 * float(truth.mean((0, 1)).max())
    supervised, taught, weak = (
        accuracy("seconds"),
        accuracy("clip", "teachers"),
        accuracy("clip"),
    )
    assert supervised > 90
    assert taught > 90
    assert most + 5 < weak < supervised - 5, "from clips alone, no second is background"
