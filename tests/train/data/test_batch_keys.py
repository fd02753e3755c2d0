"""A batch as a mapping of what it holds; nothing that was not read, and one line to print."""

from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader, default_convert

from avstore.train.data import EpochOrder, Loader, Steps, join, sample_list

SOUND = ("waveform",)


@pytest.fixture
def first(toy_store, toy_spec):
    def load(**settings):
        samples = sample_list(toy_store, "SELECT clip_id FROM clips", features=["toy-feature"])
        return next(iter(Loader(samples, replace(toy_spec, **settings))))

    return load


def test_a_batch_maps_names_to_what_was_read(first):
    batch = first(read=("frames", "fbank", "waveform", "toy-feature"), labels="multi_hot")
    keys = ["video", "fbank", "waveform", "toy-feature", "labels", "clip_ids"]
    assert list(batch) == list(batch.keys()) == keys
    assert len(batch) == 4
    assert dict(**batch) == dict(batch.items()) == dict(batch) == {k: batch[k] for k in keys}
    assert batch["video"] is batch["frames"] is batch.video is batch.frames
    assert batch["fbank"] is batch["audio"] is batch.audio is batch.fbank
    assert batch["toy-feature"] is batch.features["toy-feature"]
    assert batch["labels"] is list(batch.values())[4] is batch.labels
    assert all(name in batch for name in (*keys, "frames", "audio"))


def test_what_was_not_read_is_no_key_and_none(first):
    batch = first(read=SOUND).to("cpu")
    assert list(batch) == ["waveform", "labels", "clip_ids"]
    assert (batch.video, batch.audio, batch.masks) == (None, None, None)
    assert "video" not in batch
    assert "frames" not in batch
    assert 3 not in batch
    assert batch.get("fbank") is None
    assert batch.get("video", 3) == 3
    with pytest.raises(
        KeyError, match=r"no 'wave' .did you mean 'waveform'.+; it holds waveform, l"
    ):
        batch["wave"]
    with pytest.raises(KeyError, match="no slice"):
        batch[1:2]
    for name in ("frames", "video_mask"):
        with pytest.raises(ValueError, match="no frames, only waveform, labels, clip_ids: name it"):
            getattr(batch, name)
    for name in ("fbank", "audio_mask"):
        with pytest.raises(ValueError, match="no fbank, only waveform"):
            getattr(batch, name)


@pytest.mark.parametrize("settings", [{}, {"pixels": "uint8"}, {"fbank": "device"}])
@pytest.mark.parametrize("read", [("frames",), ("fbank",), SOUND, ("toy-feature",)])
def test_every_part_alone_goes_every_way(toy_store, toy_spec, read, settings):
    samples = sample_list(toy_store, "SELECT clip_id FROM clips", features=["toy-feature"])
    spec = replace(toy_spec, read=read, **settings)
    here = [batch.to("cpu") for batch in Loader(samples, spec)]
    there = [batch.to("cpu") for batch in Loader(samples, spec, workers=1)]
    key = "video" if read == ("frames",) else read[0]
    for one, other in zip(here, there, strict=True):
        assert list(one) == list(other) == [key, "labels", "clip_ids"]
        assert torch.equal(one[key], other[key])
    assert len(join(*here)[key]) == 23
    assert len(here[0].rows([0, 2])[key]) == 2


def test_frames_for_the_device_are_no_key_before_they_are_decoded(first):
    batch = first(decode="device")
    assert list(batch) == ["fbank", "labels", "clip_ids"]
    assert repr(batch).startswith("Batch(4 clips, epoch 0, step 0: video not decoded, fbank float")
    assert batch.video_mask.shape == (4, 2)
    with pytest.raises(ValueError, match=r"not decoded yet: .* batch.to\(device\)"):
        batch.frames  # noqa: B018
    assert next(iter(batch.to("cpu"))) == "video"


def test_torch_and_lightning_take_it_for_one_thing(toy_list, toy_spec, first):
    batch = first()
    assert default_convert(batch) is batch
    steps = Steps(EpochOrder(toy_list, toy_spec, seed=3, epoch=0), toy_spec)
    (one, *_) = DataLoader(steps, batch_size=None, num_workers=1)
    assert one.clip_ids == steps[0].clip_ids
    pytest.importorskip("lightning")
    from lightning.fabric.utilities.apply_func import move_data_to_device
    from lightning.pytorch.utilities.data import extract_batch_size

    moved = move_data_to_device(batch, torch.device("cpu"))
    assert torch.equal(moved["video"], batch["video"])
    assert moved.clip_ids == batch.clip_ids
    assert extract_batch_size(batch) == 4
    assert extract_batch_size(first(read=SOUND, labels="multi_hot")) == 4


def test_a_batch_prints_as_one_line(first):
    batch = first(read=("fbank", "toy-feature"), labels="multi_hot")
    assert repr(batch) == (
        "Batch(4 clips, epoch 0, step 0: fbank float32 [4, 1, 48, 16], "
        "toy-feature float32 [4, 3, 4], labels float32 [4, 5])"
    )
    assert repr(first(read=("fbank",)).rows([0])) == (
        "Batch(1 clip, epoch 0, step 0: fbank float32 [1, 1, 48, 16], labels list)"
    )


def test_lists_and_stores_print_as_one_line(toy_store):
    samples = sample_list(toy_store, "SELECT clip_id FROM clips", features=["toy-feature"])
    assert repr(samples) == (
        "SampleList(23 clips of toy by toy-abcdef01, 5 shards, features toy-feature, "
        "1 clip missing)"
    )
    one = sample_list(toy_store, "SELECT clip_id FROM samples LIMIT 1", ranges=False)
    assert repr(one) == "SampleList(1 clip of toy by toy-abcdef01, 1 shard)"
    assert repr(toy_store) == f"OpenStore({str(toy_store.root)!r})"
