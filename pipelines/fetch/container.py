"""Which container a file is, from its first bytes (the formats' own signatures)."""

_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"pnot")
_SIGNATURES = (
    (b"RIFF", "avi"),
    (b"FLV\x01", "flv"),
    (b"OggS", "ogv"),
    (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "wmv"),
    (b"\x00\x00\x01\xba", "mpg"),
    (b"\x00\x00\x01\xb3", "mpg"),
)
_TS_PACKET = 188


def container_of(head: bytes) -> str | None:
    """The usual extension of the container that begins with `head` (4 KiB do), or None."""
    if head[4:8] in _BOXES:
        return "mov" if head[4:12] == b"ftypqt  " else "mp4"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "webm" if b"webm" in head[:64] else "mkv"
    for signature, extension in _SIGNATURES:
        if head.startswith(signature):
            return extension if extension != "avi" or head[8:12] == b"AVI " else None
    return "ts" if _is_transport_stream(head) else None


def _is_transport_stream(head: bytes) -> bool:
    """Packets of 188 bytes that begin with 0x47 (192 in Blu-ray's m2ts, 4 bytes later)."""
    for start, step in ((0, _TS_PACKET), (4, _TS_PACKET + 4)):
        at = range(start, min(len(head), start + step * 5), step)
        if len(at) >= 3 and all(head[i] == 0x47 for i in at):
            return True
    return False
