"""Seal the files of a store, so that a single changed bit is seen: the one writer of Parquet.

A sealed Parquet file also has its place in the store, so that a file of another place is no sound
one.

A seal is `avstore-seal` twice and the sha256 of the whole file, computed with 64 zeros in the place
of its digits. It is a key and value of a Parquet footer (which has no checksum of its own) or of a
JSON object, or a comment at the end of an HTML page, so other readers are not disturbed. Because
the name is there twice, no flipped bit turns a sealed file into one of an older version, which has
no seal.
"""

import hashlib
import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avstore.manifests.store import StoreError, committing

_NAME = "avstore-seal"
_PLACE = "avstore-place"
_PLACED = re.compile(rf"{_PLACE}:([^\x00-\x1f]*?\.parquet)".encode())
_FOLDERS = ("ledger", "shards")  # of a store, with sealed Parquet files
_ZEROS = "0" * 64
_VALUE = f"{_NAME}:{_ZEROS}"
_SEAL = re.compile(rf"{re.escape(_NAME)}:([0-9a-f]{{64}})".encode())
# Behind the seal, a Parquet footer holds its schema and a JSON or HTML file a few characters.
_TAIL = 1 << 16
_THREADS = 4  # hashing releases the interpreter's lock
_LOG = logging.getLogger(__name__)


class DamagedFileError(StoreError, ValueError):
    """A file differs from its seal, or cannot be read."""


def parquet_bytes(table: pa.Table, facts: Mapping[str, str] | None = None) -> bytes:
    """Return a table as a sealed Parquet file with page checksums.

    Args:
        table: The rows.
        facts: Further keys and values of the footer.
    """
    buffer = io.BytesIO()
    with pq.ParquetWriter(
        buffer, table.schema, compression="zstd", write_page_checksum=True
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({**(facts or {}), _NAME: _VALUE})
    return seal(buffer.getvalue())


def write_parquet(path: Path, table: pa.Table, facts: Mapping[str, str] | None = None) -> None:
    """Commit a table as a sealed Parquet file; an existing one is replaced."""
    place = {_PLACE: f"{_PLACE}:{found}"} if (found := _place(path)) else {}
    with committing(path) as file:
        file.write(parquet_bytes(table, {**(facts or {}), **place}))


def _place(path: Path) -> str | None:
    """Return a file's path from the folder of a store that it is in; None outside a store."""
    parts = path.parts
    tops = [number for number, part in enumerate(parts[:-1]) if part in _FOLDERS]
    return "/".join(parts[tops[-1] :]) if tops else None


def json_bytes(facts: Mapping[str, Any], indent: int | None = None, **options: Any) -> bytes:
    """Return an object as sealed JSON. options: of `json.dumps`."""
    return seal(json.dumps({**facts, _NAME: _VALUE}, indent=indent, **options).encode())


def html_bytes(page: str) -> bytes:
    """Return a page of HTML with its seal at the end."""
    return seal(f"{page}\n<!-- {_NAME} {_VALUE} -->\n".encode())


def seal_comment(text: str) -> bytes:
    """Return lines of text with their seal in a last line, a comment that begins with `#`."""
    return seal(f"{text}# {_NAME} {_VALUE}\n".encode())


def seal(content: bytes) -> bytes:
    """Return the content with its sha256 in place of the last placeholder of 64 zeros."""
    start = content.rindex(_VALUE.encode()) + len(_NAME) + 1
    digest = hashlib.sha256(content).hexdigest().encode()
    return content[:start] + digest + content[start + len(digest) :]


def find_seal(content: bytes) -> str | None:
    """Return the digits of the content's seal after checking them, or None if it has no seal.

    Raises:
        DamagedFileError: The content differs from its seal.
    """
    found = content.rfind(_NAME.encode(), max(0, len(content) - _TAIL))
    if found < 0:
        return None
    start = found + len(_NAME) + 1
    match = _SEAL.match(content, found)
    if match:
        digest = hashlib.sha256(content[:start])
        digest.update(_ZEROS.encode())
        digest.update(memoryview(content)[start + len(_ZEROS) :])
        if digest.hexdigest().encode() == match[1]:
            return match[1].decode()
    raise DamagedFileError("is damaged: it differs from its seal")


def read_bytes(path: Path) -> tuple[bytes, str | None]:
    """Return a file's content and the digits of its seal (None: it has none).

    Raises:
        DamagedFileError: The file differs from its seal or, without one, cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe or device would wait for ever
            raise DamagedFileError("is not a file")
        content = path.read_bytes()
        digits = find_seal(content)
        if digits is None:
            _decode(path.suffix, content)
    except DamagedFileError as error:
        raise DamagedFileError(f"{path} {error}") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise DamagedFileError(f"{path} cannot be read: {lines[0]}") from error
    return content, digits


def _decode(suffix: str, content: bytes) -> None:
    """Read a file of an older version, which has no seal, to its end."""
    if suffix == ".parquet":
        pq.read_table(io.BytesIO(content), page_checksum_verification=True)
    elif suffix == ".json":
        json.loads(content)


@dataclass(frozen=True)
class CheckedFiles:
    """Files that were compared with their seals.

    Attributes:
        digits: Of each sound file, the digits of its seal, or its sha256 if it has none.
        damage: Of each damaged file, what is wrong with it.
        unsealed: Sound files without a seal, as older versions wrote them.
    """

    digits: dict[Path, str]
    damage: dict[Path, str]
    unsealed: tuple[Path, ...]

    def sound(self, paths: Iterable[Path]) -> list[Path]:
        """Return those of the paths that are sound."""
        return [path for path in paths if path in self.digits]

    def log_damage(self) -> None:
        """Log one line for each damaged file."""
        for path, what in self.damage.items():
            _LOG.warning("%s %s; left out", path, what)


def check_files(
    paths: Iterable[Path], progress: Callable[[int], None] = lambda _: None
) -> CheckedFiles:
    """Compare files with their seals, several at a time.

    Args:
        paths: Files to check.
        progress: Called with 1 after each file.
    """
    digits: dict[Path, str] = {}
    damage: dict[Path, str] = {}
    unsealed: list[Path] = []
    named = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(_THREADS) as pool:
        for path, (found, sealed, what) in zip(named, pool.map(_check, named), strict=True):
            progress(1)
            if what is not None:
                damage[path] = what
                continue
            digits[path] = found
            if not sealed:
                unsealed.append(path)
    return CheckedFiles(digits, damage, tuple(unsealed))


def _check(path: Path) -> tuple[str, bool, str | None]:
    """Return a file's digits, whether they are of a seal, and what is wrong with the file."""
    try:
        content, digits = read_bytes(path)
    except DamagedFileError as error:
        return "", False, str(error).removeprefix(f"{path} ")
    placed = _PLACED.search(content, max(0, len(content) - _TAIL)) if digits else None
    if placed and (found := placed[1].decode(errors="replace")) != _place(path):
        return "", False, f"is another file of a store: {found}"
    return digits or hashlib.sha256(content).hexdigest(), digits is not None, None


def require_sound_files(paths: Iterable[Path]) -> None:
    """Raise DamagedFileError, which names it, for the first of the files that is damaged."""
    for path, what in check_files(paths).damage.items():
        raise DamagedFileError(f"{path} {what}")


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a Parquet file of the store after checking its seal.

    Raises:
        DamagedFileError: The file differs from its seal, or cannot be read.
    """
    content, _ = read_bytes(path)
    return pq.read_table(io.BytesIO(content), columns=columns)


def read_facts(path: Path) -> dict[str, str]:
    """Return the text keys and values in a Parquet file's footer, after checking its seal."""
    content, _ = read_bytes(path)
    found = pq.read_metadata(io.BytesIO(content)).metadata or {}
    return {
        key.decode(): value.decode() for key, value in found.items() if key.startswith(b"avstore-")
    }


def tar_facts(size: int, sha256: str) -> dict[str, str]:
    """Return the facts of a companion's tar for the footer of its sidecar."""
    return {"avstore-tar-bytes": str(size), "avstore-tar-sha256": sha256}


def read_json(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file of the store, after checking its seal.

    Raises:
        DamagedFileError: The file differs from its seal, or holds no object.
    """
    content, _ = read_bytes(path)
    try:
        return parse_json(content)
    except DamagedFileError as error:
        raise DamagedFileError(f"{path} {error}") from error


def parse_json(content: bytes) -> dict[str, Any]:
    """Return an object of sealed JSON without its seal.

    Raises:
        DamagedFileError: The content differs from its seal, or is no JSON object.
    """
    find_seal(content)
    try:
        facts = json.loads(content)
    except ValueError as error:
        raise DamagedFileError(f"cannot be read: {error}") from error
    if not isinstance(facts, dict):
        raise DamagedFileError(f"cannot be read: it holds a {type(facts).__name__}, not an object")
    facts.pop(_NAME, None)
    return facts
