"""What only saves time changes no value: reused memory, reused generators, threads, the device."""

import shutil
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.manifests.shard_reader import BadSampleError
from avstore.manifests.store import StoreError
from avstore.train.data import Augment, BatchSpec, ErrorPolicy, Loader, open_store, sample_list
from avstore.train.data.buffers import BatchBuffer, recycled
from avstore.train.data.member_index import MemberIndex
from avstore.train.data.rng import Purpose, generator, philox

SPEC = {"batch_size": 5, "frames": 2, "image_size": 24, "fbank_frames": 48,
        "augment": Augment(crop=True, noise=True)}  # fmt: skip
MASKS = Augment(crop=True, freq_mask=4, time_mask=20)
NOISY_MASKS = replace(MASKS, noise=True)


def whole(samples, threads=1, **options):
    return list(Loader(samples, BatchSpec(**SPEC | options), threads=threads))


def same(one, other):
    assert [b.clip_ids for b in one] == [b.clip_ids for b in other]
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.video, b.video)
        assert torch.equal(a.audio, b.audio)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**64 - 1), st.sampled_from(Purpose), st.integers(0, 9), st.integers(0, 2**63)
)
def test_a_moved_generator_is_a_new_one(seed, purpose, epoch, place):
    generator(1, purpose, 2, 3).integers(7)  # leaves half a word behind
    moved = generator(seed, purpose, epoch, place)
    new = np.random.Generator(philox(seed, purpose, epoch, place))
    for draw in (lambda g: g.integers(1000), lambda g: g.random(), lambda g: g.beta(2.0, 3.0)):
        assert draw(moved) == draw(new)


def test_a_batch_in_hand_is_never_written_to_again(toy_list):
    loader = Loader(toy_list, BatchSpec(**SPEC))
    held, copies = [], []
    for epoch in range(3):
        for batch in loader:
            # One row, or a view in another library, is enough to hold it.
            part = batch.audio[1] if epoch else batch.audio.numpy()[1]
            held.append((part, batch.video[:1]))
            copies.append((torch.as_tensor(part).clone(), batch.video[:1].clone()))
    for (audio, video), (was_audio, was_video) in zip(held, copies, strict=True):
        assert torch.equal(torch.as_tensor(audio), was_audio)
        assert torch.equal(video, was_video)


@pytest.mark.parametrize("kept", [1, 30])
def test_a_batch_of_a_worker_is_never_written_to_again(toy_list, kept):
    """Few are held, so that memory is used again; or more than there is memory for."""
    spec = BatchSpec(**SPEC | {"batch_size": 2, "image_size": 128, "fbank_frames": 512})
    expected = [(b.audio.clone(), b.video.clone()) for b in Loader(toy_list, spec, seed=5)]
    held = deque(maxlen=kept)
    for number, batch in enumerate(Loader(toy_list, spec, seed=5, workers=2)):
        # A row, or a view in another library, is enough to hold a batch.
        held.append((number, batch.audio.numpy()[1:], batch.video[:1]))
        if number % 3 == 0:
            time.sleep(0.2)
        for place, audio, video in held:
            assert torch.equal(torch.as_tensor(audio), expected[place][0][1:])
            assert torch.equal(video, expected[place][1][:1])
    assert number == len(expected) - 1


def test_memory_of_workers_is_shared_and_used_again(toy_list):
    spec = BatchSpec(**SPEC | {"batch_size": 2, "image_size": 128, "fbank_frames": 512})
    places = {batch.video.data_ptr() for batch in Loader(toy_list, spec, workers=1)}
    assert len(places) <= 6 < len(toy_list) // 2, "one of this process, five shared ones"


def test_memory_that_nobody_holds_is_used_again():
    first = recycled((3, 100_000), np.float32)
    place = first.ctypes.data
    assert recycled((3, 100_000), np.float32).ctypes.data != place
    del first
    assert recycled((3, 100_000), np.float32).ctypes.data == place


def test_rows_of_two_shapes_are_refused():
    rows = BatchBuffer(2, "fbanks")
    arrays = [rows.row(0, (4, 8), np.float32), rows.row(1, (4, 9), np.float32)]
    with pytest.raises(StoreError, match=r"float32 \[4, 8\] and float32 \[4, 9\]"):
        rows.stack(arrays)


def test_threads_change_nothing(toy_list):
    same(whole(toy_list), whole(toy_list, threads=3))


def test_a_skipped_row_leaves_no_gap_and_no_rest(toy_list):
    policy = ErrorPolicy(on_bad="skip")
    spec = BatchSpec(**SPEC | {"batch_size": 23}, random=False)
    bad = toy_list.sample(3)
    (clean,) = Loader(toy_list, spec)
    for threads in (1, 3):
        (batch,) = Loader(misplaced(toy_list, bad.clip_id), spec, policy=policy, threads=threads)
        assert [problem.clip_id for problem in batch.problems] == [bad.clip_id]
        kept = [row for row, clip in enumerate(clean.clip_ids) if clip != bad.clip_id]
        assert torch.equal(batch.audio, clean.audio[kept])
        assert torch.equal(batch.video, clean.video[kept])


def misplaced(samples, clip_id):
    """The list with one clip's members said to lie a byte further on."""
    members = samples.members
    first = members.columns.values["first"].copy()
    first[samples.clip_ids.index(clip_id)] += 1
    values = members.columns.values | {"first": first}
    return replace(samples, members=MemberIndex.of(values, members.packings))


def test_fbanks_finished_on_the_device_are_the_workers(toy_list):
    quiet = {"augment": MASKS}
    same(whole(toy_list, **quiet), [b.to("cpu") for b in whole(toy_list, fbank="device", **quiet)])
    (left, *_) = whole(toy_list, fbank="device", random=False)
    assert left.audio.dtype == torch.float16


@pytest.mark.parametrize("frames", [20, 41, 60])
def test_fbanks_are_cut_or_padded_alike_by_worker_and_device(toy_list, frames):
    options = {"random": False, "fbank_frames": frames}
    spec = BatchSpec(**SPEC | options)
    there = [b.to("cpu") for b in Loader(toy_list, BatchSpec(**SPEC | options, fbank="device"))]
    same(list(Loader(toy_list, spec)), there)
    kept = [batch.audio_frames.tolist() for batch in there]
    assert kept == [batch.audio_frames.tolist() for batch in Loader(toy_list, spec)]


@pytest.mark.parametrize("at", [-500, -388, 6, 20, 60])
def test_a_damaged_fbank_is_named(toy_store, toy_list, tmp_path, at):
    """One byte of the tar's or the array's header is another: name, size, length, type, shape."""
    root = Path(shutil.copytree(toy_store.root, tmp_path / "store"))
    samples = sample_list(open_store(root), "SELECT clip_id FROM clips")
    bad = samples.sample(17)
    path = root / bad.shard.path
    content = bytearray(path.read_bytes())
    content[bad.range("fbank.npy")[0] + at] ^= 0x15
    path.write_bytes(content)
    for how in ("device", "worker"):
        spec = BatchSpec(**SPEC, random=False, fbank=how)
        with pytest.raises(BadSampleError, match=bad.clip_id):
            list(Loader(samples, spec))


def test_noise_on_the_device_has_the_workers_strength_and_roll(toy_list):
    worker = whole(toy_list, augment=NOISY_MASKS)
    device = [b.to("cpu") for b in whole(toy_list, fbank="device", augment=NOISY_MASKS)]
    again = [b.to("cpu") for b in whole(toy_list, threads=2, fbank="device", augment=NOISY_MASKS)]
    same(device, again)
    for a, b in zip(worker, device, strict=True):
        assert 0 < (a.audio - b.audio).abs().max() < 0.1
    one = Loader(
        toy_list, BatchSpec(**SPEC | {"batch_size": 1, "augment": NOISY_MASKS}, fbank="device")
    )
    alone = torch.cat([batch.to("cpu").audio for batch in one])
    assert torch.equal(alone, torch.cat([batch.audio for batch in device]))


def test_mixed_fbanks_are_not_left_to_the_device():
    with pytest.raises(ValueError, match="without mixup"):
        BatchSpec(4, fbank="device", labels="multi_hot", augment=Augment(mixup=0.5))
