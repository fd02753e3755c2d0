"""Group files into archives: single files, or the parts of a split archive."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from avstore.pipelines.fetch.remote_files import NETWORK_ERRORS, RemoteFile, exists
from avstore.pipelines.fetch.source import SourceError

_ARCHIVE = r"\.(?:zip|tar|tgz|tbz2|txz|tar\.(?:gz|bz2|xz))"
_ARCHIVE_NAME = re.compile(rf".+{_ARCHIVE}", re.IGNORECASE)
#: video.tar.gz.00, video.tar.partaa, video.zip.001, video.tar.part-3
_PART_NAME = re.compile(
    rf"(?P<whole>.+{_ARCHIVE})[._-](?:(?:part|chunk)[._-]?)?(?P<number>\d{{1,5}}|[a-z]{{2}})",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Archive:
    """An archive.

    Attributes:
        label: Its name in messages.
        parts: Its files in order.
    """

    label: str
    parts: tuple[RemoteFile, ...]


def is_archive_name(name: str) -> bool:
    """Return whether a file name is that of an archive or of a part of one."""
    return bool(_ARCHIVE_NAME.fullmatch(name) or _match_part(name))


def group_archives(files: Sequence[RemoteFile]) -> list[Archive]:
    """Group files into archives, sorted by label; files that are no archives are ignored.

    Raises:
        SourceError: A part of a split archive is missing.
    """
    archives: list[Archive] = []
    split: dict[str, list[tuple[int, str, RemoteFile]]] = {}
    for file in files:
        if _ARCHIVE_NAME.fullmatch(file.name):
            archives.append(Archive(file.url, (file,)))
        elif match := _match_part(file.name):
            whole = file.url.partition("?")[0].removesuffix(file.name) + match["whole"]
            number = match["number"].lower()
            split.setdefault(whole, []).append((_part_index(number), number, file))
    for whole, parts in split.items():
        parts.sort(key=lambda part: part[:2])
        _check_complete(whole, parts)
        label = f"{whole}.* ({len(parts)} parts)"
        archives.append(Archive(label, tuple(file for *_, file in parts)))
    return sorted(archives, key=lambda archive: archive.label)


def find_parts(file: RemoteFile) -> list[RemoteFile]:
    """Return all parts of the split archive that `file` belongs to, or just `file`.

    An address with a query is one file: a signature is valid for no other.
    """
    match = _match_part(file.name)
    if not match or file.query:
        return [file]
    folder = file.path.removesuffix(file.name)
    base = file.url.removesuffix(file.name)
    try:
        names = [str(path).rsplit("/", 1)[-1] for path in file.fs.ls(folder, detail=False)]
    except NETWORK_ERRORS:
        return _probe_parts(file, match)
    part_names = {
        name
        for name in names
        if (other := _match_part(name))
        and other["whole"] == match["whole"]
        and other["number"].isalpha() == match["number"].isalpha()
    }
    return [RemoteFile(file.fs, folder + name, base + name) for name in sorted(part_names)] or [
        file
    ]


def _match_part(name: str) -> re.Match[str] | None:
    """Match a part's name (groups `whole`, `number`); None for others, also for x.tar.gz."""
    return None if _ARCHIVE_NAME.fullmatch(name) else _PART_NAME.fullmatch(name)


def _probe_parts(file: RemoteFile, match: re.Match[str]) -> list[RemoteFile]:
    """Request the parts one by one from a server that does not list folders."""
    parts = []
    width, alphabetic = len(match["number"]), match["number"].isalpha()
    for index in range(26**width if alphabetic else 10**width):
        number = _letters(index, width) if alphabetic else f"{index:0{width}d}"
        name = file.name[: match.start("number")] + number
        path, url = (base.removesuffix(file.name) + name for base in (file.path, file.url))
        part = RemoteFile(file.fs, path, url)
        if exists(part):
            parts.append(part)
        elif index > 0:  # part 0 may be absent: some tools count from 1
            break
    return parts or [file]


def _letters(index: int, width: int) -> str:
    """Return the letters by which `split` names a part (aa, ab, …)."""
    return "".join(chr(ord("a") + index // 26**power % 26) for power in reversed(range(width)))


def _part_index(number: str) -> int:
    """Return the index of a part from its digits or letters."""
    if number.isdigit():
        return int(number)
    index = 0
    for letter in number:
        index = index * 26 + ord(letter) - ord("a")
    return index


def _check_complete(whole: str, parts: Sequence[tuple[int, str, RemoteFile]]) -> None:
    indices = [index for index, *_ in parts]
    numbers = [number for _, number, _ in parts]
    first = 0 if indices[0] == 0 or numbers[0].isalpha() else 1
    expected = range(first, first + len(indices))
    missing = next((e for e, i in zip(expected, indices, strict=True) if e != i), None)
    if missing is not None:
        raise SourceError(
            f"a part is missing from the split archive {whole}, or is there twice: found "
            f"{', '.join(numbers[:8])}{' …' if len(numbers) > 8 else ''}, expected number "
            f"{missing} (counted from {first}) among them; fetch all parts first"
        )
