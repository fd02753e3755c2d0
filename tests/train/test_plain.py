"""The straightforward forms of the benchmarks are the same models, on the same clips."""

import random
from pathlib import Path

import pytest
import torch

from avstore.train.config import load_config
from avstore.train.data import Loader, open_store, sample_list
from avstore.train.experiment import batch_spec, build_objective
from avstore.train.systems.cavmae.selection import importance
from avstore.train.systems.uavm.objective import DrawnModality
from benchmarks.plain_step import plain_method, same_weights, whole_maps
from benchmarks.plain_uavm import PlainClips, plain_model
from benchmarks.train_step_uavm import make_features
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


def test_plain_clips_of_uavm_are_the_loaders(tmp_path: Path) -> None:
    make_features(tmp_path, 6)
    clips = PlainClips(tmp_path, augmented=False)
    store = open_store(str(tmp_path / "store"))
    config = load_config("uavm_tiny", {}, ["data.balanced=false"])
    spec = batch_spec(config, training=False)
    query = "SELECT clip_id FROM trainable WHERE split = 'train'"
    (batch,) = Loader(sample_list(store, query, features=spec.features), spec)
    assert batch.clip_ids == [f"vggsound/{name}" for name in clips.names]
    for row in range(len(clips)):
        audio, video, target = clips[row]
        assert torch.allclose(batch.features["convnext-audio"][row], audio, atol=1e-7)
        assert torch.allclose(batch.features["convnext-visual"][row], video, atol=1e-7)
        assert torch.equal(batch.labels[row], target)
    ours = build_objective(config)
    plain = plain_model(config.model)
    same_weights(ours.model, plain)
    with torch.no_grad():
        found = ours(batch, DrawnModality("video"))
        logits = plain(video=batch.features["convnext-visual"])
    assert torch.allclose(found.embeddings["logits"], logits, atol=1e-5)


def test_plain_augmentation_of_uavm_has_targets_of_its_clips(tmp_path: Path) -> None:
    make_features(tmp_path, 6)
    clips = PlainClips(tmp_path)
    random.seed(0)
    totals = {round(float(clips[0][2].sum()), 5) for _ in range(20)}
    # A mixture has all of the mass; a smoothed clip's own class lacks its share of the rest.
    assert totals == {1.0, round(1 - 0.1 / 309, 5)}
    assert clips[0][0].shape == clips[0][1].shape == (30, 1024)
