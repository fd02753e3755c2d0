"""Heads by their published shapes, and each score against its definition written out."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from avstore.train.data.transforms.masks import decode
from avstore.train.evaluation.classification import classification, d_prime
from avstore.train.evaluation.events import event_accuracy
from avstore.train.evaluation.masks import crop
from avstore.train.evaluation.segmentation import f_score, segmentation
from avstore.train.systems.cavmae.downstream.classify import ClassHead, pooled
from avstore.train.systems.cavmae.downstream.event import one_second, starts
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.model_config import ModelConfig
from avstore.train.systems.cavmae.segmentation_head import (
    PixelAudioFusion,
    Residual,
    SegmentationHead,
    joint_hidden,
)
from tests.train.systems.cavmae.test_model import TINY, inputs


def test_class_head_has_the_published_layers() -> None:
    head = ClassHead(768, 160)
    both = 1536
    expected = 2 * (both * both + both) + 2 * both + both * 160 + 160
    assert sum(p.numel() for p in head.parameters()) == expected
    assert head(torch.randn(3, both)).shape == (3, 160)
    assert pooled(torch.ones(2, 4, 8), torch.zeros(2, 6, 8))[0].tolist() == [1.0] * 8 + [0.0] * 8


def test_segmentation_head_maps_784_tokens_to_pictures() -> None:
    with torch.device("meta"):
        config = ModelConfig()
        head = SegmentationHead(config)
        hidden = torch.empty(1, 784, 3072)
        assert head((hidden, hidden), torch.empty(1, 512, 768)).shape == (1, 4, 1, 224, 224)
    assert head.reduce[0].weight.shape == (512, 3072)
    assert head.audio.weight.shape == (128, 768)


def test_joint_hidden_is_what_enters_the_second_layer() -> None:
    model = CAVMAE(TINY.model_copy(update={"joint_depth": 2})).eval()
    video, audio = inputs(TINY)
    (early, late), tokens = joint_hidden(model, video, audio)
    x = torch.cat(model.codes(model.patches(video, audio)), dim=1)
    block = model.joint[0]
    x = x + block.attn(block.norm1["joint"](x))
    expected = nn.functional.gelu(block.mlp.fc1(block.norm2["joint"](x)))
    assert torch.allclose(early, expected[:, TINY.audio_tokens :], atol=1e-5)
    assert early.shape == late.shape == (3, TINY.video_tokens, 128)
    assert torch.allclose(model.norms["joint"](tokens), model.features(video, audio)[0])
    model = CAVMAE(TINY)
    (early, late), _ = joint_hidden(model, video, audio)
    assert torch.equal(early, late)


def test_pixel_fusion_equals_attention_over_all_pixels() -> None:
    torch.manual_seed(0)
    fusion = PixelAudioFusion(8, 5)
    nn.init.normal_(fusion.out[1].weight)
    fusion.eval()
    x, audio = torch.randn(2, 3, 8, 4, 4), torch.randn(2, 3, 5)
    for n in range(2):
        sound = fusion.align(audio[n])[:, :, None, None].expand(-1, -1, 4, 4)
        query, key, value = (
            part.permute(0, 2, 3, 1).reshape(48, -1)
            for part in (fusion.theta(x[n]), fusion.phi(sound), fusion.g(x[n]))
        )
        mixed = (query @ key.T / 48) @ value
        mixed = mixed.reshape(3, 4, 4, -1).permute(0, 3, 1, 2)
        plain = fusion.norm((x[n] + fusion.out(mixed)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        assert torch.allclose(fusion(x, audio)[n], plain, atol=1e-5)


def test_pixel_fusion_adds_nothing_at_first() -> None:
    fusion, x = PixelAudioFusion(8, 5), torch.randn(2, 3, 8, 4, 4)
    plain = fusion.norm(x.permute(0, 1, 3, 4, 2)).permute(0, 1, 4, 2, 3)
    assert torch.allclose(fusion(x, torch.randn(2, 3, 5)), plain, atol=1e-6)


@pytest.mark.parametrize("published", [False, True])
def test_the_released_residual_unit_adds_relu_of_x(published: bool) -> None:
    """Against layers whose first ReLU works in place, as in the released code."""
    unit, x = Residual(4, published), torch.randn(2, 4, 5, 5)
    plain = nn.Sequential(nn.ReLU(inplace=published), unit.first, nn.ReLU(), unit.second)
    mine = x.clone()
    found = plain(mine)
    assert torch.allclose(unit(x), found + mine, atol=1e-6)


def test_segmentation_head_learns_one_mask() -> None:
    torch.manual_seed(0)
    head = SegmentationHead(TINY.model_copy(update={"mlp_ratio": 1.0}), channels=16)
    hidden, audio = torch.randn(2, 16, 32), torch.randn(2, 5, 32)
    mask = torch.zeros(2, 4, 1, 32, 32)
    mask[0, :, :, 8:24, 8:24] = 1  # the second clip has no sounding object
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = nn.functional.binary_cross_entropy_with_logits(head((hidden, hidden), audio), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    probability = head((hidden, hidden), audio).detach().sigmoid().flatten(0, 1)[:, 0]
    frames = mask.flatten(0, 1)[:, 0]
    assert segmentation(probability, frames, torch.arange(len(frames)))["miou"] > 80


def test_seconds_are_the_middle_of_silence() -> None:
    audio = torch.arange(1000.0).reshape(1, 1, 1000, 1)
    second = one_second(audio, 300, 1024, -1.0)
    assert second.shape == (1, 1, 1024, 1)
    assert second[0, 0, 463:561, 0].tolist() == list(range(300, 398))
    assert (second[0, 0, :463] == -1).all()
    assert (second[0, 0, 561:] == -1).all()
    assert starts(10, 1000, "seconds") == list(range(0, 1000, 100))
    published = starts(10, 1000, "published")
    assert (published[0], published[1], published[-1]) == (0, 99, 890)
    assert one_second(audio[:, :, :50], 0, 128, 0.0)[0, 0, 15:65, 0].tolist() == list(range(50))


def test_the_second_of_a_clip_is_the_fbank_of_that_second_alone() -> None:
    from torchaudio.compliance.kaldi import fbank

    torch.manual_seed(0)
    wave = 0.1 * torch.randn(1, 48000) + 0.05
    settings = {
        "htk_compat": True, "sample_frequency": 16000, "use_energy": False, "dither": 0.0,
        "window_type": "hanning", "num_mel_bins": 128, "frame_shift": 10,
    }  # fmt: skip
    whole = fbank(wave - wave.mean(), **settings)
    alone = fbank(wave[:, 16000:32000] - wave[:, 16000:32000].mean(), **settings)
    assert len(alone) == 98
    assert torch.allclose(whole[100:198], alone, atol=1e-3)


def test_classification_scores_by_hand() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.7, 0.3, 0.0], [0.2, 0.8, 0.0]])
    targets = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 1.0, 0]])
    found = classification(scores, targets)
    assert found["accuracy"] == 50.0
    assert found["classes_scored"] == 2.0  # the third has no positive
    # Class 0 ranks + - + -: precision 1 at the first, 2/3 at the second; class 1 is its mirror.
    assert found["map"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert found["auc"] == pytest.approx(0.75)
    # Φ(0.67449) = 0.75
    assert found["d_prime"] == pytest.approx(math.sqrt(2) * 0.6744898, abs=1e-5)
    assert d_prime(0.5) == pytest.approx(0.0)
    assert math.isfinite(d_prime(1.0))


def test_several_labels_have_no_accuracy() -> None:
    found = classification(torch.rand(4, 2), torch.tensor([[1, 1], [0, 1], [1, 0], [0, 0]]).float())
    assert "accuracy" not in found
    assert {"map", "auc", "d_prime"} <= found.keys()


def test_events_are_counted_by_the_second() -> None:
    targets = torch.zeros(2, 3, 4)
    targets[0, :, 1] = 1
    targets[0, 0, 2] = 1  # two labels in one second: either is right
    targets[1, :, 3] = 1
    scores = torch.zeros(2, 3, 4)
    scores[0, 0, 2] = scores[0, 1, 1] = scores[0, 2, 0] = 1
    scores[1, :, 3] = 1
    assert event_accuracy(scores, targets)["accuracy"] == pytest.approx(100 * 5 / 6)


def test_segmentation_scores_by_hand() -> None:
    mask = torch.zeros(2, 2, 2)
    mask[0, 0] = 1  # two of four pixels; the second frame has no object
    probability = torch.tensor([[[0.9, 0.6], [0.7, 0.1]], [[0.8, 0.2], [0.2, 0.2]]])
    found = segmentation(probability, mask, torch.tensor([0, 1]))
    # Frame 0: intersection 2, union 3; frame 1: three of four pixels are left empty.
    assert found["miou"] == pytest.approx(100 * (2 / 3 + 3 / 4) / 2, abs=1e-3)
    assert found["iou"] == pytest.approx(100 * 2 / 4, abs=1e-3)
    # Between 0.1 and 0.6 precision 2/3, recall 1; above 0.7 precision 1, recall 1/2.
    low = 1.3 * (2 / 3) / (0.3 * (2 / 3) + 1)
    high = 1.3 * 0.5 / (0.3 + 0.5)
    assert f_score(probability, mask) == pytest.approx(max(low, high), abs=1e-4)
    assert f_score(probability[1:], mask[1:]) == 0.0
    assert found["f_score_per_video"] == pytest.approx(found["f_score"], abs=1e-3)


def test_f_of_each_video_takes_its_own_threshold() -> None:
    """One video of small probabilities, one of large ones: no single threshold fits both."""
    mask = torch.tensor([[[1, 0]], [[1, 0]], [[1, 0]]])
    probability = torch.tensor([[[0.2, 0.1]], [[0.9, 0.8]], [[0.9, 0.8]]])
    found = segmentation(probability, mask, torch.tensor([4, 7, 7]))
    assert found["f_score_per_video"] == pytest.approx(100, abs=1e-3)
    all_shown = 1.3 * 0.5 / (0.3 * 0.5 + 1)
    assert found["f_score"] == pytest.approx(100 * max((1 + 2 * all_shown) / 3, 2 / 3), abs=1e-3)


def test_f_score_equals_a_loop_over_thresholds() -> None:
    torch.manual_seed(0)
    probability, mask = torch.rand(3, 6, 6), torch.rand(3, 6, 6) < 0.3
    best = 0.0
    for step in range(255):
        threshold, total = step / 255, 0.0
        for p, m in zip(probability, mask, strict=True):
            guess = p >= threshold
            hit = float((guess & m).sum())
            precision, recall = hit / max(1, int(guess.sum())), hit / int(m.sum())
            total += 1.3 * precision * recall / max(1e-20, 0.3 * precision + recall)
        best = max(best, total / 3)
    assert f_score(probability, mask.int()) == pytest.approx(best, abs=1e-5)


def test_masks_are_cut_as_the_frames_are() -> None:
    values = np.zeros((4, 8), np.uint8)
    values[:, 3:5] = 255
    for mode in ("L", "P", "1"):
        file = io.BytesIO()
        Image.fromarray(values).convert(mode).save(file, "PNG")
        found, unknown = decode(memoryview(file.getvalue()), None, (0, 0, 1, 1), 8)
        assert unknown == 0
        assert np.array_equal(found > 0, np.repeat(values > 0, 2, axis=0))
    # A 16:9 picture stretched to a square: the middle 9/16 of its columns is the centre crop.
    whole = torch.arange(160.0).expand(160, 160)
    cut = crop(whole, 1600, 900)
    assert cut.shape == (160, 90)
    assert cut[0, 0] == 35
    assert crop(whole, 900, 1600).shape == (90, 160)
    assert crop(whole, 500, 500).shape == (160, 160)
