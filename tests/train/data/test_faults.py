"""Damage, loss and change under a running epoch: a clear error or the stated policy, never less."""

import os
import shutil
import signal
from dataclasses import dataclass

import pytest

from manifests.store import StoreError
from tests.train.data import store_factory as toy
from train.data import (
    BadSampleError,
    BatchSpec,
    EpochOrder,
    LoaderError,
    Policy,
    Steps,
    batches,
    open_store,
    raw_samples,
    sample_list,
    stream,
)


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


RAISE = Policy()


def run(samples, policy=RAISE, workers=0, **options):
    spec = BatchSpec(batch_size=4, frames=2, image_size=16, fbank_frames=48, **options)
    return list(batches(samples, spec, seed=0, epoch=0, workers=workers, policy=policy))


def test_a_flipped_byte_is_found_by_the_checksum_and_named(broken):
    store, samples = broken
    sample = samples.sample(7)
    flip(store, sample, "fbank.npy", at=300)
    assert sum(len(b) for b in run(samples)) == 23  # off: values are wrong by one, nothing is lost
    with pytest.raises(BadSampleError) as found:
        run(samples, Policy(checksum="always"))
    told = str(found.value)
    assert sample.clip_id in told
    assert sample.shard.path in told
    assert "CRC-32" in told


def test_sampled_checksums_find_it_within_some_epochs(broken):
    store, samples = broken
    flip(store, samples.sample(7), "flac")
    policy = Policy(on_bad="skip", checksum="sampled", sampled_one_in=4)
    spec = BatchSpec(batch_size=4, frames=1, image_size=16, fbank_frames=8)
    found = [
        problem
        for epoch in range(30)
        for batch in batches(samples, spec, seed=0, epoch=epoch, policy=policy)
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
    skipped = run(samples, Policy(on_bad="skip"), workers)
    assert sum(len(b) for b in skipped) == 22
    (problem,) = [p for b in skipped for p in b.problems]
    assert (problem.clip_id, problem.shard) == (bad.clip_id, bad.shard.path)
    assert "cannot decode" in problem.reason
    replaced = run(samples, Policy(on_bad="replace"), workers)
    assert sum(len(b) for b in replaced) == 23
    assert bad.clip_id not in [clip for b in replaced for clip in b.clip_ids]
    assert [b.clip_ids for b in replaced] == [
        b.clip_ids for b in run(samples, Policy(on_bad="replace"))
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
    skipped = run(samples, Policy(on_bad="skip"))
    assert sum(len(b) for b in skipped) + sum(len(b.problems) for b in skipped) == 23


def test_nothing_but_bad_samples_is_an_error_whatever_the_policy(broken):
    store, samples = broken
    for shard in samples.shards:
        (store.root / shard.path).unlink()
    for on_bad in ("skip", "replace"):
        with pytest.raises(BadSampleError, match=r"every sample of step 0|no usable sample"):
            run(samples, Policy(on_bad=on_bad))


def test_a_store_rebuilt_under_a_running_epoch_is_noticed(broken, tmp_path):
    store, samples = broken
    spec = BatchSpec(batch_size=4, frames=2, image_size=16, fbank_frames=48)
    running = batches(samples, spec, seed=0, epoch=0)
    next(running)
    other = toy.make_store(tmp_path / "other", toy.Shape(frames=6))
    shutil.rmtree(store.root / "shards")
    shutil.copytree(other / "shards", store.root / "shards")
    # Shards that were open before go on as they were, and the first new one is refused.
    with pytest.raises(BadSampleError, match="rebuilt"):
        list(running)
    with pytest.raises(BadSampleError, match="rebuilt"):
        run(samples, workers=2)


@dataclass(frozen=True)
class Deadly:
    """An order of which no worker process survives one step."""

    inner: EpochOrder
    step: int
    main: int

    def __len__(self):
        return len(self.inner)

    @property
    def samples(self):
        return self.inner.samples

    @property
    def seed(self):
        return self.inner.seed

    def rows(self, step):
        if step == self.step and os.getpid() != self.main:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.rows(step)

    def pool(self, rows, at):
        return self.inner.pool(rows, at)


def test_a_killed_worker_is_an_error_and_no_hang(toy_list):
    spec = BatchSpec(batch_size=4, frames=1, image_size=16, fbank_frames=8)
    order = Deadly(EpochOrder(toy_list, spec, 0, 0), 3, os.getpid())
    running = stream(Steps(order, spec), workers=2)
    taken = [next(running)]
    with pytest.raises(LoaderError, match="the run can go on from this step"):
        taken.extend(running)
    assert [b.step for b in taken] == list(range(len(taken)))
