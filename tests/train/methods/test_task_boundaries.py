"""EWC, LwF and iCaRL, which learn at the boundaries of tasks, against their papers' definitions."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed
from torch import multiprocessing as mp
from torch.nn import functional as F

from avstore.train.data import Batch
from avstore.train.errors import UserError
from avstore.train.methods import Method
from avstore.train.methods.icarl import herd
from tests.train.methods.cases import OF_LOGITS, OF_PATCHES, UAVM, batch, make, next_task, steps
from tests.train.methods.replay import Replay


def plain(seed: int, rows: int = 4) -> Batch:
    """Rows as the loader delivers them without augmentation."""
    found = batch(rows, seed, "uavm")
    found.labels.round_()
    return found


def some(*seeds: int) -> Callable[[], Iterator[Batch]]:
    return lambda: iter([plain(seed) for seed in seeds])


def squares(method: Method, *seeds: int) -> list[Tensor]:
    """The mean over rows of the squared gradient of each trained parameter."""
    own = [p for p in method.objective.parameters() if p.requires_grad]
    rows = [plain(seed).rows([row]) for seed in seeds for row in range(4)]
    found = [
        torch.autograd.grad(method.objective(row).loss[0], own, materialize_grads=True)
        for row in rows
    ]
    return [torch.stack(own).square().mean(0) for own in zip(*found, strict=True)]


def values(method: Method) -> list[Tensor]:
    return [p.detach().clone() for p in method.objective.parameters() if p.requires_grad]


def gradient_of_penalty(method: Method) -> list[Tensor]:
    own = [p for p in method.objective.parameters() if p.requires_grad]
    return list(torch.autograd.grad(method.penalty(), own))


def test_ewc_estimates_the_squared_gradient_of_each_row() -> None:
    method = make("ewc", "uavm", fisher_rows=1)
    expected = squares(method, 0, 2)
    found = method.fisher([plain(0), plain(2)])
    for own, by_hand in zip(found, expected, strict=True):
        assert torch.allclose(own, by_hand, atol=1e-8)
    assert sum(float(x.sum()) for x in found) > 0


def test_ewc_adds_up_the_gradients_of_several_rows_before_it_squares_them() -> None:
    method = make("ewc", "uavm", fisher_rows=4)
    own = [p for p in method.objective.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(method.objective(plain(0)).loss.sum(), own, allow_unused=True)
    for found, gradient in zip(method.fisher([plain(0)]), gradients, strict=True):
        assert torch.allclose(found, torch.zeros(()) if gradient is None else gradient**2 / 4)


@pytest.mark.parametrize("online", [False, True])
def test_ewc_penalises_change_by_the_importance_of_every_task(online: bool) -> None:
    """The penalties of two tasks have the gradient of one; online, the second has the anchor."""
    method = make("ewc", "uavm", fisher_rows=1, weight=50.0, online=online, decay=0.5)
    after, importance = [], []
    for task in range(2):
        steps(method, 2, system="uavm")
        after.append(values(method))
        importance.append(squares(method, task, task + 2))
        method.task_ended(task, some(task, task + 2))
    steps(method, 1, system="uavm")
    for place, (now, found) in enumerate(
        zip(values(method), gradient_of_penalty(method), strict=True)
    ):
        first, second = importance[0][place], importance[1][place]
        if online:
            expected = 50.0 * (0.5 * first + second) * (now - after[1][place])
        else:
            expected = 50.0 * (first * (now - after[0][place]) + second * (now - after[1][place]))
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_ewc_counts_a_task_once_if_a_run_is_stopped_after_its_end() -> None:
    method = make("ewc", "uavm")
    steps(method, 2, system="uavm")
    method.task_ended(0, some(0, 2))
    before = [p.clone() for p in method.importance.parameters()]
    method.task_ended(0, some(0, 2))
    assert all(map(torch.equal, before, method.importance.parameters()))


def test_ewc_has_no_penalty_before_a_task_has_ended() -> None:
    method = make("ewc", "uavm")
    assert steps(method, 1, system="uavm")[0].keys() == {"objective"}
    next_task(method, "uavm")
    assert steps(method, 1, system="uavm")[0].keys() == {"objective", "penalty"}


def test_lwf_imitates_the_model_before_the_task_on_its_classes() -> None:
    method = make("lwf", "uavm", weight=3.0)
    assert method(batch(seed=0, system="uavm")).keys() == {"objective"}
    method.task_ended(0, lambda: [plain(0, rows=3)])
    assert method.seen.tolist() == [True, True, True, False, False]
    method.task_started(1)
    rows = batch(seed=2, system="uavm")
    before = method.objective(rows).embeddings["logits"][:, :3].detach() / 2
    steps(method, 2, system="uavm")
    now = method.objective(rows).embeddings["logits"][:, :3] / 2
    expected = -(before.softmax(1) * now.log_softmax(1)).sum(1).mean()
    assert torch.allclose(method(rows)["distillation"], 3 * expected)


def test_herding_follows_the_mean() -> None:
    x = torch.tensor([[0.0], [1.0], [5.0], [3.0], [6.0]])  # mean 3
    # 3 is the mean; then 3 + {1, 5} and 3 + {0, 6} come in pairs about it.
    assert herd(x, 1).tolist() == [3]
    chosen = herd(x, 5).tolist()
    assert sorted(chosen) == [0, 1, 2, 3, 4]
    means = x[chosen].cumsum(0) / torch.arange(1, 6)[:, None]
    for count in range(1, 6):
        rest = [n for n in range(5) if n not in chosen[: count - 1]]
        total = x[chosen[: count - 1]].sum()
        best = min(abs((total + x[n, 0]) / count - 3) for n in rest)
        assert abs(means[count - 1, 0] - 3) == pytest.approx(float(best))


def test_icarl_shares_its_exemplars_among_the_classes_seen() -> None:
    method = make("icarl", "uavm", memory_size=8)
    method.task_ended(0, lambda: [plain(0, 10).rows([0, 1, 5, 6, 5, 6, 0, 1])])  # classes 0 and 1
    first = method.exemplars
    assert first.classes.tolist() == [0] * 4 + [1] * 4
    method.task_ended(1, lambda: [plain(2, 10).rows([0, 1, 5, 6])])  # classes 2 and 3
    assert method.exemplars.classes.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    kept = method.exemplars.inputs["feature convnext-audio"]
    old = first.inputs["feature convnext-audio"]
    assert torch.equal(kept[:4], old[[0, 1, 4, 5]])  # the first ones stay
    new = plain(2, 10).features["convnext-audio"]
    assert {tuple(row.flatten()[:2].tolist()) for row in kept[4:]} == {
        tuple(row.flatten()[:2].tolist()) for row in new[[0, 1, 5, 6]]
    }
    again = make("icarl", "uavm", memory_size=8)
    again.load_state_dict(method.state_dict())
    again.task_ended(1, lambda: [plain(2, 10).rows([0, 1, 5, 6])])  # stopped after the end
    assert torch.equal(again.exemplars.classes, method.exemplars.classes)
    assert all(torch.equal(x, method.means[view]) for view, x in again.means.items())


def test_icarl_trains_each_class_by_its_label_or_by_the_old_model() -> None:
    method = make("icarl", "uavm")
    replay = Replay(method)
    rows = batch(seed=0, system="uavm")
    logits = method.objective(rows).embeddings["logits"]
    each = F.binary_cross_entropy_with_logits(logits, rows.labels, reduction="none")
    assert torch.allclose(method(*replay(rows))["objective"], each.sum(1).mean())
    method.task_ended(0, lambda: [plain(0, rows=2)])  # classes 0 and 1
    method.task_started(1)
    steps(method, 1, system="uavm")
    torch.manual_seed(1)
    losses = method(rows, None)
    torch.manual_seed(1)
    past = method.replayed(rows)
    assert len(past) == len(rows)
    assert past.labels.sum(1).tolist() == [1.0] * 4
    logits, before = (
        torch.cat([model(own).embeddings["logits"] for own in (rows, past)])
        for model in (method.objective, method.old)
    )
    labels = torch.cat([rows.labels, past.labels])
    each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    assert torch.allclose(losses["objective"], each[:, 2:].sum(1).mean())
    old = F.binary_cross_entropy_with_logits(logits, before.sigmoid(), reduction="none")
    assert torch.allclose(losses["distillation"], old[:, :2].sum(1).mean())


def test_icarl_classifies_by_the_nearest_mean_of_exemplars() -> None:
    method = make("icarl", "uavm", memory_size=20)
    assert method.evaluated() is method.objective
    rows = plain(0, rows=8).rows([0, 1, 2, 5, 6, 7])  # classes 0, 1, 2 twice
    method.task_ended(0, lambda: [rows.rows(slice(0, 4)), rows.rows(slice(4, 6))])
    test = plain(1, rows=6)
    found = method.evaluated().classify(test)
    distance = {}
    for view in ("audio", "video"):
        own, other = (F.normalize(method.objective.embed(x)[view], dim=1) for x in (rows, test))
        means = F.normalize(torch.stack([own[[n, n + 3]].mean(0) for n in range(3)]), dim=1)
        distance[view] = torch.cdist(other, means).square()
        assert torch.allclose(found[view][:, :3], -distance[view], atol=1e-5)
        assert found[view].argmax(1).max() < 3  # classes without exemplars are no answer
    both = (distance["audio"] + distance["video"]) / -2
    assert torch.allclose(found["both"][:, :3], both, atol=1e-5)
    assert method.evaluated().weights().keys() == method.objective.model.state_dict().keys()


def at_boundary(share: slice) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """EWC's importance, iCaRL's means and the exemplars that go with some rows of a batch."""
    ewc, icarl = make("ewc", "uavm"), make("icarl", "uavm", memory_size=20)
    importance = ewc.fisher(some(0, 2, 4)())
    icarl.task_ended(0, some(0, 2, 4))
    torch.manual_seed(5)
    past = icarl.replayed(batch(seed=1, system="uavm").rows(share))
    return importance, list(icarl.means.values()), past.features["convnext-audio"]


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    where = f"file://{folder}/meet"
    distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    torch.save(at_boundary(slice(rank, None, 2)), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_find_at_a_boundary_what_one_finds(tmp_path: Path) -> None:
    importance, means, past = at_boundary(slice(None))
    mp.spawn(_process, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for own, expected in zip(found[0], importance, strict=True):
            assert torch.allclose(own, expected, rtol=1e-4, atol=1e-8)
        assert all(map(torch.allclose, found[1], means))
        assert torch.equal(found[2], past[rank::2])


@pytest.mark.parametrize("name", OF_LOGITS)
def test_methods_that_need_logits_are_refused_without(name: str) -> None:
    with pytest.raises(UserError, match=r"needs the logits .* CAVMAEObjective has none"):
        make(name, "cavmae")


@pytest.mark.parametrize("name", OF_PATCHES)
def test_methods_that_select_patches_are_refused_without(name: str) -> None:
    with pytest.raises(UserError, match="patches of CAV-MAE, and the config's system has none"):
        make(name, "uavm")


def test_icarl_needs_an_exemplar_for_each_class() -> None:
    with pytest.raises(
        UserError, match=f"less than an exemplar for each of {UAVM.classes} classes"
    ):
        make("icarl", "uavm", memory_size=4)


def test_gmed_edits_features_and_no_labels() -> None:
    method = make("gmed", "uavm", grad_stride=0.5)
    steps(method, 1, system="uavm")
    before = method.memory.state_dict()["rows"]
    steps(method, 1, system="uavm")
    after = method.memory.state_dict()["rows"]
    assert torch.equal(before["labels"], after["labels"][:4])
    features = [key for key in before if key.startswith("feature")]
    assert len(features) == 2
    assert any(not torch.equal(before[key], after[key][:4]) for key in features)
