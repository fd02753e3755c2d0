"""Where the members of stored clips are, and reading them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avstore.manifests.members import member_ranges, read_members
from avstore.manifests.shard_reader import ByteRange, Reader, ReadError, Shard

if TYPE_CHECKING:
    from avstore.manifests.library import OpenStore

_COLUMNS = """
SELECT s.clip_id, h.recipe || '-' || left(h.fingerprint, 8) AS stage, s.shard, s.fingerprint,
       s.members, s.offsets, s.sizes, s.crc32, s.frame_times, s.video_frames, s.video_rate,
       s.fbank_frames, s.duration_s, coalesce(h.sha256, '') AS sha256,
       coalesce(h.bytes, 0) AS bytes
FROM samples s JOIN shards h ON h.path = s.shard
"""


class DamagedError(Exception):
    """Members of a clip that cannot be read or decoded; the message is for people."""


@dataclass(frozen=True)
class Layout:
    """A stored clip.

    Attributes:
        clip_id: `<dataset>/<key>`.
        stage: <recipe>-<fp8>.
        shard: The shard that holds it.
        ranges: Byte range of each member by suffix, in the shard's order.
        crc32: CRC-32 of all contents, in that order; None if unknown.
        frame_times: Presentation time of each JPEG, in seconds.
        pictures: Pictures of the stored video; 0 without one.
        rate: Its pictures per second.
        seconds: Duration of the clip.
    """

    clip_id: str
    stage: str
    shard: Shard
    ranges: Mapping[str, ByteRange]
    crc32: int | None
    frame_times: tuple[float, ...]
    pictures: int
    rate: float
    seconds: float

    @property
    def frames(self) -> list[str]:
        """Suffixes of the JPEGs, in order of time."""
        return [name for name in self.ranges if name.endswith(".jpg")]

    @property
    def sound(self) -> str | None:
        """Suffix of the stored sound."""
        return next((name for name in ("flac", "wav") if name in self.ranges), None)

    @property
    def has_video(self) -> bool:
        """Whether moving pictures are stored."""
        return "mp4" in self.ranges and self.pictures > 0

    def read(self, reader: Reader, suffixes: Sequence[str]) -> list[memoryview]:
        """Read members; raise DamagedError if one is missing or not where the manifest says."""
        try:
            return read_members(reader, [self.ranges[suffix] for suffix in suffixes])
        except ReadError as error:
            raise DamagedError(f"{self.shard.path}: {error.reason}") from error

    def damage(self, reader: Reader) -> str | None:
        """Read the whole clip; return what is wrong with it, or None."""
        try:
            read_members(reader, list(self.ranges.values()), self.crc32)
        except ReadError as error:
            return f"{self.shard.path}: {error.reason}"
        return None


def find_layouts(store: "OpenStore", clip_id: str, stage: str | None) -> list[Layout]:
    """Return the layouts of a clip, one per recipe that stored it."""
    where = (
        "WHERE s.clip_id = $clip AND ($stage IS NULL "
        "OR h.recipe || '-' || left(h.fingerprint, 8) = $stage)"
    )
    rows = store.query(_COLUMNS + where, {"clip": clip_id, "stage": stage}).rows()
    return [_layout(row) for row in rows]


def layouts_at(store: "OpenStore", rows: Sequence[int]) -> list[Layout]:
    """Return the layouts of some rows (rowid) of the table samples."""
    found = store.query(_COLUMNS + "WHERE s.rowid IN (SELECT unnest($rows))", {"rows": list(rows)})
    return [_layout(row) for row in found.rows()]


def _layout(row: Mapping[str, Any]) -> Layout:
    shard = Shard(row["shard"], row["sha256"], row["bytes"])
    return Layout(
        row["clip_id"],
        row["stage"],
        shard,
        member_ranges(shard, row["clip_id"], row["members"], row["offsets"], row["sizes"]),
        row["crc32"],
        tuple(row["frame_times"] or ()),
        row["video_frames"] or 0,
        row["video_rate"] or 0.0,
        row["duration_s"] or 0.0,
    )
