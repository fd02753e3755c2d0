"""Hold the samples that a query selects: frozen Arrow columns, with the members' byte ranges."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from avstore.manifests.shard_reader import ByteRange, Reader, Shard, open_reader
from avstore.manifests.store import StoreError
from avstore.manifests.video_record import StoredVideo
from avstore.train.data.arrow_arrays import strings_of
from avstore.train.data.frame_steps import frame_steps
from avstore.train.data.list_sketch import outline_of
from avstore.train.data.member_index import MemberIndex
from avstore.train.data.query_columns import PREFIX, value_at
from avstore.train.data.shared_table import SharedTable
from avstore.train.data.video_columns import video_at

Segments = list[tuple[int, float, float]]
"""Label id, onset and offset in seconds of each labelled segment of a clip."""


@dataclass(frozen=True, slots=True)
class MemberLayout:
    """The members of samples that hold the same ones in the same order.

    Attributes:
        names: Suffixes in the order in which they are stored.
        slots: Suffix to its index in `names`.
        frames: Suffixes of the frames, in order of time.
    """

    names: tuple[str, ...]
    slots: Mapping[str, int]
    frames: tuple[str, ...]

    @staticmethod
    def parse(members: str) -> "MemberLayout":
        """Parse the manifest's column `members`: suffixes separated by spaces; '' for none."""
        names = tuple(members.split())
        slots = {name: slot for slot, name in enumerate(names)}
        return MemberLayout(names, slots, tuple(name for name in names if name.endswith(".jpg")))


@dataclass(frozen=True)
class SampleRow:
    """One row of a sample list.

    Attributes:
        index: Index in the list.
        clip_id: `<dataset>/<key>`.
        shard: The shard that holds the sample.
        layout: Its members.
        frame_count: Number of stored frames.
        fbank_frames: Number of frames of the stored fbank.
        crc32: CRC-32 of all members' contents together; -1 if unknown.
        members: Where the members of the list's samples are.
    """

    index: int
    clip_id: str
    shard: Shard
    layout: MemberLayout
    frame_count: int
    fbank_frames: int
    crc32: int
    members: MemberIndex = field(repr=False)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Offset of each member's content in the shard, in bytes."""
        return self.members.offsets(self.index, self.sizes)

    @cached_property
    def sizes(self) -> NDArray[np.int32]:
        """Size of each member's content, in bytes."""
        return self.members.sizes(self.index)

    @cached_property
    def frame_times(self) -> NDArray[np.float32]:
        """Presentation time of each frame, in seconds."""
        return self.members.frame_times(self.index)

    @property
    def key(self) -> str:
        """The WebDataset key of its members."""
        return self.clip_id.partition("/")[2]

    def range(self, suffix: str) -> tuple[int, int]:
        """Return (offset, size) of a member's content.

        Raises:
            StoreError: If the sample has no such member.
        """
        slot = self.layout.slots.get(suffix)
        if slot is None:
            raise StoreError(
                f"{self.clip_id} has no member {suffix} in {self.shard.path} "
                f"(it has {', '.join(self.layout.names[:4])} and {len(self.layout.frames)} frames)"
            )
        return self.offsets.item(slot), self.sizes.item(slot)

    def byte_ranges(self, suffixes: Iterable[str]) -> tuple[ByteRange, ...]:
        """Return the byte ranges of members.

        Raises:
            StoreError: If the sample lacks one of them.
        """
        key = self.key
        return tuple(ByteRange(self.shard, f"{key}.{name}", *self.range(name)) for name in suffixes)


@dataclass(frozen=True, repr=False)
class SampleList:
    """Samples in a fixed order (by clip id), as Arrow columns: no Python object for each sample.

    `sample_list` makes one. It is small to send to another process, and `len` is its size.

    Attributes:
        url: Root of the store: a folder or an fsspec URL.
        options: Options for fsspec.
        columns: clip_id, shard (index in `shards`), layout (index in `layouts`), position,
            frame_count, fbank_frames, label_ids, crc32, weight (null without weights); segments
            and features if they were selected.
        shards: The shards that hold the samples.
        layouts: The distinct member layouts.
        classes: Size of the label vocabulary.
        fingerprint: sha256 over the clips and their shards' sha256 (and weights), in order.
        missing: Clips that the query selects and the store does not hold.
        stages: (dataset, `<recipe>-<fp8>`) of the samples, by dataset.
        companions: Companion shards of the selected features.
        cache: Folder and limit in bytes of the cache of remote shards.
        others: A sentence for each other recipe that holds some of the samples.
        extras: Columns of the query that batches hold.
        videos: Where the groups of stored videos are; None without videos.
        members: Byte ranges and frame times; None for a list without byte ranges.

    Example:
        >>> samples = sample_list(open_store("data"), "SELECT clip_id FROM clips")
        >>> isinstance(samples, SampleList), len(samples), len(samples.missing)
        (True, 23, 1)
        >>> samples.label_ids(2)
        [2]
        >>> row = samples.sample(2)
        >>> row.clip_id, row.frame_count
        ('toy/k014_000002', 8)
        >>> samples
        SampleList(23 clips of toy by toy-abcdef01, 5 shards, 1 clip missing)
    """

    url: str
    options: tuple[tuple[str, Any], ...]
    columns: SharedTable
    shards: tuple[Shard, ...]
    layouts: tuple[MemberLayout, ...]
    classes: int
    fingerprint: str
    missing: tuple[str, ...]
    stages: tuple[tuple[str, str], ...]
    companions: tuple[Shard, ...] = ()
    cache: tuple[str, int] | None = None
    others: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    videos: SharedTable | None = None
    members: MemberIndex | None = None

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        """Return one line: clips, their recipes, shards, features and missing clips."""
        stages = " and ".join(f"{dataset} by {stage}" for dataset, stage in self.stages)
        parts = [f"{_counted(len(self), 'clip')}{' of ' if stages else ''}{stages}"]
        parts.append(_counted(len(self.shards), "shard"))
        if self._feature_columns:
            parts.append(f"features {' '.join(self._feature_columns)}")
        if self.extras:
            parts.append(f"columns {' '.join(self.extras)}")
        if self.missing:
            parts.append(f"{_counted(len(self.missing), 'clip')} missing")
        return f"SampleList({', '.join(parts)})"

    @property
    def table(self) -> pa.Table:
        """The columns as an Arrow table, one row for each sample."""
        return self.columns.table

    @property
    def clip_ids(self) -> list[str]:
        """The clip ids in order."""
        return [str(value) for value in self.table.column("clip_id").to_pylist()]

    @property
    def reader(self) -> Reader:
        """This process's reader of the shards."""
        return open_reader(self.url, dict(self.options), self.cache)

    @cached_property
    def stored_order(self) -> NDArray[np.int64]:
        """Indices in the order in which the samples are stored: by shard, then position."""
        shard, position = self.numbers("shard"), self.numbers("position")
        return np.lexsort((position, shard))

    @cached_property
    def all_indices(self) -> NDArray[np.int64]:
        """Indices in the order of the list, int64 [0, 1, …]."""
        return np.arange(len(self))

    def has_numbers(self, name: str) -> bool:
        """Return whether there is a column of numbers without a null."""
        return name in self.columns.values

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a numeric column without a copy; of a column of lists, all values in a row.

        Raises:
            StoreError: If there is no such column, or it has nulls.
        """
        if name not in self.columns.values:
            raise StoreError(f"the sample list has no column of numbers {name!r} without nulls")
        return self.columns.values[name]

    def feature_place(self, name: str, index: int) -> tuple[int, int, int, int]:
        """Return (number in `companions`, start, size, CRC-32 or -1) of a sample's feature."""
        shard, start, size, crc32 = self._feature_columns[name]
        return shard.item(index), start.item(index), size.item(index), crc32.item(index)

    def extra(self, name: str, index: int) -> Any:
        """Return a sample's value of a column of `extras`: a Python object."""
        return value_at(self.table, name, index)

    @cached_property
    def frame_steps(self) -> Mapping[str, float]:
        """Seconds from frame to frame, by folder of shards."""
        if self.members is None:
            return {}
        return frame_steps(self.members, self.numbers("shard"), self.shards)

    def video(self, index: int) -> StoredVideo | None:
        """Return a sample's stored video; None if it has none."""
        return video_at(self.videos, index)

    def list_starts(self, name: str) -> NDArray[np.int32]:
        """Return where each row's values start in `numbers(name)`, and where the last end."""
        return self.columns.starts[name]

    @cached_property
    def _feature_columns(self) -> dict[str, tuple[NDArray[Any], ...]]:
        values = self.columns.values
        own = (name for name in values if not name.startswith(PREFIX))
        names = (name.removesuffix(" start") for name in own if name.endswith(" start"))
        parts = ("shard", "start", "size", "crc32")
        return {name: tuple(values[f"{name} {part}"] for part in parts) for name in names}

    def sample(self, index: int) -> SampleRow:
        """Return the row of one sample.

        Raises:
            StoreError: If the list was made without byte ranges.
        """
        if self.members is None:
            raise StoreError(
                "this sample list has no byte ranges: make it without ranges=False to read from it"
            )
        values = self.columns.values
        return SampleRow(
            index=index,
            clip_id=self.columns.chunks["clip_id"][index].as_py(),
            shard=self.shards[values["shard"].item(index)],
            layout=self.layouts[values["layout"].item(index)],
            frame_count=values["frame_count"].item(index),
            fbank_frames=values["fbank_frames"].item(index),
            crc32=values["crc32"].item(index),
            members=self.members,
        )

    def label_ids(self, index: int) -> list[int]:
        """Return the label ids of one sample."""
        return [int(label) for label in self.columns.list("label_ids", index)]

    def segments(self, index: int) -> Segments:
        """Return (label id, onset_s, offset_s) of each labelled segment of one sample.

        Raises:
            StoreError: If the list was made without segments.
        """
        if "segment_labels" not in self.columns.values:
            raise StoreError(
                "this sample list has no segments: make it by sample_list(…, segments='audio'), "
                "'visual' or 'both'"
            )
        labels, onsets, offsets = (
            self.columns.list(f"segment_{name}", index).tolist()
            for name in ("labels", "onsets", "offsets")
        )
        return list(zip(labels, onsets, offsets, strict=True))

    def segments_apart(self, index: int) -> tuple[Segments, Segments]:
        """Return what `segments` returns, of audio and of visual.

        Raises:
            StoreError: If the list was made without segments='apart'.
        """
        if "segment_visual" not in self.columns.values:
            raise StoreError(
                "this sample list does not keep the segments of the two modalities apart: make it "
                "by sample_list(…, segments='apart')"
            )
        pairs = zip(
            self.segments(index), self.columns.list("segment_visual", index).tolist(), strict=True
        )
        found: tuple[Segments, Segments] = ([], [])
        for segment, visual in pairs:
            found[visual].append(segment)
        return found

    @cached_property
    def outline(self) -> bytes:
        """What a checkpoint keeps of the clips, a few kilobytes (`outline_of`)."""
        return outline_of(self.columns.chunks["clip_id"])

    def __getstate__(self) -> dict[str, Any]:
        """Return only the fields: cached values are computed again where they are needed."""
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def fingerprint_of(table: pa.Table, shards: tuple[Shard, ...]) -> str:
    """Return the sha256 over a line per sample: clip_id, its shard's sha256, its weight if any."""
    digest = hashlib.sha256()
    sha256 = strings_of([shard.sha256 for shard in shards])
    space, end, nothing = strings_of([" ", "\n", ""])
    names = ["clip_id", "shard"] + (["weight"] if table["weight"].null_count == 0 else [])
    for batch in table.select(names).to_batches(max_chunksize=1 << 17):
        columns = [batch.column("clip_id"), sha256.take(batch.column("shard"))]
        if "weight" in names:
            columns.append(batch.column("weight").cast(pa.string()))
        spaced = [part for column in columns for part in (column, space)][:-1]
        digest.update(_characters(pc.binary_join_element_wise(*spaced, end, nothing)))
    return digest.hexdigest()


def _characters(text: pa.Array) -> memoryview:
    """Return the strings of an array, concatenated."""
    _, offsets, content = text.buffers()
    start, stop = np.frombuffer(offsets, np.int32)[[text.offset, text.offset + len(text)]]
    return memoryview(content)[start:stop]
