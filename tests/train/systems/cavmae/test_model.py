"""The backbone: published sizes, losses by hand, options that change no result."""

import math

import pytest
import torch
from torch.nn import functional as F

from avstore.train import dist
from avstore.train.systems.cavmae.losses import contrast, hidden_pixels, reconstruction
from avstore.train.systems.cavmae.matching import AudioVideoMatching, pair_up
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.model_config import ModelConfig
from avstore.train.systems.cavmae.patches import patchify, structured_shuffle
from tests.train.systems.cavmae.objectives import system

FULL = ModelConfig()
TINY = ModelConfig(
    width=32, heads=4, depth=1, joint_depth=1, decoder_width=16, decoder_depth=1, decoder_heads=2,
    image_size=32, fbank_frames=64, mask_ratio=0.75,
)  # fmt: skip


def inputs(config: ModelConfig, rows: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    side = config.image_size
    video = torch.randn(rows, config.frames, 3, side, side)
    return video, torch.randn(rows, 1, config.fbank_frames, config.mel_bins)


def test_token_counts_are_those_of_the_paper() -> None:
    assert (FULL.video_tokens, FULL.audio_tokens) == (784, 512)
    assert (FULL.video_visible, FULL.audio_visible) == (156, 102)
    with torch.device("meta"):
        from avstore.train.methods import find_method
        from avstore.train.methods.base import Setup

        found = find_method("stella")
        method = found(system(FULL), found.Options(), Setup())
    assert (method.keep_v, method.keep_a) == (392, 256)
    assert (method.keep_v - FULL.video_visible, method.keep_a - FULL.audio_visible) == (236, 154)


def test_parameters_of_the_full_model_add_up() -> None:
    """Counted part by part from the published description."""
    d, dec = 768, 512
    norm = 2 * d
    attention = d * 3 * d + 3 * d + d * d + d
    mlp = d * 4 * d + 4 * d + 4 * d * d + d
    own = attention + mlp + 2 * norm
    joint = attention + mlp + 6 * norm
    patches = (3 * 256 * d + d) + (256 * d + d)
    tables = 2 * (784 + 512) * d + 2 * d
    decoder_block = (
        (dec * 3 * dec + 3 * dec + dec * dec + dec) + (8 * dec * dec + 5 * dec) + 4 * dec
    )
    decoder = (
        d * dec + dec + 8 * decoder_block + 2 * dec + (784 + 512) * dec + 4 * dec
        + (dec * 256 + 256) + (dec * 768 + 768)
    )  # fmt: skip
    with torch.device("meta"):
        model = CAVMAE(FULL)
        avm = AudioVideoMatching(768, 12)
    total = 20 * own + 2 * joint + patches + tables + 3 * norm + decoder
    assert sum(p.numel() for p in model.parameters()) == total
    matching = 6 * d * d + 2 * norm + (4 * d * d + 2 * d) + (2 * d + 1)
    assert sum(p.numel() for p in avm.parameters()) == matching


def test_patches_are_frame_major_and_time_major() -> None:
    config = ModelConfig()
    video = torch.zeros(1, 4, 3, 224, 224)
    video[0, 2, 1, 16 * 3 + 5, 16 * 7 + 6] = 1.0
    where = patchify(video, 16).nonzero()[0].tolist()
    assert where == [0, 2 * 196 + 3 * 14 + 7, 1, 5, 6]
    audio = torch.zeros(1, 1, 1024, 128)
    audio[0, 0, 16 * 10 + 1, 16 * 6 + 2] = 1.0
    patches = CAVMAE.patches(_WithConfig(config), torch.zeros(1, 4, 3, 224, 224), audio)
    assert patches.audio.nonzero()[0].tolist() == [0, 10 * 8 + 6, 0, 1, 2]


class _WithConfig:
    def __init__(self, config: ModelConfig) -> None:
        self.config = config


def test_patch_embedding_equals_the_convolution() -> None:
    model = CAVMAE(TINY)
    video, _ = inputs(TINY)
    convolved = model.video.patch(video.flatten(0, 1)).flatten(2).transpose(1, 2)
    flat = patchify(video, 16).flatten(2)
    ours = F.linear(flat, model.video.patch.weight.flatten(1), model.video.patch.bias)
    assert torch.allclose(ours, convolved.reshape(ours.shape), atol=1e-5)


def test_hidden_pixels_have_mean_zero_and_unbiased_variance_one() -> None:
    patch = torch.arange(12.0).reshape(1, 1, 3, 2, 2)
    flat = hidden_pixels(patch, normalise=False)[0, 0]
    assert flat.tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]  # row, column, channel
    whitened = hidden_pixels(patch, normalise=True)[0, 0]
    assert whitened.mean().abs() < 1e-6
    assert whitened.var().item() == pytest.approx(1.0, abs=1e-5)
    assert reconstruction(torch.zeros(1, 1, 12), flat[None, None]).item() == pytest.approx(506 / 12)


def test_contrast_by_hand() -> None:
    audio = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    video = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    s = torch.tensor([[1.0, math.sqrt(0.5)], [0.0, math.sqrt(0.5)]]) / 0.5  # audio × video
    ce = [
        0.5 * (torch.logsumexp(s[i], 0) - s[i, i] + torch.logsumexp(s[:, i], 0) - s[i, i])
        for i in range(2)
    ]
    assert torch.allclose(contrast(audio, video, 0.5), torch.stack(ce), atol=1e-6)
    one = torch.stack([torch.logsumexp(s[:, i], 0) - s[i, i] for i in range(2)])
    assert torch.allclose(contrast(audio, video, 0.5, both_ways=False), one, atol=1e-6)


@pytest.mark.parametrize("option", [{"attention": "plain"}, {"checkpointing": True}])
@pytest.mark.parametrize("decode", ["separate", "joint"])
def test_options_change_neither_losses_nor_gradients(option: dict, decode: str) -> None:
    plain = CAVMAE(TINY.model_copy(update={"decode": decode}))
    other = CAVMAE(TINY.model_copy(update={"decode": decode, **option}))
    other.load_state_dict(plain.state_dict())
    results = []
    for model in (plain, other):
        torch.manual_seed(5)
        out = model(model.patches(*inputs(TINY)))
        out.loss.mean().backward()
        results.append((out.loss.detach(), model.video.pos.grad))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-5)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-6)


def test_bf16_is_near() -> None:
    model = CAVMAE(TINY)
    losses = []
    for on in (False, True):
        torch.manual_seed(5)
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            losses.append(model(model.patches(*inputs(TINY))).loss)
    assert torch.allclose(losses[0], losses[1], rtol=0.03, atol=0.03)
    assert losses[1].dtype == torch.float32


def test_masked_forward_equals_a_plain_one_written_out() -> None:
    """Embed everything, gather, unshuffle before decoding, as MAE is usually written."""
    torch.manual_seed(0)
    model = CAVMAE(TINY)
    video, audio = inputs(TINY)
    torch.manual_seed(9)
    out = model(model.patches(video, audio))
    torch.manual_seed(9)
    order_v = torch.rand(3, TINY.video_tokens).argsort(1)
    order_a = torch.rand(3, TINY.audio_tokens).argsort(1)
    for row in range(3):
        v = _encode(
            model.video, patchify(video[row : row + 1], 16), order_v[row], TINY.video_visible
        )
        a = _encode(
            model.audio, patchify(audio[row : row + 1, None], 16), order_a[row], TINY.audio_visible
        )
        c_a = model.norms["audio"](model.joint[0](a, "audio")).mean(1)
        assert torch.allclose(c_a[0], out.audio[row], atol=1e-5)
        x = model.norms["joint"](model.joint[0](torch.cat([a, v], 1), "joint"))
        decoder = model.decoder
        visible = decoder.embed(x[:, TINY.audio_visible :])
        full = decoder.mask_token_video.expand(1, TINY.video_tokens, -1).clone()
        full[:, order_v[row, : TINY.video_visible]] = visible
        full = full + decoder.pos_video + decoder.modality_video
        for block in decoder.blocks:
            full = block(full)
        predicted = decoder.head_video(decoder.norm(full))[0, order_v[row, TINY.video_visible :]]
        target = hidden_pixels(patchify(video[row : row + 1], 16), True)[0]
        target = target[order_v[row, TINY.video_visible :]]
        assert torch.allclose((predicted - target).square().mean(), out.mae_video[row], atol=1e-5)


def _encode(tower, patches: torch.Tensor, order: torch.Tensor, seen: int) -> torch.Tensor:
    x = F.linear(patches.flatten(2), tower.patch.weight.flatten(1), tower.patch.bias)
    x = (x + tower.modality + tower.pos)[:, order[:seen]]
    for block in tower.blocks:
        x = block(x)
    return x + tower.inter_pos[:, order[:seen]]


def test_matching_module_against_a_loop_over_heads() -> None:
    torch.manual_seed(0)
    avm = AudioVideoMatching(16, 2)
    audio, video = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    p = avm.project(audio, video)
    rows = []
    for n in range(2):
        heads_a, heads_v = [], []
        for h in range(2):
            attend_a = (p.q_a[n, h] @ p.k_v[n, h].T / 8**0.5).softmax(-1)
            heads_a.append(attend_a @ p.v_v[n, h])
            attend_v = (p.q_v[n, h] @ p.k_a[n, h].T / 8**0.5).softmax(-1)
            heads_v.append(attend_v @ p.v_a[n, h])
        pooled = torch.cat([torch.cat(heads_v, -1).mean(0), torch.cat(heads_a, -1).mean(0)])
        rows.append(avm.score(torch.tanh(avm.hidden(pooled))))
    assert torch.allclose(avm(audio, video), torch.cat(rows), atol=1e-5)
    published = AudioVideoMatching(16, 2, "published")
    published.load_state_dict(avm.state_dict())
    assert not torch.allclose(published(audio, video), avm(audio, video))


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 12])
def test_pairs_are_half_positive_and_negatives_are_deranged(batch: int) -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        pairing = pair_up(batch, torch.device("cpu"))
        assert sorted(pairing.video.tolist()) == list(range(batch))
        own = pairing.video == torch.arange(batch)
        assert torch.equal(own, pairing.label.bool())
        assert int(pairing.label.sum()) == (batch if batch <= 2 else batch // 2)


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="image_size by patch: 230 / 16"):
        ModelConfig(image_size=230)


@pytest.mark.parametrize(
    ("mode", "steps", "bands"), [("time", 16, 8), ("frequency", 64, 2), ("both", 31, 4)]
)
def test_structured_masks_hide_whole_steps_and_bands(mode: str, steps: int, bands: int) -> None:
    """Of 64 steps of 8 bands 128 patches are shown; "both" leaves 124 and shows 4 hidden ones."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"mask_ratio": 0.75, "mask_mode": mode})
    order = structured_shuffle(torch.arange(512).expand(3, -1), config)
    assert torch.equal(order.sort(1).values, torch.arange(512).expand(3, -1))
    shown = order[:, : config.audio_visible]
    assert not torch.equal(shown[0].sort().values, shown[1].sort().values)
    for row in shown[:, : steps * bands]:
        assert ((row // 8).unique().numel(), (row % 8).unique().numel()) == (steps, bands)


def test_a_mask_mode_trains_and_only_changes_audio() -> None:
    config = TINY.model_copy(update={"mask_mode": "time"})
    model = CAVMAE(config)
    patches = model.patches(*inputs(config))
    shown, _ = model.split(patches)
    assert all(
        (ids // config.audio_bands).unique().numel() == config.audio_steps // 4
        for ids in shown.audio_ids
    )
    assert model(patches).loss.isfinite().all()


def test_negatives_may_be_those_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    audio, video, other = torch.randn(3, 4, 8)
    alone = contrast(audio, video, 0.1)
    monkeypatch.setattr(dist, "gather_rows", lambda x: torch.cat([x, other]))
    monkeypatch.setattr(dist, "row_counts", lambda x: [len(x), len(other)])
    assert (contrast(audio, video, 0.1) > alone).all()
    assert torch.equal(contrast(audio, video, 0.1, negatives="own"), alone)


def test_published_negatives_of_another_fourth_have_no_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    audio, video = (torch.randn(8, 5, generator=generator, requires_grad=True) for _ in "av")
    whole = contrast(audio, video, 0.1)
    published = contrast(audio, video, 0.1, negatives="published")
    assert torch.allclose(published, whole)
    (own,) = torch.autograd.grad(published[[0, 4]].sum(), audio, retain_graph=True)
    assert own.abs().sum(1).nonzero()[:, 0].tolist() == [0, 4]  # the rows of one GPU
    (all_rows,) = torch.autograd.grad(whole[[0, 4]].sum(), audio)
    assert (all_rows.abs().sum(1) > 0).all()
