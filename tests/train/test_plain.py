"""The straightforward form of the benchmark is the same model."""

import pytest
import torch

from avstore.train.systems.cavmae.selection import importance
from benchmarks.plain_step import plain_method, same_weights, whole_maps
from tests.train.methods.cases import CONFIG, batch, make


def test_losses_of_both_forms_are_equal() -> None:
    ours = make("finetune")
    plain = plain_method("finetune", CONFIG, 4)
    same_weights(ours, plain)
    results = []
    for method in (ours, plain):
        torch.manual_seed(3)
        results.append(method.losses(batch(), None))
    for name, value in results[0].items():
        assert value.item() == pytest.approx(results[1][name].item(), rel=1e-4)


def test_importance_of_whole_maps_is_ours() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8)
    ours = importance._importance(query, key, 0.4)
    assert torch.allclose(whole_maps(query, key, 0.4), ours, atol=1e-6)


def test_plain_selection_keeps_as_many_patches() -> None:
    ours, plain = make("stella"), plain_method("stella", CONFIG, 6)
    same_weights(ours, plain)
    inputs = batch()
    found, _ = plain.align(plain.objective.patches(inputs))
    prune_v = torch.zeros_like(found.importance_v)
    prune_a = torch.zeros_like(found.importance_a).scatter(1, found.order_a[:, : plain.keep_a], 0.5)
    video = plain.order_video(found.importance_v, prune_v)
    audio = plain.order_audio(found.importance_a, prune_a)
    assert torch.equal(video.sort(1).values, torch.arange(video.shape[1]).expand(4, -1))
    assert torch.equal(audio.sort(1).values, torch.arange(audio.shape[1]).expand(4, -1))
