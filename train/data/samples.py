"""The list of samples that a query names: frozen Arrow columns, with the members' byte ranges."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from avstore.manifests.shard_reader import Reader, Shard, open_reader
from avstore.manifests.store import StoreError
from avstore.train.data.shared import SharedTable


@dataclass(frozen=True, slots=True)
class Layout:
    """Members of samples that are laid out alike: suffix to its place among them."""

    names: tuple[str, ...]
    slots: Mapping[str, int]
    frames: tuple[str, ...]

    @staticmethod
    def of(members: str) -> "Layout":
        names = tuple(members.split(" "))
        slots = {name: slot for slot, name in enumerate(names)}
        return Layout(names, slots, tuple(name for name in names if name.endswith(".jpg")))


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample's row. offsets, sizes: of each member's content in the shard."""

    index: int
    clip_id: str
    shard: Shard
    layout: Layout
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int32]
    frame_count: int
    frame_times: NDArray[np.float32]
    fbank_frames: int
    crc32: int

    @property
    def key(self) -> str:
        """The WebDataset key of its members."""
        return self.clip_id.partition("/")[2]

    def range(self, suffix: str) -> tuple[int, int]:
        """(offset, size) of a member's content. Raises StoreError where there is none."""
        slot = self.layout.slots.get(suffix)
        if slot is None:
            raise StoreError(
                f"{self.clip_id} has no member {suffix} in {self.shard.path} "
                f"(it has {', '.join(self.layout.names[:4])} and {len(self.layout.frames)} frames)"
            )
        return int(self.offsets[slot]), int(self.sizes[slot])


@dataclass(frozen=True)
class SampleList:
    """Samples in a fixed order (of clip_id), held as Arrow columns: no Python object a sample.

    columns: clip_id, shard (place in `shards`), layout (place in `layouts`), position, offsets,
    sizes, frame_count, frame_times, fbank_frames, label_ids, crc32, weight (null without one);
    `segments` and `feature:<name>` where they were asked for.
    url, options: where the shards lie; cache: folder and bytes kept of remote ones.
    classes: size of the label vocabulary.
    fingerprint: sha256 over the clips and their shards' sha256 (and weights), in order.
    missing: clips that the query named and the store does not hold.
    stages: dataset to the recipe (<recipe>-<fp8>) that its samples are of.
    """

    url: str
    options: tuple[tuple[str, Any], ...]
    columns: SharedTable
    shards: tuple[Shard, ...]
    layouts: tuple[Layout, ...]
    classes: int
    fingerprint: str
    missing: tuple[str, ...]
    stages: tuple[tuple[str, str], ...]
    companions: tuple[Shard, ...] = ()
    cache: tuple[str, int] | None = None

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def table(self) -> pa.Table:
        return self.columns.table

    @property
    def clip_ids(self) -> list[str]:
        return [str(value) for value in self.table.column("clip_id").to_pylist()]

    @property
    def reader(self) -> Reader:
        """This process's reader of the shards."""
        return open_reader(self.url, dict(self.options), self.cache)

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """The samples in the order in which they are stored: by shard, then position."""
        shard, position = self.numbers("shard"), self.numbers("position")
        return np.lexsort((position, shard))

    @cached_property
    def everywhere(self) -> NDArray[np.int64]:
        """The samples in the order of the list: 0, 1, …"""
        return np.arange(len(self))

    def numbers(self, name: str) -> NDArray[Any]:
        """A column of numbers, not copied. Raises StoreError where it is not there or not whole."""
        if name not in self._flat:
            raise StoreError(f"the sample list has no whole column {name!r}")
        return self._flat[name]

    @cached_property
    def _flat(self) -> dict[str, NDArray[Any]]:
        """Numeric columns as they are, and of list columns the values and where each row starts."""
        found: dict[str, NDArray[Any]] = {}
        for name in self.table.column_names:
            column = self._chunk(name)
            if pa.types.is_list(column.type):
                found[name], found[f"{name} at"] = _numpy(column.values), _numpy(column.offsets)
            elif not pa.types.is_string(column.type) and column.null_count == 0:
                found[name] = _numpy(column)
        return found

    def _chunk(self, name: str) -> pa.Array:
        """A column in one piece (`SharedTable` keeps it so)."""
        column = self.table.column(name)
        return column.chunk(0) if column.num_chunks else column.combine_chunks()

    def _values(self, name: str, index: int) -> NDArray[Any]:
        starts = self._flat[f"{name} at"]
        return self._flat[name][starts[index] : starts[index + 1]]

    def sample(self, index: int) -> Sample:
        """The row of one sample."""
        if "offsets" not in self._flat:
            raise StoreError("this list was made without byte ranges (ranges=False)")
        flat = self._flat
        return Sample(
            index=index,
            clip_id=self._chunk("clip_id")[index].as_py(),
            shard=self.shards[flat["shard"][index]],
            layout=self.layouts[flat["layout"][index]],
            offsets=self._values("offsets", index),
            sizes=self._values("sizes", index),
            frame_count=int(flat["frame_count"][index]),
            frame_times=self._values("frame_times", index),
            fbank_frames=int(flat["fbank_frames"][index]),
            crc32=int(flat["crc32"][index]),
        )

    def label_ids(self, index: int) -> list[int]:
        """Label ids of one sample."""
        return [int(label) for label in self._values("label_ids", index)]

    def segments(self, index: int) -> list[tuple[int, float, float]]:
        """(label id, onset_s, offset_s) of the labels of parts of one sample.

        Raises StoreError where the list was made without them.
        """
        if "segment_labels" not in self._flat:
            raise StoreError("the sample list was made without segments: sample_list(…, segments=)")
        labels, onsets, offsets = (
            self._values(f"segment_{name}", index).tolist()
            for name in ("labels", "onsets", "offsets")
        )
        return list(zip(labels, onsets, offsets, strict=True))

    def __getstate__(self) -> dict[str, Any]:
        """Only the fields: what was computed from them is computed again where it is needed."""
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}


def _numpy(array: pa.Array) -> NDArray[Any]:
    """The buffer of an Arrow array of numbers. (`to_numpy` would load pandas.)"""
    dtype = np.dtype(array.type.to_pandas_dtype())
    buffer = array.buffers()[1]
    if buffer is None:
        return np.zeros(0, dtype)
    return np.frombuffer(buffer, dtype, len(array), offset=array.offset * dtype.itemsize)


def fingerprint_of(table: pa.Table, shards: tuple[Shard, ...]) -> str:
    """sha256 over a line a sample, in order: clip_id, its shard's sha256, its weight if any."""
    digest = hashlib.sha256()
    sha256 = pa.array([shard.sha256 for shard in shards], pa.string())
    parts = ["clip_id", "shard"] + (["weight"] if table["weight"].null_count == 0 else [])
    for batch in table.select(parts).to_batches(max_chunksize=1 << 17):
        text = [batch.column("clip_id"), sha256.take(batch.column("shard"))]
        if "weight" in parts:
            text.append(batch.column("weight").cast(pa.string()))
        spaced = [part for column in text for part in (column, " ")][:-1]
        lines = pc.binary_join_element_wise(*spaced, "\n", "")
        digest.update(_characters(lines))
    return digest.hexdigest()


def _characters(text: pa.Array) -> memoryview:
    """The strings of an array, one after the other."""
    _, offsets, content = text.buffers()
    ends = np.frombuffer(offsets, np.int32)[[text.offset, text.offset + len(text)]]
    return memoryview(content)[ends[0] : ends[1]]
