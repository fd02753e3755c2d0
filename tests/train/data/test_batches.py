"""The contract: from a query to batches, the same for every world size and worker count."""

from dataclasses import replace

import numpy as np
import pytest
import simplejpeg
import torch

from avstore.manifests.store import StoreError
from avstore.train.data import (
    BatchSpec,
    Loader,
    PlanSpec,
    compile_plan,
    open_store,
    sample_list,
    steps_per_epoch,
)
from tests.train.data import store_factory as toy
from tests.train.passes import one_pass


def same(a, b):
    return (
        a.clip_ids == b.clip_ids
        and a.step == b.step
        and torch.equal(a.video, b.video)
        and torch.equal(a.audio, b.audio)
    )


def test_a_store_is_found_from_its_root_its_shards_and_below(toy_store):
    root = toy_store.root
    for path in (root, root / "shards", root / "shards" / "toy"):
        assert open_store(path).root == root.resolve()
    assert toy_store.manifest == root / "manifest.duckdb"
    assert toy_store.query("SELECT 1 + ? AS two", [1]).rows() == [{"two": 2}]


def test_what_is_no_store_is_said(tmp_path, toy_store):
    with pytest.raises(StoreError, match="does not exist; give the folder of a store"):
        open_store(tmp_path / "nowhere")
    with pytest.raises(StoreError, match=r"no manifest.duckdb"):
        open_store(tmp_path)
    with pytest.raises(StoreError, match="the query failed"):
        toy_store.query("SELECT nonsense")


def test_a_list_holds_what_the_query_names_and_says_what_is_missing(toy_store, toy_list):
    assert len(toy_list) == 23
    assert toy_list.clip_ids == sorted(toy.clip_id(n) for n in range(23))
    assert toy_list.missing == (toy.clip_id(23),)
    assert toy_list.classes == toy.CLASSES
    again = sample_list(toy_store, "SELECT clip_id FROM clips ORDER BY random()")
    assert again.fingerprint == toy_list.fingerprint
    fewer = sample_list(toy_store, "SELECT clip_id FROM clips WHERE split = ?", ["test"])
    assert fewer.fingerprint != toy_list.fingerprint
    with pytest.raises(StoreError, match="none of the 0 clips that the query selects is stored"):
        sample_list(toy_store, "SELECT clip_id FROM clips WHERE false")
    with pytest.raises(StoreError, match="no column clip_id"):
        sample_list(toy_store, "SELECT key FROM clips")


def test_a_sample_is_what_is_stored(toy_list):
    """Without augmentation a batch holds the members' own content."""
    shape = toy.Shape()
    spec = BatchSpec(
        batch_size=23, frames=8, image_size=None, fbank_frames=42, random=False,
        frame_choice="all", mean=0.0, std=1.0, pixels="uint8",
    )  # fmt: skip
    (batch,) = Loader(toy_list, spec)
    for row, clip_id in enumerate(batch.clip_ids):
        number = int(clip_id[-6:])
        stored = simplejpeg.decode_jpeg(toy.frame(number, 3, shape.size))
        assert torch.equal(batch.video[row, 3].permute(1, 2, 0), torch.from_numpy(stored))
        kept = batch.audio_frames[row]
        assert kept == shape.fbank_frames + number % 3
        fbank = toy.fbank(number, shape).astype(np.float32)
        assert np.array_equal(batch.audio[row, 0, :kept].numpy(), fbank)
        assert not batch.audio[row, 0, kept:].any()
        assert batch.labels[row] == toy.labels_of(number)


def test_any_world_size_gives_the_same_global_batches(toy_list, toy_spec):
    whole = one_pass(toy_list, toy_spec, 1, seed=3)
    assert len(whole) == steps_per_epoch(toy_list, toy_spec) == 6
    for world_size in (2, 3):
        ranks = [
            one_pass(toy_list, toy_spec, 1, seed=3, rank=r, world_size=world_size)
            for r in range(world_size)
        ]
        for step, batch in enumerate(whole):
            for rank, own in enumerate(ranks):
                assert own[step].clip_ids == batch.clip_ids[rank::world_size]
                assert torch.equal(own[step].video, batch.video[rank::world_size])
                assert torch.equal(own[step].audio, batch.audio[rank::world_size])


def test_workers_change_nothing(toy_list, toy_spec):
    whole = one_pass(toy_list, toy_spec, 1, seed=3)
    rest = one_pass(toy_list, toy_spec, 1, 2, seed=3, workers=2)
    assert len(rest) == 4
    assert all(same(a, b) for a, b in zip(whole[2:], rest, strict=True))


def test_the_end_of_an_epoch(toy_list):
    def last(**options):
        spec = BatchSpec(batch_size=4, frames=1, image_size=8, fbank_frames=8, **options)
        return list(Loader(toy_list, spec))

    assert [len(b) for b in last()] == [4, 4, 4, 4, 4, 3]
    assert [len(b) for b in last(drop_last=True)] == [4] * 5
    padded = last(pad_last=True)
    assert [len(b) for b in padded] == [4] * 6
    assert padded[-1].padded.tolist() == [False, False, False, True]
    assert padded[-1].clip_ids[-1] == padded[0].clip_ids[0]


def test_a_last_batch_smaller_than_the_world_is_filled_up(toy_list, caplog):
    """20 + 3 rows for 4 ranks: one row is repeated, and every rank takes 6 steps."""

    def ranks(**options):
        spec = BatchSpec(4, frames=1, image_size=8, fbank_frames=8, **options)
        return [list(Loader(toy_list, spec, rank=r, world_size=4)) for r in range(4)]

    own = ranks()
    assert [len(steps) for steps in own] == [6] * 4
    assert "the last batch has 3 sample(s) for 4 ranks: 1 row(s) repeat" in caplog.text
    last = [steps[-1] for steps in own]
    assert [b.padded.tolist() for b in last] == [[False], [False], [False], [True]]
    assert torch.equal(last[3].frames, last[0].frames)
    read = [clip for s in own for b in s for clip in b.rows(~b.padded).clip_ids]
    assert sorted(read) == toy_list.clip_ids
    caplog.clear()
    assert [len(steps) for steps in ranks(drop_last=True)] == [5] * 4
    filled = ranks(pad_last=True)
    assert filled[3][-1].padded.tolist() == [True]
    assert filled[3][-1].clip_ids == filled[0][0].clip_ids
    assert not caplog.text


def test_repeated_rows_take_no_slot_of_a_memory(toy_store):
    tasks = {"all": "SELECT clip_id FROM clips"}
    plan = compile_plan(toy_store, tasks, PlanSpec(11, replay=2, memory=30), seed=0)
    whole = plan.rows(2)
    filled = whole.filled(7)
    assert (len(whole), len(filled)) == (3, 7)
    assert filled.take(slice(3)).slots.tolist() == whole.slots.tolist()
    assert filled.slots[3:].tolist() == [-1] * 4
    assert filled.padded.tolist() == [False] * 3 + [True] * 4
    assert np.array_equal(filled.indices[3:], np.tile(whole.indices, 2)[:4])
    assert whole.filled(3) is whole


def test_batches_smaller_than_the_world_are_refused(toy_list, toy_spec):
    with pytest.raises(ValueError, match=r"4 sample\(s\) for 5 ranks: make batch_size at least 5"):
        next(iter(Loader(toy_list, toy_spec, world_size=5)))
    few = Loader(toy_list, replace(toy_spec, batch_size=64), rank=29, world_size=30)
    assert [b.padded.tolist() for b in few] == [[True]]


def test_epochs_and_seeds_differ_and_evaluation_does_not(toy_list, toy_spec):
    def ids(spec, seed, epoch):
        return [clip for b in one_pass(toy_list, spec, epoch, seed=seed) for clip in b.clip_ids]

    assert ids(toy_spec, 0, 0) != ids(toy_spec, 0, 1) != ids(toy_spec, 1, 0)
    assert sorted(ids(toy_spec, 0, 1)) == toy_list.clip_ids
    still = BatchSpec(batch_size=4, frames=1, image_size=8, fbank_frames=8, random=False)
    assert ids(still, 0, 0) == ids(still, 5, 7) == toy_list.clip_ids
