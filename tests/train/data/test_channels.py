"""Waveforms of several channels in batches: the expected number, or an error; nothing is mixed."""

import numpy as np
import pytest
import torch

from avstore.manifests.shard_reader import BadSampleError
from avstore.train.data import Augment, BatchSpec, ErrorPolicy, Loader, open_store, sample_list
from tests.train.data import store_factory as toy

CLIPS = 6


@pytest.fixture(scope="module", params=[2, 4])
def several(request, tmp_path_factory):
    """The samples of a store with clips of two or four channels, and how many."""
    shape = toy.Shape(clips=CLIPS, channels=request.param)
    root = toy.make_store(tmp_path_factory.mktemp("channels"), shape)
    return sample_list(open_store(root), "SELECT clip_id FROM clips"), request.param


def spec(channels: int, **settings) -> BatchSpec:
    common = {"read": ("waveform",), "waveform_samples": 10_000, "random": False}
    return BatchSpec(CLIPS, channels=channels, **common | settings)


def expected(clip_id: str, channels: int) -> np.ndarray:
    number = int(clip_id[-6:])
    waves = np.stack([toy.wave(number, channel) for channel in range(channels)])
    return np.pad(waves.astype(np.float32) / 32768, ((0, 0), (0, 2000)))


def test_channels_come_apart(several):
    samples, channels = several
    batch = next(iter(Loader(samples, spec(channels))))
    assert batch.waveform.shape == (CLIPS, channels, 10_000)
    for clip_id, waveform in zip(batch.clip_ids, batch.waveform, strict=True):
        np.testing.assert_array_equal(waveform, expected(clip_id, channels))
    by_worker = next(iter(Loader(samples, spec(channels), workers=1)))
    assert torch.equal(by_worker.waveform, batch.waveform)
    cut = next(iter(Loader(samples, spec(channels, waveform_samples=500))))
    assert torch.equal(cut.waveform, batch.waveform[..., :500])


def test_one_channel_has_no_axis(toy_list):
    batch = next(iter(Loader(toy_list, spec(1))))
    assert batch.waveform.shape == (CLIPS, 10_000)
    for clip_id, waveform in zip(batch.clip_ids, batch.waveform, strict=True):
        np.testing.assert_array_equal(waveform, expected(clip_id, 1)[0])


def test_another_number_is_an_error_in_one_line(several, toy_list):
    for samples, stored, asked in ((*several, 1), (*several, 3), (toy_list, 1, 4)):
        with pytest.raises(BadSampleError) as failed:
            next(iter(Loader(samples, spec(asked))))
        message = str(failed.value)
        plural = "s" if stored > 1 else ""
        assert f"{stored} channel{plural}, and channels={asked} was asked for" in message
        assert f"read it with channels={stored}" in message
        assert "toy/k" in message
        assert "\n" not in message


def test_a_store_of_such_clips_alone_is_an_error_when_they_are_skipped(several):
    samples, channels = several
    with pytest.raises(BadSampleError, match=f"every sample.*it has {channels} channels"):
        list(Loader(samples, spec(1), policy=ErrorPolicy(on_bad="skip")))


def test_mixup_mixes_each_channel_with_its_like(several):
    samples, channels = several
    mixing = {"random": True, "labels": "multi_hot", "waveform_samples": 8000}
    batch = next(iter(Loader(samples, spec(channels, augment=Augment(mixup=1.0), **mixing))))
    for row, (own, partner) in enumerate(zip(batch.clip_ids, batch.mixed_with, strict=True)):
        share = float(batch.share[row])
        first, second = (
            wave - wave.mean(axis=1, keepdims=True)
            for wave in (expected(clip, channels)[:, :8000] for clip in (own, partner))
        )
        mixture = share * first + (1 - share) * second
        np.testing.assert_allclose(batch.waveform[row], mixture, atol=1e-6)


def test_mixed_waveforms_have_one_channel():
    augment = Augment(mixup=0.5, mixup_domain="waveform")
    settings = {"random": True, "labels": "multi_hot", "augment": augment}
    with pytest.raises(ValueError, match=r"mixup_domain='waveform' takes channels=1, not 4"):
        spec(4, **settings)
    spec(4, **settings | {"random": False})
    spec(1, **settings)


def test_an_fbank_needs_no_channels(several):
    samples, _ = several
    batch = next(iter(Loader(samples, spec(1, read=("fbank",)))))
    assert batch.waveform is None
    assert len(batch.fbank) == CLIPS


@pytest.mark.parametrize("channels", [0, -1, 1.5, "4"])
def test_a_number_that_is_none_is_refused(channels):
    with pytest.raises(ValueError, match="channels="):
        spec(channels)
