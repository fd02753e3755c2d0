"""A state of a few kilobytes names what has changed in a list of millions."""

import time
import zlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.train.data import BatchSpec, ChangedDataError, Loader, sample_list
from avstore.train.data.list_sketch import difference, hashes_of, names_in, outline_of
from avstore.train.data.resume_check import SampleListRecord
from avstore.train.data.shared_table import SharedTable

HASHES = ["e220a8397b1dcdaf", "5fec3f63d2f79f88", "e97a436afc91caf3"]
SPEC = BatchSpec(batch_size=4, frames=2, image_size=24)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=40)


def ids(start, stop):
    return [f"toy/k{number:06d}" for number in range(start, stop)]


def made_up(samples, clips, fingerprint="other"):
    """The list with other clips: what a state records of it depends on them alone."""
    columns = SharedTable(pa.table({"clip_id": pa.array(clips, pa.string())}))
    return replace(samples, columns=columns, fingerprint=fingerprint)


def said(samples, before, now):
    record = SampleListRecord.of(made_up(samples, before))
    with pytest.raises(ChangedDataError) as error:
        record.check(made_up(samples, now, "changed"))
    return str(error.value).removeprefix("the checkpoint is of other samples: ")


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, unique=True, max_size=40), st.integers(0, 5))
def test_hashes_depend_on_the_text_alone(names, start):
    whole = pa.array(names, pa.string())
    found = hashes_of(whole)
    assert len(hashes_of(whole.slice(len(names)))) == 0
    assert len(set(found.tolist())) == len(names)
    assert np.array_equal(hashes_of(whole.slice(start)), found[start:])
    for name, one in zip(names, found, strict=True):
        assert hashes_of(pa.array([name]))[0] == one


def test_hashes_are_those_of_earlier_versions():
    """A state of another version and machine is compared with them."""
    found = hashes_of(pa.array(["", "toy/k000001", "vggsound/---g-f_I2yQ_000001"]))
    assert [f"{value:016x}" for value in found.tolist()] == HASHES


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 10**6))
def test_small_differences_are_found_whole(more, less, start):
    before, now = ids(start, start + 900), ids(start + less, start + 900 + more)
    found = difference(outline_of(pa.array(before)), hashes_of(pa.array(now)))
    assert (found.share, found.before) == (1, 900)
    assert sorted(found.added) == sorted(hashes_of(pa.array(now[900 - less :], pa.string())))
    assert sorted(found.removed) == sorted(hashes_of(pa.array(before[:less], pa.string())))


@pytest.mark.parametrize("changed", [200, 3000, 60_000])
def test_large_differences_are_estimated_with_names(toy_list, changed):
    before = ids(0, 70_000)
    message = said(toy_list, before, ids(changed, 70_000 + changed))
    estimates = [int(words.split()[0].replace(",", "")) for words in message.split("about ")[1:]]
    assert len(estimates) == 2
    assert all(changed / 3 <= estimate <= changed * 3 for estimate in estimates)
    (name,) = {words.split("(")[1].split(",")[0] for words in message.split(" and ")[:1]}
    assert 70_000 <= int(name.removeprefix("toy/k")) < 70_000 + changed
    assert message.endswith("it had 70,000 clips and has 70,000")


def test_another_list_altogether_is_said(toy_list):
    message = said(toy_list, ids(0, 600), ids(10**6, 10**6 + 40_000))
    assert message.endswith("it had 600 clips and has 40,000")


def test_added_and_removed_clips_are_named(toy_store, toy_list):
    """Removed ones by the manifest, if it still lists them."""
    known = toy_list.clip_ids
    before = [*known[:3], *ids(0, 600), "toy/gone_000001"]
    now = [*ids(0, 600), *known[5:7]]
    message = said(toy_list, before, now)
    assert message == (
        f"2 added ({known[5]}, {known[6]}) and 4 removed ({', '.join(known[:3])}, …)"
    )
    only_unknown = said(toy_list, ["toy/gone_000001", *ids(0, 600)], ids(0, 600))
    assert only_unknown == "1 removed (the manifest does not list them any more)"


def test_the_same_clips_of_other_shards_are_said(toy_list):
    assert "the same clips with other content" in said(toy_list, ids(0, 900), ids(0, 900))


def test_a_few_clips_are_recorded_by_name(toy_list):
    outline = SampleListRecord.of(toy_list).clips
    assert zlib.decompress(outline).decode().split("\n") == toy_list.clip_ids
    assert names_in(outline_of(pa.array(ids(0, 501)))) is None


def test_states_of_earlier_versions_load(toy_store, toy_list):
    """They list all clips."""
    many = made_up(toy_list, ids(0, 900))
    record = SampleListRecord("other", zlib.compress("\n".join(ids(5, 903)).encode()))
    record.check(many)
    assert record.difference(many) == (
        "5 added (toy/k000000, toy/k000001, toy/k000002, …) and "
        "3 removed (toy/k000900, toy/k000901, toy/k000902)"
    )
    fewer = sample_list(toy_store, "SELECT clip_id FROM clips LIMIT 20")
    state = Loader(fewer, SPEC).state_dict()
    assert state["version"] == 1
    Loader(fewer, SPEC).load_state_dict(state)
    with pytest.raises(ChangedDataError, match="3 added"):
        Loader(toy_list, SPEC).load_state_dict(state)


def test_a_state_of_many_clips_is_small_and_saved_at_once(toy_list):
    loader = Loader(toy_list, SPEC)
    loader.source = made_up(toy_list, ids(0, 100_000))
    state = loader.state_dict()
    assert len(state["clips"]) < 10_000
    began = time.perf_counter()
    for _ in range(10):
        loader.state_dict()
    assert time.perf_counter() - began < 0.1
