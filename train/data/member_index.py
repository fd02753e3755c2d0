"""Hold the byte ranges and frame times of the members of millions of samples, in little memory.

A tar stores its members one after the other, so their offsets follow from their sizes: each content
is padded to 512 bytes, and a header of 512 bytes is before the next. A sample keeps its first
offset and the number of a list of *gaps*: what is between the padded content and the next one's
start. Where the layout of a tar differs (longer headers, members of other samples in between), it
is the gaps that differ, so offsets are exact for every layout. Equal lists of gaps or of frame
times are stored once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from avstore.train.data.arrow_arrays import array_of
from avstore.train.data.shared_table import SharedTable

_BLOCK = 512


@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """How the sizes of a sample's members are packed into 16-bit words.

    The words are the 16 low bits of each size, then the 16 high bits of those that may have any.

    Attributes:
        count: Number of members.
        large: int64 [L], the members whose high bits are stored.
    """

    count: int
    large: NDArray[np.int64]

    @property
    def words(self) -> int:
        """Number of 16-bit words of a sample."""
        return self.count + len(self.large)

    def pack(self, sizes: NDArray[np.int32]) -> NDArray[np.uint16]:
        """Return the words [N, words] of sizes [N, count]."""
        words = np.empty((len(sizes), self.words), np.uint16)
        words[:, : self.count] = sizes.astype(np.uint16)
        words[:, self.count :] = sizes[:, self.large] >> 16
        return words

    def unpack(self, words: NDArray[np.uint16]) -> NDArray[np.int32]:
        """Return the sizes [count] of a sample's words [words]."""
        sizes: NDArray[np.int32] = words[: self.count].astype(np.int32)
        if len(self.large):
            sizes[self.large] |= words[self.count :].astype(np.int32) << 16
        return sizes


def padded(sizes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the lengths of contents of these sizes in a tar."""
    lengths: NDArray[np.int32] = (sizes + (_BLOCK - 1)) & -_BLOCK
    return lengths


@dataclass(frozen=True, slots=True, eq=False)
class MemberIndex:
    """Offsets, sizes and frame times of the samples of a list, by the sample's index.

    Attributes:
        columns: One row, whose columns are lists of their own lengths. By sample: `first` offset,
            `record` (start in `words`), `packing`, `gaps` and `times` (numbers of lists). `words`:
            packed sizes. `gap_values` and `time_values`: the lists, one after the other;
            `gap_starts` and `time_starts`: where each begins, and the last ends.
        packings: The packings that `packing` numbers.
    """

    columns: SharedTable
    packings: tuple[Packing, ...]

    @staticmethod
    def of(values: dict[str, NDArray[Any]], packings: tuple[Packing, ...]) -> "MemberIndex":
        """Return the index of these columns; they are not copied."""
        lists = {
            name: pa.LargeListArray.from_arrays(
                array_of(np.array([0, len(array)])), array_of(array)
            )
            for name, array in values.items()
        }
        return MemberIndex(SharedTable(pa.table(lists)), packings)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return int(self.columns.table.nbytes)

    def sizes(self, index: int) -> NDArray[np.int32]:
        """Return the size of each member's content of a sample, in bytes."""
        values = self.columns.values
        packing: Packing = self.packings[values["packing"].item(index)]
        start = values["record"].item(index)
        return packing.unpack(values["words"][start : start + packing.words])

    def offsets(self, index: int, sizes: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the offset of each member's content of a sample with these sizes, in bytes."""
        values = self.columns.values
        offsets = np.empty(len(sizes), np.int64)
        if len(sizes):
            offsets[0] = values["first"].item(index)
            gaps = self._list("gap", values["gaps"].item(index))
            np.add(padded(sizes)[:-1], gaps, out=offsets[1:])
            np.add.accumulate(offsets, out=offsets)
        return offsets

    def frame_times(self, index: int) -> NDArray[np.float32]:
        """Return the presentation time of each frame of a sample, in seconds."""
        found: NDArray[np.float32] = self._list("time", self.columns.values["times"].item(index))
        return found

    def _list(self, name: str, number: int) -> NDArray[Any]:
        starts = self.columns.values[f"{name}_starts"]
        found = self.columns.values[f"{name}_values"]
        return found[starts.item(number) : starts.item(number + 1)]
