"""Find out whether a file is shorter than its container says, or has lost its index."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.records import Rejected

_MAX_BOXES = 10_000
_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


@dataclass(frozen=True)
class Cut:
    """Say how a file is cut.

    Attributes:
        detail: What is missing.
        in_header: Whether the description of the streams is incomplete, so that no stream of it
            can be said to be missing.
    """

    detail: str
    in_header: bool = False


def explained_by_cut(path: str, rejected: Rejected, *, has_audio: bool) -> Rejected:
    """Return `truncated` instead of a verdict that only says what a cut file lacks.

    Args:
        path: The file.
        rejected: Why its clip cannot be used.
        has_audio: Whether the file declares a sound stream.
    """
    if rejected.by_policy or rejected.verdict not in _LACKS:
        return rejected
    cut = find_cut(path)
    lacks_stream = rejected.verdict is Verdict.NO_VIDEO or (
        rejected.verdict is Verdict.NO_AUDIO and not has_audio
    )
    if cut is None or (lacks_stream and not cut.in_header):
        return rejected
    return Rejected(Verdict.TRUNCATED, f"{cut.detail}: {rejected.detail}")


_LACKS = {Verdict.NO_VIDEO, Verdict.NO_AUDIO, Verdict.UNDECODABLE, Verdict.TOO_SHORT}


def find_cut(path: str) -> Cut | None:
    """Return how a file is cut, or None if it is whole or its format declares no length.

    MP4, AVI, Matroska and ASF declare theirs; MPEG streams, FLV and Ogg do not.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(16)
        for begins, find in _FORMATS:
            if begins(head):
                return find(file, size)
    return None


def _find_in_mp4(file: BinaryIO, size: int) -> Cut | None:
    """Walk the top-level boxes (ISO/IEC 14496-12, 4.2): size, type, and a long size if it is 1."""
    at, kinds = 0, set[bytes]()
    for _ in range(_MAX_BOXES):
        if at + 8 > size:
            break
        file.seek(at)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        kinds.add(kind)
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:
            return None  # 0: to the end of the file
        if at + length > size:
            return _cut(at + length - size, f"box '{kind.decode('ascii', 'replace')}'",
                        in_header=b"moov" not in kinds or kind == b"moov")  # fmt: skip
        at += length
    if b"mdat" in kinds and b"moov" not in kinds:
        return Cut("the file has lost its index (box 'moov')", in_header=True)
    return None


def _find_in_riff(file: BinaryIO, size: int) -> Cut | None:
    """Compare the first RIFF chunk's size; 0 is one that a recorder never filled in."""
    file.seek(4)
    length = int.from_bytes(file.read(4), "little")
    if length == 0:
        return Cut("the file has lost its index (its RIFF chunk has no size)")
    return _cut(8 + length - size, "RIFF chunk")


def _find_in_matroska(file: BinaryIO, size: int) -> Cut | None:
    """Compare the size of the Segment, which follows the EBML header (RFC 8794)."""
    file.seek(len(_EBML))
    length = _vint(file)
    if length is None:
        return None
    at = file.tell() + length
    if at + len(_SEGMENT) > size:  # a damaged size may be more than a seek can reach
        return Cut("the file ends within its header")
    file.seek(at)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return None
    length = _vint(file)
    return None if length is None else _cut(file.tell() + length - size, "Segment")


def _vint(file: BinaryIO) -> int | None:
    """Read a size of EBML; None if it is unknown or cut."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra = 8 - first[0].bit_length()
    data = file.read(extra)
    mask = (1 << (7 - extra)) - 1
    unknown = first[0] & mask == mask and data == b"\xff" * extra
    if len(data) < extra or unknown:
        return None
    return (first[0] & mask) << (8 * extra) | int.from_bytes(data, "big")


def _find_in_asf(file: BinaryIO, size: int) -> Cut | None:
    """Walk the top-level objects: GUID and a size of 8 bytes."""
    at = 0
    for _ in range(_MAX_BOXES):
        file.seek(at + 16)
        length = int.from_bytes(file.read(8), "little")
        if at + 24 > size or length < 24:
            return None
        if at + length > size:
            name = "header" if at == 0 else "data"
            return _cut(at + length - size, f"{name} object", in_header=at == 0)
        at += length
    return None


def _cut(missing: int, part: str, *, in_header: bool = False) -> Cut | None:
    if missing <= 0:
        return None
    return Cut(f"the file ends {missing} bytes before its {part} does", in_header)


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, int], Cut | None]], ...] = (
    (lambda head: head[4:8] in _FIRST_BOXES, _find_in_mp4),
    (lambda head: head[:4] == b"RIFF", _find_in_riff),
    (lambda head: head[:4] == _EBML, _find_in_matroska),
    (lambda head: head == _ASF_HEADER, _find_in_asf),
)
