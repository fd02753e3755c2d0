"""Summarise millions of names in a few kilobytes, from which the difference of two lists is found.

A sketch is a table of cells. A name is hashed to 64 bits, and its hash is added to four cells:
their counts, the XOR of their hashes, and the XOR of a check of each hash. What two lists have in
common cancels out in the difference of their sketches; of a small difference, cells with a single
hash remain, which is removed from its other cells, and so on (an invertible Bloom lookup table,
Goodrich and Mitzenmacher 2011). Level 0 holds seven eighths of the names, level 1 seven eighths of
the others, and so on, so that of a large difference the higher levels still give a random sample
(a strata estimator, Eppstein et al. 2011).
"""

import zlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

# Up to so many names are kept themselves.
_NAMES = 500
_MARK = b"sketch 1\n"  # compressed names begin otherwise
_LEVELS = 6
_LEVEL_BITS = 3
_TABLES = 4
_TABLE_CELLS = 20
_CELLS = np.dtype([("count", "<i4"), ("hash", "<u8"), ("check", "<u4")])
_WORD = 8
# Names at a time: what is computed of them stays in the processor's cache.
_CHUNK = 1 << 14


@dataclass(frozen=True)
class Difference:
    """How a list differs from an earlier one.

    Attributes:
        added: Hashes of names that only the later list has.
        removed: Hashes of names that only the earlier one has.
        share: Expected share of all such names that these are; 1: they are all.
        before: Number of names of the earlier list.
    """

    added: Hashes
    removed: Hashes
    share: float
    before: int


def outline_of(names: pa.Array) -> bytes:
    """Return the names of an Arrow array [N], compressed, or of more than 500 their sketch."""
    if len(names) <= _NAMES:
        return zlib.compress("\n".join(names.to_pylist()).encode())
    return _MARK + sketch(hashes_of(names))


def names_in(outline: bytes) -> set[str] | None:
    """Return the names in an outline, or None if it is a sketch."""
    if outline.startswith(_MARK):
        return None
    return set(zlib.decompress(outline).decode().split("\n"))


def hashes_of(names: pa.Array) -> Hashes:
    """Return a hash of each string of an Arrow array [N]: the same on every machine and version."""
    parts = [names.slice(start, _CHUNK) for start in range(0, len(names), _CHUNK)]
    return np.concatenate([np.zeros(0, np.uint64), *map(_hashes_of_part, parts)])


def _hashes_of_part(names: pa.Array) -> Hashes:
    _, ends, content = names.buffers()
    ends = np.frombuffer(ends, np.int32, len(names) + 1, offset=4 * names.offset).astype(np.int64)
    left, at = np.diff(ends), ends[:-1] - ends[0]
    found = _mixed(left.astype(np.uint64))
    if ends[0] == ends[-1]:
        return found
    text = np.frombuffer(bytes(memoryview(content)[ends[0] : ends[-1]]) + bytes(_WORD), np.uint8)
    # Every place of the text as the start of a word of 8 bytes.
    words = np.ndarray((len(text) - _WORD + 1,), "<u8", text, strides=(1,))
    rows = np.flatnonzero(left > 0)
    while len(rows):
        bits = (np.minimum(left[rows], _WORD) * 8).astype(np.uint64)
        kept = words[at[rows]] & (~np.uint64(0) >> (np.uint64(64) - bits))
        found[rows] = _mixed(found[rows] ^ kept)
        left, at = left - _WORD, at + _WORD
        rows = rows[left[rows] > 0]
    return found


def sketch(hashes: Hashes) -> bytes:
    """Return the sketch of a list's hashes [N]."""
    cells = np.zeros(_LEVELS * _TABLES * _TABLE_CELLS, _CELLS)
    for start in range(0, len(hashes), _CHUNK):
        _add(cells, hashes[start : start + _CHUNK])
    return cells.tobytes()


def _add(cells: NDArray[np.void], hashes: Hashes) -> None:
    """Add hashes to their cells."""
    checks = _checks(hashes)
    for places in _places(hashes):
        order = np.argsort(places.astype(np.uint16), kind="stable")  # a radix sort
        counts = np.bincount(places, minlength=len(cells))
        used = np.flatnonzero(counts)
        firsts = (np.cumsum(counts) - counts)[used]
        cells["count"][used] += counts[used].astype(np.int32)
        for name, values in (("hash", hashes), ("check", checks)):
            cells[name][used] ^= np.bitwise_xor.reduceat(values[order], firsts)


def difference(outline: bytes, hashes: Hashes) -> Difference:
    """Return how a list with these hashes differs from that of an outline that is a sketch."""
    cells = np.frombuffer(outline.removeprefix(_MARK), _CELLS).copy()
    before = int(cells["count"].sum()) // _TABLES
    later = np.frombuffer(sketch(hashes), _CELLS)
    cells["count"] -= later["count"]
    cells["hash"] ^= later["hash"]
    cells["check"] ^= later["check"]
    added: list[int] = []
    removed: list[int] = []
    share = 1.0
    for level in reversed(range(_LEVELS)):
        found = _peel(cells, level)
        if found is None:
            share = 0.5 ** (_LEVEL_BITS * (level + 1))
            break
        added += found[0]
        removed += found[1]
    return Difference(np.array(added, np.uint64), np.array(removed, np.uint64), share, before)


def _peel(cells: NDArray[np.void], level: int) -> tuple[list[int], list[int]] | None:
    """Take all hashes of a level out of a difference's cells; None if they are too many."""
    found: tuple[list[int], list[int]] = ([], [])
    size = _TABLES * _TABLE_CELLS
    own = cells[level * size : (level + 1) * size]
    while len(single := _single(own, level)):
        cell = own[single[0]]
        count, one, check = cell["count"], cell["hash"], cell["check"]
        found[int(count > 0)].append(int(one))
        for places in _places(np.array([one])):
            place = places[0] - level * size
            own["count"][place] -= count
            own["hash"][place] ^= one
            own["check"][place] ^= check
    return found if not any(own[name].any() for name in _CELLS.names or ()) else None


def _single(own: NDArray[np.void], level: int) -> NDArray[np.int64]:
    """Return the cells of a level that hold one hash."""
    hashes = own["hash"]
    single = (np.abs(own["count"]) == 1) & (own["check"] == _checks(hashes))
    base = level * _TABLES * _TABLE_CELLS
    placed = np.any([places - base == np.arange(len(own)) for places in _places(hashes)], axis=0)
    return np.flatnonzero(single & placed)


def _places(hashes: Hashes) -> list[NDArray[np.int64]]:
    """Return the cell of each hash in each of its level's tables."""
    level = np.zeros(len(hashes), np.int64)
    for power in range(1, _LEVELS):
        level += hashes & np.uint64((1 << _LEVEL_BITS * power) - 1) == 0
    spread = _mixed(hashes)
    tables = range(_TABLES)
    cells = [(spread >> np.uint64(20 * n) & np.uint64(0xFFFFF)) % _TABLE_CELLS for n in tables]
    return [(level * _TABLES + n) * _TABLE_CELLS + cells[n].astype(np.int64) for n in tables]


def _checks(hashes: Hashes) -> NDArray[np.uint32]:
    return (_mixed(~hashes) >> np.uint64(32)).astype(np.uint32)


def _mixed(words: Hashes) -> Hashes:
    """Return SplitMix64's output for each word (Steele et al. 2014)."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
