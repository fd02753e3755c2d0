"""Every method by name, and each method against its paper's definition."""

import copy
from pathlib import Path

import pytest
import torch

from avstore.manifests.foreign_files import load_tensors
from avstore.train.checkpoint import save_tensors
from avstore.train.data.batch import join
from avstore.train.errors import UserError
from avstore.train.methods import Setup, find_method
from avstore.train.methods.mats import change
from avstore.train.systems.cavmae.patches import take
from tests.train.methods.cases import CASES, CONFIG, batch, make, next_task, steps
from tests.train.methods.replay import Replay
from tests.train.systems.cavmae.objectives import system as cavmae


@pytest.mark.parametrize(("name", "system"), CASES)
def test_every_method_trains_remembers_and_evaluates(name: str, system: str) -> None:
    method = make(name, system)
    before = {n: p.clone() for n, p in method.named_parameters() if p.requires_grad}
    replay = Replay(method)
    history = steps(method, 4, replay=replay, system=system)
    moved = [n for n, p in method.named_parameters() if n in before and not p.equal(before[n])]
    assert set(before) == set(moved)  # DDP fails on a parameter without gradient
    next_task(method, system)
    history += steps(method, 2, replay=replay, system=system)
    assert all(torch.isfinite(torch.tensor(list(t.values()))).all() for t in history)
    rows = batch(rows=5, system=system)
    if isinstance(rows.labels, torch.Tensor):
        rows.labels.round_()
    scores = method.evaluated().scores([rows], {"task": rows.clip_ids})
    assert scores.keys() == {"task", "all"}
    assert all(torch.isfinite(torch.tensor(list(t.values()))).all() for t in scores.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "system"), CASES)
def test_every_method_replays_in_half_precision(name: str, system: str, dtype: torch.dtype) -> None:
    method = make(name, system)
    replay, history = Replay(method), []
    for number in range(4):
        if number == 2:
            next_task(method, system)
        with torch.autocast("cpu", dtype):
            history.append(method(*replay(batch(seed=number, system=system))))
    assert all(torch.isfinite(value) for losses in history for value in losses.values())


@pytest.mark.parametrize(("name", "system"), [c for c in CASES if c[0] != "avm"])
def test_state_round_trip_gives_the_same_next_step(name: str, system: str, tmp_path: Path) -> None:
    method = make(name, system)
    replay = Replay(method)
    steps(method, 3, replay=replay, system=system)
    next_task(method, system)
    steps(method, 1, replay=replay, system=system)
    save_tensors(tmp_path / "state.pt", method.state_dict())
    other = make(name, system)
    other.load_state_dict(load_tensors(tmp_path / "state.pt"))
    other.optimizer.load_state_dict(copy.deepcopy(method.optimizer.state_dict()))
    for key, kept in method.kept().items():
        other.kept()[key].load_parts([copy.deepcopy(kept.state_dict())], 0)
    again = copy.deepcopy(replay)
    further = steps(method, 2, replay=replay, system=system)
    assert further == steps(other, 2, replay=again, system=system)


def test_one_batch_can_be_overfitted() -> None:
    method = make("finetune")
    history = steps(method, 100, batch(rows=6))
    assert history[0]["contrast"] > 1.5
    assert sum(t["contrast"] for t in history[-10:]) / 10 < 0.4
    assert history[-1]["mae_audio"] < history[0]["mae_audio"]


def test_er_replays_as_many_rows_in_the_same_batch() -> None:
    method = make("er")
    seen: list[int] = []
    method.objective.model.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    steps(method, 3)
    assert seen == [4, 8, 8]


def test_derpp_penalises_the_drift_of_stored_embeddings() -> None:
    method = make("derpp", alpha=0.5)
    replay = Replay(method)
    torch.manual_seed(1)
    first, _ = replay(batch(seed=1))
    method.losses(first, None)
    second, past = replay(batch(seed=2))
    assert past is not None
    kept = method.beside.read(past.slots)
    torch.manual_seed(2)
    out = method.objective(join(second, past)).embeddings
    expected = 0.5 * sum(((out[name][4:] - kept[name]) ** 2).mean() for name in ("audio", "video"))
    torch.manual_seed(2)
    assert torch.allclose(method.losses(second, past)["drift"], expected)
    assert kept["audio"].shape == (4, 32)


def test_mir_takes_the_candidates_whose_loss_would_rise_most() -> None:
    method = make("mir", search_factor=3, memory_size=12, reservoirs=1)
    replay = Replay(method)
    steps(method, 4, replay=replay)
    _, candidates = replay(batch(seed=8))
    assert candidates is not None
    assert len(candidates) == 12
    torch.manual_seed(7)
    chosen = method.most_interfered(batch(seed=9), candidates)
    assert len(chosen) == 4
    from avstore.train.methods.lookahead import look_ahead, row_losses

    torch.manual_seed(7)
    ahead = look_ahead(method.objective, batch(seed=9), method.optimizer)
    draws = method.objective.draw(candidates)
    with torch.no_grad():
        rise = row_losses(method.objective, ahead, candidates, draws)
        rise -= row_losses(method.objective, None, candidates, draws)
    best = {tuple(v.flatten()[:5].tolist()) for v in candidates.video[rise.topk(4).indices]}
    assert {tuple(v.flatten()[:5].tolist()) for v in chosen.video} == best


def test_the_virtual_step_is_the_optimisers_own() -> None:
    from avstore.train.methods.lookahead import look_ahead

    method = make("mir")
    steps(method, 2)
    inputs = batch(seed=5)
    torch.manual_seed(11)
    ahead = look_ahead(method.objective, inputs, method.optimizer)
    torch.manual_seed(11)
    method.optimizer.zero_grad()
    method.objective(inputs).loss.mean().backward()
    method.optimizer.step()
    for name, p in method.objective.named_parameters():
        assert torch.allclose(p, ahead[name], atol=1e-5), name


def test_gmed_edits_raise_what_would_be_forgotten_and_are_stored() -> None:
    method = make("gmed", grad_stride=0.5, reg_strength=0.0, edit_decay=1.0)
    steps(method, 1)
    before = method.memory.state_dict()["rows"]
    steps(method, 1)
    after = method.memory.state_dict()["rows"]
    same = [torch.equal(a, b) for a, b in zip(before["video"], after["video"][:4], strict=True)]
    assert not all(same)
    assert after["edits"].max() >= 1


def test_lump_mixes_and_adds_no_rows() -> None:
    method = make("lump")
    seen = []
    method.objective.model.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    steps(method, 3)
    assert seen == [4, 4, 4]


def test_clser_copies_follow_and_the_stable_one_is_evaluated() -> None:
    method = make("clser", plastic_freq=1.0, stable_freq=0.0)
    start = method.stable.model.video.pos.clone()
    steps(method, 2)
    assert method.evaluated() is method.stable
    assert torch.equal(method.stable.model.video.pos, start)
    assert not torch.equal(method.plastic.model.video.pos, start)


@pytest.mark.parametrize(
    ("name", "copies"), [("clser", ["plastic", "stable"]), ("esmer", ["stable"])]
)
def test_all_copies_of_a_step_see_the_same_patches(name: str, copies: list[str]) -> None:
    """The replayed rows, which come last, with the same mask."""
    method = make(name)
    replay = Replay(method)
    steps(method, 2, replay=replay)
    seen: dict[str, tuple] = {}
    for part in ["objective", *copies]:
        getattr(method, part).model.register_forward_hook(
            lambda _m, args, _o, part=part: seen.update({part: args})
        )
    steps(method, 1, batch(seed=9), replay)
    patches, order = seen["objective"]
    for part in copies:
        other, masks = seen[part]
        count = len(other)
        assert torch.equal(other.video, patches.video[-count:])
        assert torch.equal(masks.video, order.video[-count:])
        assert torch.equal(masks.audio, order.audio[-count:])


def test_esmer_weighs_surprise_and_remembers_the_ordinary() -> None:
    method = make("esmer", loss_margin=2.0)
    method.running = torch.tensor(1.0)
    weight, ordinary = method.weigh(torch.tensor([0.5, 2.0, 4.0]))
    assert weight.tolist() == [1.0, 1.0, 0.25]
    assert ordinary.tolist() == [True, True, False]
    method.steps = torch.tensor(10**6)
    method.track(torch.tensor([1.0, 1.0, 1.0, 9.0]))  # the outlier does not enter the mean
    assert method.running.item() == pytest.approx(1.0, abs=1e-5)


def test_mats_measures_change_over_time() -> None:
    x = torch.zeros(1, 6, 2)  # three instants of two places
    x[0, 3] = 3.0  # the second place jumps at the second instant, and back at the third
    assert change(x, 3)[0].tolist() == pytest.approx([0, 18**0.5, 0, 18**0.5, 0, 18**0.5])


@pytest.mark.parametrize("name", ["stella", "stella_plus", "flava", "random", "mats"])
def test_selection_methods_train_on_half_of_the_patches(name: str) -> None:
    method = make(name)
    seen = []
    method.objective.model.register_forward_hook(
        lambda _m, args, _o: seen.append((len(args[0]), *args[0].video.shape[1:2]))
    )
    steps(method, 3)
    assert seen == [(4, 8), (8, 8), (8, 8)]


def test_matching_sees_every_row_joined_with_the_video_it_is_given() -> None:
    """Against joint blocks over all mixed rows."""
    from avstore.train.systems.cavmae.matching import matching_loss, pair_up

    method = make("stella")
    patches = method.objective.patches(batch(rows=5))
    torch.manual_seed(4)
    _, loss = method.align(patches)
    torch.manual_seed(4)
    pairing = pair_up(5, torch.device("cpu"))
    codes_a, codes_v = method.objective.model.codes(patches)
    mixed = method.objective.model.join(codes_a, codes_v[pairing.video])
    assert torch.allclose(loss, matching_loss(method.avm(*mixed), pairing.label), atol=1e-6)
    method.align(method.objective.patches(batch(rows=2)))  # two rows keep their own video


def test_stella_starts_with_the_most_important_patches() -> None:
    method = make("stella")
    found, _ = method.align(method.objective.patches(batch()))
    choice = method.choose_current(found, {})
    assert torch.equal(choice.order_v, found.order_v)
    assert not choice.prune_v.any()


def test_stella_plus_replays_the_patches_that_it_has_selected() -> None:
    method = make("stella_plus")
    replay = Replay(method)
    first, _ = replay(batch(seed=1))
    method.losses(first, None)
    _, past = replay(batch(seed=2))
    assert past is not None
    kept = method.beside.read(past.slots)
    seen = []
    method.objective.model.register_forward_hook(lambda _m, args, _o: seen.append(args[0]))
    method.losses(batch(seed=2), past)
    assert torch.equal(seen[0].video_ids[4:], kept["ids_v"])
    whole = method.objective.patches(past).video
    assert torch.equal(seen[0].video[4:], take(whole, kept["ids_v"]))


def test_flava_is_stella_under_its_first_name() -> None:
    assert steps(make("flava"), 3) == steps(make("stella"), 3)


def test_ablations_change_the_choice() -> None:
    both = (True, False)
    histories = [steps(make("stella", lpis=a, rca=b), 3) for a in both for b in both]
    assert len({str(t) for t in histories}) == 4


def test_matching_pretraining_leaves_the_backbone_alone() -> None:
    method = make("avm")
    assert {n.split(".")[0] for n, p in method.named_parameters() if p.requires_grad} == {"avm"}


def test_a_users_method_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "from avstore.train.methods import Method\n\n\n"
        "class Mine(Method):\n"
        "    def losses(self, batch, past):\n"
        "        return {'mine': self.objective(batch).loss.mean()}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    method = make("mine:Mine")
    assert steps(method, 2)[0].keys() == {"mine"}
    wrong = {
        "nosuch": "finetune",
        "mine:No": "No",
        "avstore.train.methods.host_memory:RehearsalMemory": "subclass",
    }
    for name, message in wrong.items():
        with pytest.raises(UserError, match=message):
            find_method(name)


def test_nothing_left_to_predict_is_refused() -> None:
    found = find_method("stella")
    model = cavmae(CONFIG.model_copy(update={"mask_ratio": 0.5}))
    with pytest.raises(UserError, match="so none is hidden"):
        found(model, found.Options(), Setup())
