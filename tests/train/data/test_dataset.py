"""Samples by row: what a batch of one holds, in notebooks and in stock DataLoaders."""

from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader, Subset

from avstore.manifests.store import StoreError
from avstore.train.data import Augment, Dataset, Loader, PlanSpec, compile_plan, sample_list


def same(a, b):
    return list(a) == list(b) and all(
        torch.equal(a[name], b[name]) if isinstance(a[name], torch.Tensor) else a[name] == b[name]
        for name in a
    )


@pytest.mark.parametrize("random", [False, True])
def test_an_item_is_what_a_batch_holds_of_it(toy_list, toy_spec, random):
    """Of the same epoch of a Loader in the list's order, whatever its batch size is."""
    spec = replace(toy_spec, random=random, shuffle="listed", labels="multi_hot")
    dataset = Dataset(toy_list, replace(spec, shuffle=None), seed=5, epoch=2)
    loader = Loader(toy_list, spec, seed=5)
    loader.epoch = 2
    whole = [
        {"video": v, "fbank": f, "labels": y, "clip_id": clip}
        for b in loader
        for v, f, y, clip in zip(b["video"], b["fbank"], b["labels"], b.clip_ids, strict=True)
    ]
    assert len(dataset) == len(whole) == 23
    assert all(same(a, b) for a, b in zip(whole, dataset, strict=True))
    assert same(dataset[-1], whole[22])
    assert same(dataset[-23], dataset[0])
    other = Dataset(toy_list, spec, seed=5, epoch=3)
    assert same(dataset[7], other[7]) is not random


def test_rows_that_there_are_not(toy_list, toy_spec):
    dataset = Dataset(toy_list, toy_spec)
    for row in (23, -24):
        with pytest.raises(IndexError, match=rf"row {row} is not in \[-23, 23\)"):
            dataset[row]
    for row in (slice(2, 4), "3", 1.5):
        with pytest.raises(TypeError, match="is not the number of one row: for several, use"):
            dataset[row]
    assert dataset[torch.tensor(3)]["clip_id"] == toy_list.clip_ids[3]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stock_dataloader_stacks_samples(toy_list, toy_spec, workers):
    dataset = Dataset(toy_list, replace(toy_spec, random=False, labels="multi_hot"))
    found = list(DataLoader(dataset, batch_size=8, num_workers=workers))
    assert [len(batch["clip_id"]) for batch in found] == [8, 8, 7]
    assert [clip for batch in found for clip in batch["clip_id"]] == toy_list.clip_ids
    assert torch.equal(found[1]["video"][3], dataset[11]["video"])
    assert found[0]["labels"].shape == (8, 5)
    assert len(list(DataLoader(Subset(dataset, [3, 1]), batch_size=2))) == 1


def test_settings_that_choose_samples_or_a_device_do_not_apply(toy_list, toy_spec):
    plain = Dataset(toy_list, replace(toy_spec, augment=Augment()))
    others = {"decode": "device", "fbank": "device", "batch_size": 99, "drop_last": True}
    other = Dataset(toy_list, replace(plain.spec, weighted=True, **others))
    assert same(plain[4], other[4])
    assert plain[3]["labels"].tolist() == toy_list.label_ids(3)
    assert Dataset(toy_list, replace(toy_spec, pixels="uint8"))[0]["video"].dtype == torch.uint8


def test_what_cannot_be_indexed_is_said(toy_store, toy_list, toy_spec):
    plan = compile_plan(toy_store, {"all": "SELECT clip_id FROM clips"}, PlanSpec(4), seed=0)
    with pytest.raises(TypeError, match="is not a SampleList: a Dataset indexes"):
        Dataset(plan, toy_spec)
    with pytest.raises(StoreError, match="made without 'toy-feature'"):
        Dataset(toy_list, replace(toy_spec, read=("toy-feature",)))[0]
    samples = sample_list(toy_store, "SELECT clip_id FROM clips", features=["toy-feature"])
    item = Dataset(samples, replace(toy_spec, read=("toy-feature",)))[2]
    assert list(item) == ["toy-feature", "labels", "clip_id"]
    assert item["toy-feature"].shape == (3, 4)
