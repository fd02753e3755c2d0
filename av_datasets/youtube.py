"""Parse the ids and times of YouTube clips, and list the file names in use for them."""

import re
from itertools import chain

from avstore.datasets.lines import RowError, spreadsheet_hint
from avstore.datasets.spec import MediaName

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_START = 999_999


def require_id(youtube_id: str) -> str:
    """Return the id if it has 1 to 64 valid characters (YouTube's have 11).

    Raises:
        RowError: It has another length or other characters.
    """
    if _ID.fullmatch(youtube_id):
        return youtube_id
    hint = spreadsheet_hint(youtube_id)
    if "/" in youtube_id or "\\" in youtube_id:
        raise RowError(f"id {youtube_id!r} contains a path separator{hint}")
    raise RowError(f"id {youtube_id!r} is not 1 to 64 letters, digits, '-' and '_'{hint}")


def whole_second(text: str) -> int:
    """Parse a whole second from 0 to 999999, written as '30' or '30.000'.

    Raises:
        RowError: The text is something else.
    """
    match = re.fullmatch(r"([0-9]{1,9})(?:\.0*)?", text)
    if not match or int(match[1]) > _MAX_START:
        raise RowError(
            f"start {text!r} is not a whole second from 0 to {_MAX_START}{_comma_hint(text)}"
        )
    return int(match[1])


def second(text: str, what: str) -> float:
    """Parse a second from 0 to 999999, such as '30' or '30.5'.

    Args:
        text: The number.
        what: What it is, for the error message.

    Raises:
        RowError: The text is something else.
    """
    if not re.fullmatch(r"[0-9]{1,6}(?:\.[0-9]{0,9})?", text):
        raise RowError(f"{what} {text!r} is not a second from 0 to {_MAX_START}{_comma_hint(text)}")
    return float(text)


def _comma_hint(text: str) -> str:
    """Return the end of a message on a number that has a comma, or ''."""
    if "," not in text:
        return ""
    return "; a spreadsheet wrote a comma in it: use the published file, or write decimal points"


def clip_names(youtube_id: str, start_s: float, end_s: float) -> tuple[MediaName, ...]:
    """Return the file stems in use for a clip of a YouTube video, the best first.

    These are `ID_000030` (VGGSound, CAV-MAE), `ID_30000_40000` (milliseconds: audiosetdl, STELLA),
    `ID_30_40` (seconds: LLP), and `ID` for the whole video.

    Args:
        youtube_id: Id of the video.
        start_s: First second of the clip in the video.
        end_s: End of the clip in the video, in seconds.
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
