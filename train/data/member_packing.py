"""Build a `MemberIndex` from the manifest, some ten thousand samples at a time."""

from collections.abc import Iterable, Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from avstore.manifests.store import StoreError
from avstore.train.data.arrow_arrays import array_of, numbers_of
from avstore.train.data.member_index import MemberIndex, Packing, padded

NO_PLACE = -1
"""Place of a sample without members."""

# Few enough that what is computed of them stays in the processor's cache.
_BATCH_ROWS = 1 << 13
_MEMBERS = """
SELECT rowid AS place, sizes, offsets, frame_times FROM samples
WHERE rowid IN (SELECT place FROM member_places)
"""
# Lists that are remembered to be found again; more than these are stored as often as they come.
_REMEMBERED = 1 << 14


def find_members(con: duckdb.DuckDBPyConnection, places: NDArray[np.int64]) -> MemberIndex:
    """Return the members of samples.

    Args:
        con: Connection to the manifest.
        places: rowid in the table `samples` of each sample, or `NO_PLACE`.

    Raises:
        StoreError: If a sample has not as many offsets as sizes.
    """
    wanted = places[places != NO_PLACE]
    con.register("member_places", pa.table({"place": array_of(wanted)}))
    try:
        return pack_members(con.sql(_MEMBERS).to_arrow_reader(_BATCH_ROWS), places)
    finally:
        con.unregister("member_places")


def pack_members(batches: Iterable[pa.RecordBatch], places: NDArray[np.int64]) -> MemberIndex:
    """Return the index of samples.

    Args:
        batches: Columns place, sizes, offsets and frame_times, of each place once, in any order.
        places: Place of each sample of the list, or `NO_PLACE`.

    Raises:
        StoreError: If a sample has not as many offsets as sizes.
    """
    builder = _Builder(len(places))
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    for batch in batches:
        rows = order[np.searchsorted(ordered, numbers_of(batch.column("place")))]
        builder.add(rows, *(batch.column(name) for name in ("sizes", "offsets", "frame_times")))
    return builder.finish()


class _Builder:
    def __init__(self, count: int) -> None:
        self.first, self.record = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.packing = np.zeros(count, np.int16)
        self.gaps, self.times = np.zeros(count, np.int32), np.zeros(count, np.int32)
        self.words = _Growing(np.uint16)
        # Number 0 of each is empty: that of samples without members.
        self.gap_lists, self.time_lists = _Lists(np.int64), _Lists(np.float32)
        self.packings = [Packing(0, np.zeros(0, np.int64))]
        self._latest = {0: 0}

    def add(self, rows: NDArray[np.int64], sizes: Any, offsets: Any, times: Any) -> None:
        """Add the samples of a batch, whose rows in the list these are."""
        if not np.array_equal(_lengths(sizes), _lengths(offsets)):
            raise StoreError(
                "the manifest lists other numbers of offsets than of sizes for a sample's members; "
                "run avstore verify"
            )
        pairs = zip(_by_length(sizes), _by_length(offsets), strict=True)
        for (chosen, size), (_, offset) in pairs:
            self._add_ranges(rows[chosen], size, offset)
        for chosen, values in _by_length(times):
            self.times[rows[chosen]] = self.time_lists.numbers(values)

    def _add_ranges(
        self, rows: NDArray[np.int64], sizes: NDArray[np.int32], offsets: NDArray[np.int64]
    ) -> None:
        count = sizes.shape[1]
        if not count:
            return
        number = self._packing_of(count, np.flatnonzero((sizes >> 16).any(axis=0)))
        words = self.packings[number].pack(sizes)
        self.packing[rows], self.first[rows] = number, offsets[:, 0]
        self.record[rows] = self.words.append(words) + np.arange(len(rows)) * words.shape[1]
        self.gaps[rows] = self.gap_lists.numbers(np.diff(offsets, axis=1) - padded(sizes[:, :-1]))

    def _packing_of(self, count: int, large: NDArray[np.int64]) -> int:
        """Return a packing that holds the large members; a larger one than so far if needed."""
        latest = self._latest.get(count)
        if latest is not None:
            known = self.packings[latest].large
            if np.isin(large, known).all():
                return latest
            large = np.union1d(large, known)
        self._latest[count] = len(self.packings)
        self.packings.append(Packing(count, large))
        return self._latest[count]

    def finish(self) -> MemberIndex:
        by_sample = {name: getattr(self, name) for name in ("first", "record", "packing")}
        by_sample |= {"gaps": self.gaps, "times": self.times, "words": self.words.values}
        for name, lists in (("gap", self.gap_lists), ("time", self.time_lists)):
            by_sample |= {f"{name}_values": lists.values, f"{name}_starts": lists.starts}
        return MemberIndex.of(by_sample, tuple(self.packings))


class _Growing:
    """An array that values are appended to."""

    def __init__(self, dtype: Any) -> None:
        self._buffer = np.empty(1 << 10, dtype)
        self._used = 0

    @property
    def values(self) -> NDArray[Any]:
        return self._buffer[: self._used]

    def append(self, values: NDArray[Any]) -> int:
        """Append values in C order; return the place of the first."""
        start, stop = self._used, self._used + values.size
        if stop > len(self._buffer):
            # No view is alive. The kernel moves the pages of a large array instead of copying it.
            self._buffer.resize(max(stop, len(self._buffer) * 5 // 4), refcheck=False)
        self._buffer[start:stop] = values.reshape(-1)
        self._used = stop
        return start


class _Lists:
    """Numbered lists of numbers, of which equal ones get one number, as long as there are few."""

    def __init__(self, dtype: Any) -> None:
        self._values, self._starts = _Growing(dtype), _Growing(np.int64)
        self._starts.append(np.zeros(2, np.int64))
        self._numbers = {b"": 0}

    @property
    def values(self) -> NDArray[Any]:
        return self._values.values

    @property
    def starts(self) -> NDArray[np.int64]:
        return self._starts.values

    def numbers(self, lists: NDArray[Any]) -> NDArray[np.int32]:
        """Return the number of each row of an array [N, length]."""
        if not lists.shape[1]:
            return np.zeros(len(lists), np.int32)
        firsts, which = _distinct_rows(np.ascontiguousarray(lists).view(np.uint32))
        found = [self._number(lists[first]) for first in firsts.tolist()]
        return np.array(found, np.int32)[which]

    def _number(self, values: NDArray[Any]) -> int:
        key = values.tobytes()
        number = self._numbers.get(key)
        if number is None:
            number = len(self._starts.values) - 1
            end = self._values.append(values) + len(values)
            self._starts.append(np.array([end]))
            if len(self._numbers) < _REMEMBERED:
                self._numbers[key] = number
        return number


def _distinct_rows(rows: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row of each kind of equal rows, and the kind of each row.

    Rows are compared by a hash; in the rare case that it is not unique, each row is its own kind.
    """
    everywhere = np.zeros(len(rows), np.int64)
    if (rows == rows[0]).all():
        return everywhere[:1], everywhere
    odd = np.random.Generator(np.random.Philox(0)).integers(0, 1 << 62, rows.shape[1], np.uint64)
    hashes = (rows * (2 * odd + np.uint64(1))).sum(axis=1, dtype=np.uint64)
    _, firsts, which = np.unique(hashes, return_index=True, return_inverse=True)
    if (rows[firsts[which]] != rows).any():
        return np.arange(len(rows)), np.arange(len(rows))
    return firsts, which


def _by_length(lists: pa.Array) -> Iterator[tuple[Any, NDArray[Any]]]:
    """Yield the lists of each length: their places in the column, and their values [N, length]."""
    starts, values = numbers_of(lists.offsets), numbers_of(lists.values)
    lengths = np.diff(starts)
    if len(lengths) and (lengths == lengths[0]).all():
        part = values[starts[0] : starts[-1]]
        yield slice(None), part.reshape(len(lengths), int(lengths[0]))
        return
    for length in np.unique(lengths).tolist():
        chosen = np.flatnonzero(lengths == length)
        yield chosen, values[starts[chosen, None] + np.arange(length)]


def _lengths(lists: pa.Array) -> NDArray[np.int64]:
    return np.diff(numbers_of(lists.offsets))
