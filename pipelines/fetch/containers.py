"""Recognize media containers by file extension and by their first bytes."""

#: Extensions of media files; of two files with one stem the earlier extension is preferred.
EXTENSIONS = (
    *("mp4", "webm", "mkv", "mov", "m4v", "avi", "flv", "3gp", "3g2", "ts", "m2ts"),
    *("mpg", "mpeg", "ogv", "wmv", "asf", "vob", "f4v", "mxf"),
)
#: Extensions of files of sound alone, in order of preference.
SOUND_EXTENSIONS = (
    *("flac", "wav", "m4a", "mka", "weba", "opus", "ogg", "oga", "mp3", "aac", "wma"),
)
_RANKS = {extension: rank for rank, extension in enumerate((*EXTENSIONS, *SOUND_EXTENSIONS))}
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


def extension_rank(name: str) -> int | None:
    """Return a media file's preference by its extension (0 first), None for other files.

    Files of sound alone come after those that may hold pictures.
    """
    stem, _, extension = name.rpartition(".")
    return _RANKS.get(extension.lower()) if stem and stem[-1] != "/" else None


def is_video(name: str) -> bool:
    """Return whether a file may hold pictures by its extension."""
    rank = extension_rank(name)
    return rank is not None and rank < len(EXTENSIONS)


def is_sound(name: str) -> bool:
    """Return whether a file holds sound alone by its extension."""
    return extension_rank(name) is not None and not is_video(name)


def detect_container(head: bytes) -> str | None:
    """Return the usual extension of a container.

    Args:
        head: The file's first bytes; 4 KiB are enough.

    Returns:
        An extension such as 'mp4', or None where no known container begins with `head`.
    """
    if head[4:8] in _BOXES:
        return "mov" if head[4:12] == b"ftypqt  " else "mp4"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "webm" if b"webm" in head[:64] else "mkv"
    for signature, extension in _SIGNATURES:
        if head.startswith(signature):
            return extension if extension != "avi" or head[8:12] == b"AVI " else None
    return "ts" if _is_transport_stream(head) else None


def _is_transport_stream(head: bytes) -> bool:
    """Find the sync byte 0x47 every 188 bytes (in Blu-ray's m2ts every 192, from byte 4)."""
    for start, step in ((0, _TS_PACKET), (4, _TS_PACKET + 4)):
        positions = range(start, min(len(head), start + step * 5), step)
        if len(positions) >= 3 and all(head[i] == 0x47 for i in positions):
            return True
    return False
