"""Which files make up which archive: one file, several, or the parts of a split one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from avstore.pipelines.fetch.remote_files import NETWORK_ERRORS, Place, exists
from avstore.pipelines.fetch.source import SourceError

_ARCHIVE = r"\.(?:zip|tar|tgz|tbz2|txz|tar\.(?:gz|bz2|xz))"
ARCHIVE_NAME = re.compile(rf".+{_ARCHIVE}", re.IGNORECASE)
#: video.tar.gz.00, video.tar.partaa, video.zip.001, video.tar.part-3
_PART_NAME = re.compile(
    rf"(?P<whole>.+{_ARCHIVE})[._-](?:(?:part|chunk)[._-]?)?(?P<number>\d{{1,5}}|[a-z]{{2}})",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Archive:
    """An archive and the files it lies in, in order. label: for messages."""

    label: str
    parts: tuple[Place, ...]


def is_archive_name(name: str) -> bool:
    """Whether a file's name says that it is an archive, or a part of one."""
    return bool(ARCHIVE_NAME.fullmatch(name) or _part(name))


def _part(name: str) -> re.Match[str] | None:
    """What a part's name says (`whole`, `number`); None for anything else, x.tar.gz too."""
    return None if ARCHIVE_NAME.fullmatch(name) else _PART_NAME.fullmatch(name)


def group(places: Sequence[Place]) -> list[Archive]:
    """The archives that these files make up. Raises SourceError where a part is missing."""
    archives: list[Archive] = []
    split: dict[str, list[tuple[str, Place]]] = {}
    for at in places:
        if ARCHIVE_NAME.fullmatch(at.name):
            archives.append(Archive(at.url, (at,)))
        elif found := _part(at.name):
            whole = at.url.removesuffix(at.name) + found["whole"]
            split.setdefault(whole, []).append((found["number"].lower(), at))
    for whole, parts in split.items():
        parts.sort(key=lambda part: (len(part[0]), part[0]) if part[0].isalpha() else
                   (0, f"{int(part[0]):09d}"))  # fmt: skip
        _check_complete(whole, [number for number, _ in parts])
        archives.append(Archive(f"{whole}.* ({len(parts)} parts)", tuple(p for _, p in parts)))
    return sorted(archives, key=lambda archive: archive.label)


def siblings(one: Place) -> list[Place]:
    """All parts of the split archive that `one` belongs to; itself alone where it is none."""
    found = _part(one.name)
    if not found:
        return [one]
    folder = one.path.removesuffix(one.name)
    base = one.url.removesuffix(one.name)
    try:
        names = [str(path).rsplit("/", 1)[-1] for path in one.fs.ls(folder, detail=False)]
    except NETWORK_ERRORS:
        return _probe(one, found)
    fitting = [
        name
        for name in names
        if (other := _part(name))
        and other["whole"] == found["whole"]
        and other["number"].isalpha() == found["number"].isalpha()
    ]
    return [Place(one.fs, folder + name, base + name) for name in sorted(set(fitting))] or [one]


def _probe(one: Place, found: re.Match[str]) -> list[Place]:
    """The parts of an archive on a server that lists no folders: asked for one by one."""
    parts = []
    width, alphabetic = len(found["number"]), found["number"].isalpha()
    for value in range(26**width if alphabetic else 10**width):
        number = _letters(value, width) if alphabetic else f"{value:0{width}d}"
        name = one.name[: found.start("number")] + number
        path, url = (at.removesuffix(one.name) + name for at in (one.path, one.url))
        part = Place(one.fs, path, url)
        if exists(part):
            parts.append(part)
        elif value > 0:
            break
    return parts or [one]


def _letters(value: int, width: int) -> str:
    """Part names as `split` counts them: aa, ab, …"""
    return "".join(chr(ord("a") + value // 26**power % 26) for power in reversed(range(width)))


def _check_complete(whole: str, numbers: Sequence[str]) -> None:
    values = [_value(number) for number in numbers]
    first = 0 if values[0] == 0 or numbers[0].isalpha() else 1
    expected = list(range(first, first + len(values)))
    if values != expected:
        missing = next(want for want, have in zip(expected, values, strict=True) if want != have)
        raise SourceError(
            f"{whole} is split and a part is missing or doubled: there are "
            f"{', '.join(numbers[:8])}{' …' if len(numbers) > 8 else ''}, number {missing} "
            f"(counted from {first}) is not among them; fetch all parts first"
        )


def _value(number: str) -> int:
    if number.isdigit():
        return int(number)
    value = 0
    for letter in number:
        value = value * 26 + ord(letter) - ord("a")
    return value
