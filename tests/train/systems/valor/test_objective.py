"""What the network learns from right, from blurred and from weak labels."""

import pytest
import torch

from avstore.train.data import Batch, BatchSpec
from avstore.train.optim import make_optimizer
from avstore.train.sections import OptimConfig
from avstore.train.systems.valor.model import ParsingNet
from avstore.train.systems.valor.model_config import ValorConfig
from avstore.train.systems.valor.objective import ValorObjective
from avstore.train.systems.valor.settings import ValorSettings
from tests.train.systems.valor.made_up import Events

SHAPE = ValorConfig(
    audio_width=32, visual_width=32, motion_width=32, width=64, heads=4, feedforward=128
)
OPTIM = OptimConfig(name="adamw", lr=2e-3, betas=(0.5, 0.999), weight_decay=1e-3, decayed="all")


def batch(events: Events, index: torch.Tensor, kind: str, seed: int, *, scored: bool) -> Batch:
    truth, weak = events.truth[index], events.weak[index]
    pseudo = truth if kind == "true" else weak[:, None, None].expand_as(truth)
    audio, visual = (events.features(32, modality, seed + modality) for modality in range(2))
    return Batch(
        video=None,
        audio=None,
        labels=truth if scored else weak,
        clip_ids=[f"llp/{n}" for n in index.tolist()],
        step=0,
        slots=torch.full((len(index),), -1),
        features={
            "vggish": audio[index],
            "resnet152": visual[index],
            "r2plus1d18": torch.zeros(len(index), 10, 32),
            "valor-clap-labels": pseudo[:, :, 0],
            "valor-clip-labels": pseudo[:, :, 1],
        },
    )


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        ("true", 90, 100),
        pytest.param("repeated", 20, 75, marks=pytest.mark.slow),
        pytest.param("weak", 10, 75, marks=pytest.mark.slow),
    ],
)
def test_seconds_are_found_from_true_pseudo_labels_alone(
    kind: str, least: float, most: float
) -> None:
    """300 clips to train on, 100 to test; the published network does as ours."""
    torch.manual_seed(0)
    train, test = Events.drawn(300, 0), Events.drawn(100, 1)
    spec = BatchSpec(32, read=ValorSettings().inputs, labels="multi_hot")
    system = ValorObjective(ParsingNet(SHAPE), spec, spec, ValorSettings())
    optimizer = make_optimizer(system, OPTIM)
    for _ in range(40):
        for index in torch.randperm(300).split(32):
            out = system.train()(batch(train, index, kind, 10, scored=False))
            parts = out.parts if kind != "weak" else {"video": out.parts["video"]}
            optimizer.zero_grad()
            sum(part.mean() for part in parts.values()).backward()
            torch.nn.utils.clip_grad_norm_(system.parameters(), 1.0)
            optimizer.step()
    everything = batch(test, torch.arange(100), kind, 20, scored=True)
    scores = system.scores([everything], {"half": everything.clip_ids[:50]})
    # From weak labels alone, one modality may be found and not the other.
    assert least < scores["all"]["segment_type"] <= most
    assert scores["all"]["clips_scored"] == 100
    assert scores["half"]["clips_scored"] == 50


def test_clips_without_annotation_are_not_scored() -> None:
    events = Events.drawn(6, 0)
    events.truth[:2] = 0
    spec = BatchSpec(6, read=ValorSettings().inputs, labels="multi_hot")
    system = ValorObjective(ParsingNet(SHAPE), spec, spec, ValorSettings())
    given = batch(events, torch.arange(6), "true", 0, scored=True)
    scores = system.scores([given], {"bare": given.clip_ids[:2], "rest": given.clip_ids[1:]})
    assert scores["bare"] == {"clips_scored": 0.0}
    assert scores["rest"]["clips_scored"] == scores["all"]["clips_scored"] == 4
