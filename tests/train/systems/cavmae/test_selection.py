"""Patch selection against a reference written as the paper describes it, one row at a time."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.train.systems.cavmae.matching import AudioVideoMatching
from avstore.train.systems.cavmae.selection import (
    draw,
    forgetting,
    localise,
    sample_order,
    select_audio,
    select_video,
)


def projected(rows: int = 3, audio: int = 6, video: int = 10):
    torch.manual_seed(0)
    avm = AudioVideoMatching(16, 2)
    for layer in (avm.qkv_audio, avm.qkv_video):
        torch.nn.init.normal_(layer.weight)
    return avm.project(torch.randn(rows, audio, 16), torch.randn(rows, video, 16))


def test_importance_core_and_queries_equal_the_reference() -> None:
    p = projected()
    found = localise(p, 0.4, 4, 3)
    for n in range(3):
        importance = torch.zeros(10)
        for h in range(2):
            for i in range(6):
                logits = torch.tensor([p.q_a[n, h, i] @ p.k_v[n, h, j] / 8**0.5 for j in range(10)])
                importance += (logits / 0.4).softmax(0) / (2 * 6)
        assert torch.allclose(found.importance_v[n], importance, atol=1e-5)
        assert found.importance_v[n].sum().item() == pytest.approx(1, abs=1e-5)
        core = importance.argsort(descending=True)[:4]
        assert torch.equal(found.order_v[n, :4], core)
        assert torch.allclose(found.keys_v[n], p.k_v[n][:, core])
        for h in range(2):
            mean = sum(importance[j] * p.q_v[n, h, j] for j in core) / importance[core].sum()
            assert torch.allclose(found.query_v[n, h], mean, atol=1e-5)


def test_forgetting_is_the_share_of_the_past_and_zero_outside_the_core() -> None:
    p = projected()
    found = localise(p, 0.4, 4, 3)
    past = torch.randn(3, 2, 8)
    probability = forgetting(found.keys_v, past, found.query_a, found.order_v, 4)
    for n in range(3):
        expected = torch.zeros(10)
        for place, j in enumerate(found.order_v[n, :4]):
            shares = []
            for h in range(2):
                key = found.keys_v[n, h, place]
                pair = torch.stack([key @ past[n, h], key @ found.query_a[n, h]]) / 8**0.5
                shares.append(pair.softmax(0)[0])
            expected[j] = sum(shares) / 2
        assert torch.allclose(probability[n], expected, atol=1e-5)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_forgetting_in_half_precision_is_near_that_in_float32(precision: torch.dtype) -> None:
    p = projected()
    found = localise(p, 0.4, 4, 3)
    past = torch.randn(3, 2, 8)
    exact = forgetting(found.keys_v, past, found.query_a, found.order_v, 4)
    with torch.autocast("cpu", precision):
        half = forgetting(found.keys_v, past, found.query_a, found.order_v, 4)
    assert half.dtype == torch.float32
    assert torch.allclose(half, exact, atol=0.05)


def test_current_correlation_is_the_weighted_attention_of_the_paper() -> None:
    """Σ I_a[i] A_av[i, j] / Σ I_a[i] over the core audio patches is k̂_v · q̂_a / √d."""
    p = projected()
    found = localise(p, 0.4, 4, 3)
    logits = p.q_a @ p.k_v.transpose(-2, -1) / 8**0.5
    for n in range(3):
        core_a, core_v = found.order_a[n, :3], found.order_v[n, :4]
        weight = found.importance_a[n, core_a]
        for h in range(2):
            long = (weight[:, None] * logits[n, h][core_a][:, core_v]).sum(0) / weight.sum()
            short = found.keys_v[n, h] @ found.query_a[n, h] / 8**0.5
            assert torch.allclose(long, short, atol=1e-4)


def test_draws_follow_the_weights_without_replacement() -> None:
    torch.manual_seed(0)
    weight = torch.tensor([0.5, 0.3, 0.2, 0.0])
    order = sample_order(weight.expand(20000, -1))
    assert torch.equal(order.sort(1).values, torch.arange(4).expand(20000, -1))
    assert (order[:, 3] == 3).all()  # nothing of weight 0 before anything else
    first = order[:, 0].bincount(minlength=4) / 20000
    assert torch.allclose(first, weight, atol=0.015)
    after = order[order[:, 0] == 0, 1].bincount(minlength=4) / (order[:, 0] == 0).sum()
    assert torch.allclose(after, torch.tensor([0.0, 0.6, 0.4, 0.0]), atol=0.02)


def test_pruned_video_patches_come_last() -> None:
    torch.manual_seed(0)
    importance = torch.rand(5, 12).softmax(1)
    pruned = torch.rand(5, 12) < 0.4
    order = select_video(importance, pruned)
    for n in range(5):
        kept = int((~pruned[n]).sum())
        assert not pruned[n][order[n, :kept]].any()


def plain_audio(order: list[int], pruned: list[bool], keep: int, size: int, coin: bool) -> set[int]:
    """The walk over chunks as the paper tells it; which tokens are kept."""
    pruned = list(pruned)
    chunks = len(pruned) // size
    total, selected = 0, []
    for number, chunk in enumerate(order):
        tokens = range(chunk * size, (chunk + 1) * size)
        total += sum(not pruned[t] for t in tokens)
        if total < keep:
            selected.append(chunk)
            continue
        before, after = chunk - 1 in selected, chunk + 1 in selected
        at_end = before if before != after else coin
        free = [t for t in tokens if not pruned[t]]
        excess = total - keep
        for t in free[len(free) - excess :] if at_end else free[:excess]:
            pruned[t] = True
        for later in order[number + 1 :]:
            for t in range(later * size, (later + 1) * size):
                pruned[t] = True
        break
    assert chunks == len(order)
    return {t for t, gone in enumerate(pruned) if not gone}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1), coin=st.booleans())
def test_audio_chunks_equal_the_plain_walk(seed: int, share: float, coin: bool) -> None:
    bands, steps, chunks, keep = 2, 4, 6, 24
    size, length = bands * steps, bands * steps * chunks
    rng = random.Random(seed)
    # As in STELLA at most half of the tokens can be pruned.
    core = rng.sample(range(length), length - keep)
    gone = {t for t in core if rng.random() < share}
    pruned = torch.tensor([[t in gone for t in range(length)]])
    chunk_order = rng.sample(range(chunks), chunks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "sample_order", lambda weight: torch.tensor([chunk_order]))
        patch.setattr(torch, "rand", lambda *shape, **_: torch.full((1, 1), 0.1 if coin else 0.9))
        order = select_audio(torch.full((1, length), 1 / length), pruned, keep, bands, steps)
    assert sorted(order[0].tolist()) == list(range(length))
    expected = plain_audio(chunk_order, pruned[0].tolist(), keep, size, coin)
    assert set(order[0, :keep].tolist()) == expected
    assert len(expected) == keep


def test_chunks_must_divide_the_tokens() -> None:
    with pytest.raises(ValueError, match="chunks of 32"):
        select_audio(torch.rand(1, 40), torch.zeros(1, 40, dtype=torch.bool), 20, 8, 4)
