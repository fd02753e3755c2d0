"""Byte ranges and frame times in little memory: exact for every layout of a tar."""

import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.manifests.store import StoreError
from avstore.train.data import sample_list
from avstore.train.data.member_packing import NO_PLACE, pack_members

SIZES = st.one_of(st.integers(0, 3000), st.integers(0, 1 << 17), st.integers(0, (1 << 31) - 1))
OFFSETS = st.integers(0, 1 << 50)
TIMES = st.sampled_from([(), (0.0, 0.125), (0.0, -0.0), (0.1, 0.2), (np.inf, np.nan, 3.3)])


def column(lists, kind):
    return pa.array([None if values is None else list(values) for values in lists], pa.list_(kind))


def batches_of(rows, length):
    """Batches of rows (place, sizes, offsets, times), as the manifest's query gives them."""
    places, sizes, offsets, times = zip(*rows, strict=True)
    table = pa.table(
        {
            "place": pa.array(places, pa.int64()),
            "sizes": column(sizes, pa.int32()),
            "offsets": column(offsets, pa.int64()),
            "frame_times": column(times, pa.float32()),
        }
    )
    return table.to_batches(max_chunksize=length)


def assert_same(index, number, sizes, offsets, times):
    found = index.sizes(number)
    assert found.dtype == np.int32
    assert found.tolist() == list(sizes)
    assert index.offsets(number, found).tolist() == list(offsets)
    assert index.offsets(number, found).dtype == np.int64
    expected = np.array(times or (), np.float32)
    assert index.frame_times(number).tobytes() == expected.tobytes()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_sizes_offsets_and_times_come_back(data):
    """Whether offsets follow from sizes or not, in any order, with few or many members."""
    counts = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=12))
    rows = []
    for place, count in enumerate(counts):
        sizes = data.draw(st.lists(SIZES, min_size=count, max_size=count))
        header = data.draw(st.sampled_from([512, 1536, 2048]))
        steps = [0, *(-(-size // 512) * 512 + header for size in sizes[:-1])]
        offsets = (data.draw(OFFSETS) + np.cumsum(steps[:count], dtype=np.int64)).tolist()
        if data.draw(st.booleans()):
            offsets = data.draw(st.lists(OFFSETS, min_size=count, max_size=count))
        rows.append((place * 3, sizes, offsets, data.draw(st.none() | TIMES)))
    places = data.draw(st.permutations([row[0] for row in rows] + [NO_PLACE]))
    batches = batches_of(data.draw(st.permutations(rows)), data.draw(st.integers(1, 5)))
    index = pickle.loads(pickle.dumps(pack_members(batches, np.array(places))))
    by_place = {row[0]: row[1:] for row in rows} | {NO_PLACE: ((), (), ())}
    for number, place in enumerate(places):
        assert_same(index, number, *by_place[place])


def test_more_lists_than_are_remembered_are_exact(monkeypatch):
    monkeypatch.setattr("avstore.train.data.member_packing._REMEMBERED", 3)
    rows = [(n, [n, 5], [512, 9999 + n % 7], [float(n % 5)]) for n in range(40)]
    index = pack_members(batches_of(rows, 6), np.arange(40))
    for number, row in enumerate(rows):
        assert_same(index, number, *row[1:])


def test_lists_whose_hashes_agree_are_told_apart(monkeypatch):
    class Even:
        def integers(self, _low, _high, count, kind):
            return np.full(count, 7, kind)  # sums of equal values in another order agree

    monkeypatch.setattr(np.random, "Generator", lambda _: Even())
    rows = [(0, [1], [512], [1.0, 2.0]), (1, [1], [512], [2.0, 1.0]), (2, [1], [512], [1.0, 2.0])]
    index = pack_members(batches_of(rows, 3), np.arange(3))
    for number, row in enumerate(rows):
        assert_same(index, number, *row[1:])


def test_other_numbers_of_offsets_than_of_sizes_are_refused():
    with pytest.raises(StoreError, match="other numbers of offsets than of sizes"):
        pack_members(batches_of([(0, [1, 2], [512], [])], 1), np.arange(1))


def test_a_row_of_83_members_takes_little(tmp_path):
    rng = np.random.default_rng(0)
    count, members = 2000, 83
    sizes = rng.integers(6_000, 30_000, size=(count, members))
    sizes[:, 1:3] += 200_000
    steps = 512 + (sizes + 511) // 512 * 512
    offsets = (np.cumsum(steps.ravel()) - steps.ravel()).reshape(sizes.shape) + 512
    times = [np.arange(80) / 8] * count
    rows = list(zip(range(count), sizes.tolist(), offsets.tolist(), times, strict=True))
    index = pack_members(batches_of(rows, 500), np.arange(count))
    assert index.nbytes < 200 * count  # 166 bytes of them are 16-bit sizes


def test_a_list_has_the_ranges_and_times_of_the_manifest(toy_store, toy_list):
    rows = toy_store.query(
        "SELECT clip_id, shard, offsets, sizes, frame_times FROM samples ORDER BY clip_id"
    ).rows()
    assert len(rows) == len(toy_list) == 23
    for index, row in enumerate(rows):
        sample = toy_list.sample(index)
        assert (sample.clip_id, sample.shard.path) == (row["clip_id"], row["shard"])
        assert sample.sizes.tolist() == row["sizes"]
        assert sample.offsets.tolist() == row["offsets"]
        assert sample.frame_times.tolist() == row["frame_times"]
        assert sample.frame_times.dtype == np.float32


def test_a_part_of_the_store_has_its_own_layouts(toy_store, toy_list):
    one = toy_list.sample(4)
    (found,) = map(sample_list(toy_store, "SELECT ? AS clip_id", [one.clip_id]).sample, range(1))
    assert (found.offsets.tolist(), found.layout) == (one.offsets.tolist(), one.layout)
