"""Read pictures of a clip's stored video, by one range read of the groups that hold them."""

from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.members import member_ranges
from avstore.manifests.shard_reader import ReadError, Shard
from avstore.manifests.store import StoreError
from avstore.manifests.video_record import StoredVideo
from avstore.manifests.video_windows import decode_window, windows

if TYPE_CHECKING:
    from avstore.manifests.library import OpenStore

_ROWS = """
SELECT h.recipe || '-' || left(h.fingerprint, 8) AS stage, s.members, s.offsets, s.sizes, s.shard,
       s.video_frames, s.video_rate, s.gop_frames, s.gop_offsets, s.gop_crc32, s.video_codec,
       coalesce(h.sha256, '') AS sha256, coalesce(h.bytes, 0) AS bytes
FROM samples s JOIN shards h ON h.path = s.shard
WHERE s.clip_id = $clip AND ($recipe IS NULL OR h.recipe = $recipe
      OR h.recipe || '-' || left(h.fingerprint, 8) = $recipe)
"""


def read_pictures(
    store: "OpenStore", clip_id: str, first: int, count: int, recipe: str | None
) -> NDArray[np.uint8]:
    """Read pictures of a clip's video; see `OpenStore.pictures`."""
    if not all(isinstance(n, Integral) and not isinstance(n, bool) for n in (first, count)):
        raise StoreError(f"first={first!r} and count={count!r} are not whole numbers")
    row = _row(store, clip_id, recipe)
    last = row["video_frames"]
    if not 0 <= first < first + count <= last:
        raise StoreError(
            f"pictures [{first}, {first + count}) are not within the video of {clip_id}, which has "
            f"{last}"
        )
    video = StoredVideo(
        last,
        row["video_rate"],
        row["gop_frames"],
        row["gop_offsets"],
        row["gop_crc32"],
        row["video_codec"],
    )
    (window,) = windows(video, range(first, first + count))
    shard = Shard(row["shard"], row["sha256"], row["bytes"])
    members = member_ranges(shard, clip_id, row["members"], row["offsets"], row["sizes"])
    start = members["mp4"].offset + window.range.offset
    try:
        content = store.reader.read(shard, start, window.range.size)
        return np.stack([pixels for _, pixels in decode_window(content, video, window)])
    except ReadError as error:
        raise StoreError(f"mp4 of {clip_id} in {shard.path}: {error}") from error
    except ValueError as error:
        raise StoreError(
            f"mp4 of {clip_id} in {shard.path}: {error}; run avstore verify"
        ) from error


def _row(store: "OpenStore", clip_id: str, recipe: str | None) -> Mapping[str, Any]:
    """Return the clip's row with its groups. Raise StoreError if there is none, or several."""
    rows = store.query(_ROWS, {"clip": clip_id, "recipe": recipe}).rows()
    if not rows:
        by = f" by recipe {recipe!r}" if recipe else ""
        raise StoreError(f"{clip_id} is not stored{by}; the table status says what is")
    with_video = [row for row in rows if row["gop_offsets"]]
    if not with_video:
        held = ", ".join(rows[0]["members"].split()[:3])
        raise StoreError(f"{clip_id} has no video (member mp4); it has {held}, …")
    if len(with_video) > 1:
        stages = ", ".join(sorted(row["stage"] for row in with_video))
        held = f"the store has a video of {clip_id} more than once"
        raise StoreError(f"{held}; select one with recipe=, of {stages}")
    return with_video[0]
