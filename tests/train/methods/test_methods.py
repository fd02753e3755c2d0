"""Every method by name, and each method against its paper's definition."""

import copy
from pathlib import Path

import pytest
import torch

from avstore.train.config import OptimConfig
from avstore.train.errors import UserError
from avstore.train.methods import METHODS, Inputs, Method, Setup, find_method
from avstore.train.methods.mats import change
from avstore.train.optim import make_optimizer
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.model_config import ModelConfig

CONFIG = ModelConfig(
    width=32, heads=2, depth=1, joint_depth=1, decoder_width=16, decoder_depth=1, decoder_heads=2,
    image_size=32, fbank_frames=128, mask_ratio=0.75, contrast_weight=1.0,
)  # fmt: skip


def make(name: str, **options: object) -> Method:
    torch.manual_seed(0)
    found = find_method(name)
    if "memory_size" in found.Options.model_fields:
        options = {"memory_size": 6, **options}
    method = found(CAVMAE(CONFIG), found.Options(**options), Setup())
    method.optimizer = make_optimizer(method, OptimConfig(lr=3e-3))
    return method.train()


def batch(rows: int = 4, seed: int = 1) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    video = torch.randn(rows, 4, 3, 32, 32, generator=generator)
    return Inputs(video, torch.randn(rows, 1, 128, 128, generator=generator))


def steps(method: Method, count: int, data: Inputs | None = None) -> list[dict[str, float]]:
    history = []
    for step in range(count):
        torch.manual_seed(100 + step)
        inputs = data or batch(seed=step)
        losses = method(inputs.video, inputs.audio)
        method.optimizer.zero_grad()
        sum(losses.values()).backward()
        method.optimizer.step()
        method.after_step()
        history.append({name: float(value.detach()) for name, value in losses.items()})
    return history


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_remembers_and_evaluates(name: str) -> None:
    method = make(name)
    before = {n: p.clone() for n, p in method.named_parameters() if p.requires_grad}
    history = steps(method, 4)
    assert all(torch.isfinite(torch.tensor(list(t.values()))).all() for t in history)
    moved = [n for n, p in method.named_parameters() if n in before and not p.equal(before[n])]
    assert set(before) == set(moved)  # DDP fails on a parameter without gradient
    for memory in method.memories().values():
        assert len(memory) == min(6, sum(memory.offered))
        assert len(memory) > 0
    audio, video = method.eval_model().embed(batch().video, batch().audio)
    assert audio.shape == video.shape == (4, 32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_replays_in_half_precision(name: str, dtype: torch.dtype) -> None:
    method = make(name)
    with torch.autocast("cpu", dtype):
        history = [
            method(inputs.video, inputs.audio) for inputs in (batch(seed=n) for n in range(3))
        ]
    assert all(torch.isfinite(value) for losses in history for value in losses.values())


@pytest.mark.parametrize("name", [n for n in METHODS if n != "avm"])
def test_state_round_trip_gives_the_same_next_step(name: str) -> None:
    method = make(name)
    steps(method, 3)
    other = make(name)
    other.load_state_dict(method.state_dict())
    other.optimizer.load_state_dict(copy.deepcopy(method.optimizer.state_dict()))
    for key, memory in method.memories().items():
        other.memories()[key].load_state_dict(memory.state_dict())
    assert steps(method, 2) == steps(other, 2)


def test_one_batch_can_be_overfitted() -> None:
    method = make("finetune")
    history = steps(method, 100, batch(rows=6))
    assert history[0]["contrast"] > 1.5
    assert sum(t["contrast"] for t in history[-10:]) / 10 < 0.4
    assert history[-1]["mae_audio"] < history[0]["mae_audio"]


def test_er_replays_as_many_rows_in_the_same_batch() -> None:
    method = make("er")
    seen: list[int] = []
    method.model.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    steps(method, 3)
    assert seen == [4, 8, 8]


def test_derpp_penalises_the_drift_of_stored_embeddings() -> None:
    method = make("derpp", alpha=0.5)
    first = batch(seed=1)
    torch.manual_seed(1)
    method.losses(first)
    rows = method.memory.state_dict()["rows"]
    torch.manual_seed(2)
    _, past = method.draw(4)
    out = method.forward_with_past(batch(seed=2), past)
    expected = 0.5 * ((out.audio[4:] - past["z_a"]) ** 2).mean()
    expected += 0.5 * ((out.video[4:] - past["z_v"]) ** 2).mean()
    torch.manual_seed(2)
    assert torch.allclose(method.losses(batch(seed=2))["drift"], expected)
    assert rows["z_a"].shape == (4, 32)


def test_mir_takes_the_candidates_whose_loss_would_rise_most() -> None:
    method = make("mir", search_factor=3, memory_size=12)
    steps(method, 4)
    _, candidates = method.draw(12)
    torch.manual_seed(7)
    chosen = method.most_interfered(batch(seed=9), candidates)
    assert len(chosen["video"]) == 4
    from avstore.train.methods.lookahead import look_ahead, mask_seed, row_losses

    torch.manual_seed(7)
    ahead = look_ahead(method.model, batch(seed=9), method.optimizer)
    rows, seed = Inputs(candidates["video"], candidates["audio"]), mask_seed()
    with torch.no_grad():
        rise = row_losses(method.model, ahead, rows, seed)
        rise -= row_losses(method.model, None, rows, seed)
    best = {tuple(v.flatten()[:5].tolist()) for v in candidates["video"][rise.topk(4).indices]}
    assert {tuple(v.flatten()[:5].tolist()) for v in chosen["video"]} == best


def test_the_virtual_step_is_the_optimisers_own() -> None:
    from avstore.train.methods.lookahead import look_ahead

    method = make("mir")
    steps(method, 2)
    inputs = batch(seed=5)
    torch.manual_seed(11)
    ahead = look_ahead(method.model, inputs, method.optimizer)
    torch.manual_seed(11)
    method.optimizer.zero_grad()
    method.forward_masked(inputs).loss.mean().backward()
    method.optimizer.step()
    for name, p in method.model.named_parameters():
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
    method.model.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    steps(method, 3)
    assert seen == [4, 4, 4]


def test_clser_copies_follow_and_the_stable_one_is_evaluated() -> None:
    method = make("clser", plastic_freq=1.0, stable_freq=0.0)
    start = method.stable.video.pos.clone()
    steps(method, 2)
    assert method.eval_model() is method.stable
    assert torch.equal(method.stable.video.pos, start)
    assert not torch.equal(method.plastic.video.pos, start)


@pytest.mark.parametrize(
    ("name", "copies"), [("clser", ["plastic", "stable"]), ("esmer", ["stable"])]
)
def test_all_copies_of_a_step_see_the_same_patches(name: str, copies: list[str]) -> None:
    """The replayed rows, which come last, with the same mask."""
    method = make(name)
    steps(method, 2)
    seen: dict[str, tuple] = {}
    for part in ["model", *copies]:
        getattr(method, part).register_forward_hook(
            lambda _m, args, _o, part=part: seen.update({part: args})
        )
    steps(method, 1, batch(seed=9))
    patches, order = seen["model"]
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
    method.model.register_forward_hook(
        lambda _m, args, _o: seen.append((len(args[0]), *args[0].video.shape[1:2]))
    )
    steps(method, 3)
    assert seen == [(4, 8), (8, 8), (8, 8)]


def test_matching_sees_every_row_joined_with_the_video_it_is_given() -> None:
    """Against joint blocks over all mixed rows."""
    from avstore.train.systems.cavmae.matching import matching_loss, pair_up

    method = make("stella")
    patches = method.patches(batch(rows=5))
    torch.manual_seed(4)
    _, loss = method.align(patches)
    torch.manual_seed(4)
    pairing = pair_up(5, torch.device("cpu"))
    codes_a, codes_v = method.model.codes(patches)
    mixed = method.model.join(codes_a, codes_v[pairing.video])
    assert torch.allclose(loss, matching_loss(method.avm(*mixed), pairing.label), atol=1e-6)
    method.align(method.patches(batch(rows=2)))  # two rows keep their own video


def test_stella_starts_with_the_most_important_patches() -> None:
    method = make("stella")
    found, _ = method.align(method.patches(batch()))
    choice = method.choose_current(found, {})
    assert torch.equal(choice.order_v, found.order_v)
    assert not choice.prune_v.any()


def test_stella_plus_stores_half_of_the_pixels() -> None:
    whole, half = make("stella"), make("stella_plus")
    steps(whole, 2)
    steps(half, 2)
    sizes = [
        sum(m.memory.state_dict()["rows"][k].numel() for k in ("video", "audio"))
        for m in (whole, half)
    ]
    assert sizes[1] * 2 == sizes[0]


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
        "    def losses(self, batch):\n"
        "        return {'cav': self.forward_masked(batch).loss.mean()}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    method = make("mine:Mine")
    assert steps(method, 2)[0].keys() == {"cav"}
    wrong = {
        "nosuch": "finetune",
        "mine:No": "No",
        "avstore.train.methods.memory:RehearsalMemory": "subclass",
    }
    for name, message in wrong.items():
        with pytest.raises(UserError, match=message):
            find_method(name)


def test_nothing_left_to_predict_is_refused() -> None:
    found = find_method("stella")
    model = CAVMAE(CONFIG.model_copy(update={"mask_ratio": 0.5}))
    with pytest.raises(UserError, match="so none is hidden"):
        found(model, found.Options(), Setup())
