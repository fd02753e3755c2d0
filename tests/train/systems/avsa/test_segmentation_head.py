"""AVSA's segmentation head: the released one with the same weights gives the same logits."""

import pytest
import torch

from avstore.train.systems.avsa.segmentation_head import SegmentationHead
from tests.train.systems.avsa.released_segmentation import (
    CLASSES,
    CONTEXT,
    NUMBERS,
    head_inputs,
)

WIDTHS, STEPS = (64, 128, 256, 512), (8, 4, 2, 1)


def test_logits_are_those_of_the_released_head() -> None:
    head = SegmentationHead(WIDTHS, STEPS, CONTEXT, CLASSES)
    weights, maps, context = head_inputs(head.state_dict())
    head.load_state_dict(weights)
    with torch.no_grad():
        logits = head(maps, context)
    assert logits.shape == (2, CLASSES, 16, 16)
    expected = torch.tensor(NUMBERS["head"])
    torch.testing.assert_close(logits[:, ::8, ::5, ::5].flatten(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("context", "count"), [(1536, 4_628_271), (512, 4_366_127), (0, 4_235_055)]
)
def test_parameters_are_as_many_as_published(context: int, count: int) -> None:
    head = SegmentationHead(WIDTHS, STEPS, context, CLASSES)
    assert sum(p.numel() for p in head.parameters()) == count


def test_new_weights_are_small_and_time_is_averaged() -> None:
    torch.manual_seed(0)
    head = SegmentationHead(WIDTHS, STEPS, 0, CLASSES)
    for length, time in zip(STEPS, head.times, strict=True):
        x = torch.randn(1, 3, length, 4, 4)
        torch.testing.assert_close(time(x), x.mean(2))
    assert 0.0009 < head.laterals[3].weight.std().item() < 0.0011
