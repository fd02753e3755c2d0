"""Each switch for what released code computes: it is off, on, and set by fidelity = "published"."""

import numpy as np
import pytest
import torch

from avstore.train.config import load_config
from avstore.train.errors import UserError
from avstore.train.evaluation.forgetting import gap_difference, summarise
from avstore.train.evaluation.retrieval import ranks, retrieval
from avstore.train.experiment import check_options
from avstore.train.methods import find_method
from avstore.train.methods.base import Memory, MemoryOptions, Setup
from avstore.train.optim import Progress, make_optimizer, set_lr
from avstore.train.sections import OptimConfig
from avstore.train.systems.cavmae.layers import sincos_2d, sincos_audio
from avstore.train.systems.cavmae.layout import layout
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.model_config import ModelConfig
from tests.train.methods.cases import batch, make, steps
from tests.train.methods.replay import Replay


def test_published_sets_every_switch_that_is_not_set_otherwise() -> None:
    strict = load_config("stella_plus", {}, [])
    assert (strict.ties, strict.model.audio_pos, strict.optim.ignore_schedule) == (
        *("worst", "time"),
        False,
    )
    config = load_config("stella_plus", {}, ["fidelity=published", "ties=worst"])
    assert (config.ties, config.model.audio_pos) == ("worst", "published")
    assert config.optim.ignore_schedule
    options = check_options(find_method("stella_plus"), config)
    assert (options.avm_merge, options.core_order) == ("published", "published")
    assert (options.memory_share, options.memory_size) == (None, 2000)
    assert (strict.model.mae_start, config.model.mae_start) == ("own", "published")
    assert (strict.model.negatives, config.model.negatives) == ("all", "published")
    assert check_options(find_method("stella_plus"), strict).core_order == "own"
    finetune = load_config("continual_vs", {}, ["fidelity=published"])
    check_options(find_method("finetune"), finetune)  # it has none of the methods' switches
    assert config.fingerprint != strict.fingerprint
    with pytest.raises(UserError, match="avm_merge"):
        check_options(find_method("stella"), load_config("stella", {}, ["options.avm_merge=wrong"]))


def test_b22_a_tie_counts_against_or_for_the_model_and_twice() -> None:
    # Row 0 finds all three alike; row 1 its own best; row 2 its own last.
    similarity = torch.tensor([[0.5, 0.5, 0.5], [0.1, 0.9, 0.2], [0.8, 0.7, 0.1]])
    places, rows = ranks(similarity)
    assert (places.tolist(), rows.tolist()) == ([2, 0, 2], [0, 1, 2])
    places, rows = ranks(similarity, "published")
    assert (places.tolist(), rows.tolist()) == ([0, 1, 2, 0, 2], [0, 0, 0, 1, 2])
    audio = torch.eye(3)
    worst = retrieval(audio, torch.ones(3, 3), {"one": [0]})
    published = retrieval(audio, torch.ones(3, 3), {"one": [0]}, "published")
    assert worst["one"]["a2v_r1"] == 0
    assert published["one"]["a2v_r1"] == pytest.approx(100 / 3)


def test_b10_the_rate_stays_where_it_is() -> None:
    for ignore, expected in ((False, 0.5), (True, 1.0)):
        config = OptimConfig(schedule="cosine", lr=1.0, ignore_schedule=ignore)
        optimizer = make_optimizer(torch.nn.Linear(2, 2), config)
        set_lr(optimizer, config, Progress(50, 100, 10))
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)


@pytest.mark.parametrize(("depth", "joint_depth"), [(10, 2), (11, 1)])
def test_layer_decay_has_a_level_for_each_block_one_below_and_one_above(
    depth: int, joint_depth: int
) -> None:
    """14 levels for twelve blocks, in STELLA's 10 + 2 and in CAV-MAE's 11 + 1."""
    sizes = {"width": 8, "heads": 2, "decoder_width": 8, "decoder_heads": 2, "decoder_depth": 1}
    config = ModelConfig(depth=depth, joint_depth=joint_depth, image_size=32, **sizes)
    optim = OptimConfig(lr=1.0, layer_decay=0.5)
    groups = make_optimizer(CAVMAE(config), optim, layout(config)).param_groups
    rates = sorted({group["lr"] for group in groups})
    assert rates == [0.5**level for level in range(13, -1, -1)]


def test_schedule_warms_up_and_falls_to_zero() -> None:
    config = OptimConfig(schedule="cosine", lr=2.0, warmup_epochs=1)
    optimizer = make_optimizer(torch.nn.Linear(2, 2), config)
    rates = []
    for step in (0, 5, 10, 55, 100):
        set_lr(optimizer, config, Progress(step, 100, 10))
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.0, 1.0, 2.0, 1.0, 0.0])


def test_b11_audio_places_start_in_the_other_order() -> None:
    own, published = (sincos_audio(16, 3, 2, order) for order in ("time", "published"))
    assert torch.equal(own, sincos_2d(16, 3, 2))
    # Row 1 is the token of step 0, band 1; frequency-major, what is there is of band 0, step 1
    # (row 2 of ours, with the halves for row and column changed over).
    assert torch.equal(published[1], torch.cat([own[2, 8:], own[2, :8]]))
    assert not torch.equal(published[1], torch.cat([own[1, 8:], own[1, :8]]))


def test_b23_memory_is_a_share_of_the_first_task() -> None:
    setup = Setup(batch_size=48, world_size=2, first_task_clips=1000)
    assert MemoryOptions(memory_size=2000).memory(setup) == Memory(2000, 4)
    assert MemoryOptions(memory_size=2000, memory_share=0.2).memory(setup) == Memory(200, 4)
    assert MemoryOptions(memory_size=9, reservoirs=2).memory(setup) == Memory(8, 2)
    assert MemoryOptions().memory(Setup(batch_size=6)) == Memory(2000, 2)


def test_reservoirs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="4 reservoirs do not fit 3 processes"):
        MemoryOptions(reservoirs=4).memory(Setup(batch_size=12, world_size=3))
    with pytest.raises(UserError, match="4 reservoirs do not fit a batch of 6 rows"):
        MemoryOptions(reservoirs=4).memory(Setup(batch_size=6))


def test_b8_weighs_the_new_patches_by_the_old_ones() -> None:
    """Against a loop over rows and heads, from the projections themselves."""
    method = make("stella_plus", core_order="published")
    replay = Replay(method)
    steps(method, 2, replay=replay)
    patches = method.objective.patches(batch(seed=7))
    found, _ = method.align(patches)
    _, rows = replay(batch(seed=8))
    assert rows is not None
    past = method.beside.read(rows.slots)
    choices = []
    for order in ("own", "published"):
        options = method.options.model_copy(update={"core_order": order})
        method.options = options
        torch.manual_seed(3)
        choices.append(method.choose_current(found, past))
    own, published = choices
    assert torch.equal(own.order_v, published.order_v)
    assert torch.equal(own.prune_v, published.prune_v)
    heads, width = found.query_v.shape[1:]
    for n in range(4):
        old, new = found.order_v[n, : method.keep_v], published.order_v[n, : method.keep_v]
        weight = found.importance_v[n, old]
        shares = torch.zeros(method.keep_a)
        for h in range(heads):
            mixed = (weight[:, None] * found.queries_v[n, h, new]).sum(0) / weight.sum()
            key = found.keys_a[n, h]
            pair = torch.stack([key @ past["q_v"][n, h], key @ mixed]) / width**0.5
            shares += pair.softmax(0)[0] / heads
        core = found.order_a[n, : method.keep_a]
        assert torch.allclose(published.prune_a[n, core], shares, atol=1e-5)
    assert not torch.allclose(own.prune_a, published.prune_a)


def test_forgetting_by_hand_in_both_definitions() -> None:
    matrix = np.array([[50.0, 10.0, 8.0], [30.0, 60.0, 12.0], [40.0, 45.0, 70.0]])
    found = summarise(matrix)
    assert found.average == pytest.approx((40 + 45 + 70) / 3)
    # Over all three tasks and trainings 1, 2: (50-40) + (60-45) + (12-70), halved.
    assert found.forgetting_code == pytest.approx((10 + 15 - 58) / 2)
    assert found.forgetting_standard == pytest.approx((10 + 15) / 2)
    assert summarise(matrix[-1:]).forgetting_code is None
    # Gaps shrink by 10 and by 15 from their largest, of the tasks before the last.
    assert gap_difference(matrix) == pytest.approx((10 + 15) / 2)
