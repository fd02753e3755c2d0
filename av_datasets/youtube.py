"""What datasets of YouTube clips share: ids, start seconds, and the file names in use."""

import re
from itertools import chain

from avstore.datasets.lines import RowError
from avstore.datasets.spec import MediaName

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_START = 999_999


def require_id(youtube_id: str) -> str:
    """The id. Raises RowError if it cannot be one; real ones have 11 characters, 1 to 64 pass."""
    if _ID.fullmatch(youtube_id):
        return youtube_id
    if "/" in youtube_id or "\\" in youtube_id:
        raise RowError(f"id {youtube_id!r} holds a path separator")
    raise RowError(f"id {youtube_id!r} is not 1 to 64 letters, digits, '-' and '_'")


def whole_second(text: str) -> int:
    """A second written as '30' or '30.000'. Raises RowError unless it is from 0 to 999999."""
    match = re.fullmatch(r"([0-9]{1,9})(?:\.0*)?", text)
    if not match or int(match[1]) > _MAX_START:
        raise RowError(f"start {text!r} is not a whole second from 0 to {_MAX_START}")
    return int(match[1])


def second(text: str, what: str) -> float:
    """A second from 0 to 999999, such as '30' or '30.000'. Raises RowError."""
    if not re.fullmatch(r"[0-9]{1,6}(?:\.[0-9]{0,9})?", text):
        raise RowError(f"{what} {text!r} is not a second from 0 to {_MAX_START}")
    return float(text)


def clip_names(youtube_id: str, start_s: float, end_s: float) -> tuple[MediaName, ...]:
    """File stems of a clip of a video, best first; the bare id is the whole video.

    `ID_000030` (VGGSound, CAV-MAE), `ID_30000_40000` (milliseconds: audiosetdl, STELLA),
    `ID_30_40` (LLP, seconds), `ID`.
    """
    start, end = int(start_s), int(end_s)
    cut = (
        f"{youtube_id}_{start:06d}",
        f"{youtube_id}_{round(start_s * 1000)}_{round(end_s * 1000)}",
        f"{youtube_id}_{start}_{end}",
    )
    return tuple(
        chain((MediaName(stem) for stem in cut), (MediaName(youtube_id, whole_video=True),))
    )
