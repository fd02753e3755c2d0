"""Damage, loss and change under a running epoch: a clear error or the stated policy, never less."""

import io
import shutil
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avstore.manifests.npy import load_npy
from avstore.manifests.shard_reader import LocalReader
from avstore.manifests.store import StoreError
from avstore.train.data import (
    Augment,
    BadSampleError,
    BatchSpec,
    EpochOrder,
    ErrorPolicy,
    Loader,
    open_store,
    raw_samples,
    sample_list,
)
from avstore.train.data.request import request_sample
from avstore.train.data.steps import load_sample
from avstore.train.data.transforms import fbank, features, masks
from tests.train.data import store_factory as toy
from tests.train.passes import one_pass


@pytest.fixture
def broken(toy_store, tmp_path):
    """A store of one's own to break, and its samples."""
    root = shutil.copytree(toy_store.root, tmp_path / "store")
    store = open_store(root)
    return store, sample_list(store, "SELECT clip_id FROM clips")


def flip(store, sample, suffix, at=40):
    """Change one byte inside a member."""
    offset, size = sample.range(suffix)
    path = store.root / sample.shard.path
    content = bytearray(path.read_bytes())
    content[offset + min(at, size - 1)] ^= 0x55
    path.write_bytes(content)


RAISE = ErrorPolicy()


def run(samples, policy=RAISE, workers=0, **options):
    spec = BatchSpec(batch_size=4, frames=2, image_size=16, fbank_frames=48, **options)
    return list(Loader(samples, spec, workers=workers, policy=policy))


def test_a_flipped_byte_is_found_by_the_checksum_and_named(broken):
    store, samples = broken
    sample = samples.sample(7)
    flip(store, sample, "fbank.npy", at=300)
    assert sum(len(b) for b in run(samples)) == 23  # off: values are wrong by one, nothing is lost
    with pytest.raises(BadSampleError) as found:
        run(samples, ErrorPolicy(checksum="always"))
    message = str(found.value)
    assert sample.clip_id in message
    assert sample.shard.path in message
    assert "CRC-32" in message


@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 1), bit=st.integers(0, 7), member=st.integers(0, 5))
def test_any_flipped_bit_is_a_bad_sample_or_harmless_never_a_crash(toy_list, place, bit, member):
    sample = toy_list.sample(5)
    name = ("fbank.npy", "flac", *sample.layout.frames[:4])[member]
    offset, size = sample.range(name)
    # Headers are where damage does most: half of the flips go there.
    spread = (offset - 512, offset + min(size, 128)) if bit % 2 else (offset, offset + size)
    at = int(spread[0] + place * (spread[1] - spread[0] - 1))
    spec = BatchSpec(
        batch_size=1,
        frames=4,
        image_size=16,
        fbank_frames=8,
        read=("video", "audio", "waveform"),
        labels="multi_hot",
        augment=Augment(mixup=1.0, mixup_domain="waveform" if bit % 3 else "feature"),
    )
    request = requested(toy_list, 5, spec)
    reader = Flipped(str(toy_list.url), sample.shard.path, at, 1 << bit)
    with suppress(BadSampleError):
        load_sample(request, toy_list, spec, reader)


class Flipped(LocalReader):
    """One bit of one shard is another than on the disk."""

    def __init__(self, root, path, at, mask):
        super().__init__(root)
        self.path, self.at, self.mask = path, at, mask

    def read(self, shard, offset, size):
        content = bytearray(super().read(shard, offset, size))
        if shard.path == self.path and offset <= self.at < offset + size:
            content[self.at - offset] ^= self.mask
        return memoryview(bytes(content))


def requested(samples, index, spec):
    order = EpochOrder(samples, spec, seed=0)
    return request_sample(order, order.rows(index), 0, index, spec, RAISE)


def npy(array):
    return bytearray(toy.npy(array))


@settings(deadline=None)
@given(st.integers(0, 127), st.integers(0, 255))
def test_a_damaged_array_header_is_a_value_error_or_still_fits_the_content(at, value):
    whole = npy(np.ones((30, 8), np.float16))
    content = bytearray(whole)
    content[at] = value
    try:
        array = load_npy(memoryview(bytes(content)))
    except ValueError:
        assert content != whole
        return
    assert array.nbytes == 30 * 8 * 2
    with suppress(ValueError):
        assert fbank.fit(array, 20).shape == (20, array.shape[1])
    with suppress(ValueError):
        assert len(features.fit(array, 5, unit=True)) == 5


def test_an_array_of_another_length_than_it_says_is_refused():
    whole = bytes(npy(np.ones((30, 8), np.float16)))
    assert load_npy(memoryview(whole)).shape == (30, 8)
    for wrong in (whole[:-2], whole + b"\0\0", whole[:9], whole.replace(b"(30,", b"(29,")):
        with pytest.raises(ValueError, match=r"do not hold|no \.npy file"):
            load_npy(memoryview(wrong))


def mask_png(mode):
    noise = np.random.default_rng(0).integers(0, 255, (20, 25)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def decode_mask(content):
    return masks.decode(memoryview(bytes(content)), None, (0, 0, 1, 1), 16)[0]


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(0, 255), st.sampled_from(["L", "P", "1"]))
def test_a_damaged_mask_is_refused_or_read_unchanged(place, value, mode):
    whole = mask_png(mode)
    damaged = bytearray(whole)
    damaged[int(place * (len(whole) - 1))] = value
    try:
        mask = decode_mask(damaged)
    except (ValueError, OSError):
        assert damaged != whole
    else:
        np.testing.assert_array_equal(mask, decode_mask(whole))


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_a_mask_with_damaged_pixels_is_refused(mode):
    whole = mask_png(mode)
    pixels = whole.index(b"IDAT") + 4
    for at in range(pixels, len(whole) - 16):  # up to the chunk's checksum and the end chunk
        damaged = bytearray(whole)
        damaged[at] ^= 0x55
        with pytest.raises((ValueError, OSError)):
            decode_mask(damaged)


@pytest.mark.parametrize("at", range(33))
def test_a_mask_with_a_damaged_header_is_refused(at):
    """Signature, and the header chunk with its checksum."""
    damaged = bytearray(mask_png("P"))
    damaged[at] ^= 0x15
    with pytest.raises((ValueError, OSError)):
        decode_mask(damaged)


def test_sampled_checksums_find_it_within_some_epochs(broken):
    store, samples = broken
    flip(store, samples.sample(7), "flac")
    policy = ErrorPolicy(on_bad="skip", checksum="sampled", sampled_one_in=4)
    spec = BatchSpec(batch_size=4, frames=1, image_size=16, fbank_frames=8)
    found = [
        problem
        for epoch in range(30)
        for batch in one_pass(samples, spec, epoch, policy=policy)
        for problem in batch.problems
    ]
    assert {problem.clip_id for problem in found} == {samples.sample(7).clip_id}
    assert 1 <= len(found) < 20


@pytest.mark.parametrize("workers", [0, 2])
def test_skip_shortens_and_counts_replace_keeps_the_size(broken, workers):
    store, samples = broken
    bad = samples.sample(7)
    for frame in bad.layout.frames:
        flip(store, bad, frame, at=2)
    skipped = run(samples, ErrorPolicy(on_bad="skip"), workers)
    assert sum(len(b) for b in skipped) == 22
    (problem,) = [p for b in skipped for p in b.problems]
    assert (problem.clip_id, problem.shard) == (bad.clip_id, bad.shard.path)
    assert "cannot decode" in problem.reason
    replaced = run(samples, ErrorPolicy(on_bad="replace"), workers)
    assert sum(len(b) for b in replaced) == 23
    assert bad.clip_id not in [clip for b in replaced for clip in b.clip_ids]
    assert [b.clip_ids for b in replaced] == [
        b.clip_ids for b in run(samples, ErrorPolicy(on_bad="replace"))
    ]
    with pytest.raises(BadSampleError, match=bad.clip_id):
        run(samples, workers=workers)


def test_a_cut_off_shard_and_a_vanished_one_are_said(broken):
    store, samples = broken
    path = store.root / samples.shards[0].path
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadSampleError, match=r"has \d+ bytes and the manifest says"):
        run(samples)
    path.unlink()
    with pytest.raises(BadSampleError, match="cannot be opened"):
        run(samples, workers=2)
    with pytest.raises(StoreError, match="cannot be opened"):
        list(raw_samples(samples))
    skipped = run(samples, ErrorPolicy(on_bad="skip"))
    assert sum(len(b) for b in skipped) + sum(len(b.problems) for b in skipped) == 23


def test_nothing_but_bad_samples_is_an_error_whatever_the_policy(broken):
    store, samples = broken
    for shard in samples.shards:
        (store.root / shard.path).unlink()
    for on_bad in ("skip", "replace"):
        with pytest.raises(BadSampleError, match=r"every sample of step 0|no usable sample"):
            run(samples, ErrorPolicy(on_bad=on_bad))


def test_a_store_rebuilt_under_a_running_epoch_is_noticed(broken, tmp_path):
    store, samples = broken
    spec = BatchSpec(batch_size=4, frames=2, image_size=16, fbank_frames=48)
    running = iter(Loader(samples, spec))
    next(running)
    other = toy.make_store(tmp_path / "other", toy.Shape(frames=6))
    shutil.rmtree(store.root / "shards")
    shutil.copytree(other / "shards", store.root / "shards")
    # Shards that were open before go on as they were, and the first new one is refused.
    with pytest.raises(BadSampleError, match="rebuilt"):
        list(running)
    with pytest.raises(BadSampleError, match="rebuilt"):
        run(samples, workers=2)


def test_a_repaired_shard_is_read_anew_by_the_same_process(broken):
    store, samples = broken
    path = store.root / samples.sample(7).shard.path
    content = path.read_bytes()
    flip(store, samples.sample(7), "flac")
    always = ErrorPolicy(checksum="always")
    with pytest.raises(BadSampleError, match="CRC-32"):
        run(samples, always)
    again = path.with_suffix(".new")
    again.write_bytes(content)
    again.replace(path)
    for workers in (0, 2):
        assert sum(len(b) for b in run(samples, always, workers)) == 23


def test_a_frame_that_the_device_cannot_decode_is_named(broken):
    store, samples = broken
    sample = samples.sample(2)
    path = store.root / sample.shard.path
    content = bytearray(path.read_bytes())
    for name in sample.layout.frames:
        table = content.index(b"\xff\xdb", sample.range(name)[0])
        content[table + 4] = 3  # the quantisation table has another number: the header is well
    path.write_bytes(content)
    with pytest.raises(StoreError, match=f"{sample.clip_id}, frame 0 of the 2 chosen"):
        [batch.to("cpu") for batch in run(samples, decode="device", random=False)]
