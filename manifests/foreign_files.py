"""Read files of others with bounds: TOML, and what torch.save wrote."""

import re
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from avstore.manifests.errors import first_sentence
from avstore.manifests.store import StoreError

TOML_BYTES = 4 << 20
"""Largest TOML file; the largest shipped one has 40 KB."""

# tomllib takes time and memory in the square of a dotted key's parts.
_KEY_PARTS = 100
_BETWEEN_KEYS = re.compile(r"[\n=,{}\[\]]")
# A checkpoint of zeros shrinks to a thousandth, and torch unpacks it before anything is checked.
_EXPANSION = 100


def read_toml(path: Path) -> dict[str, Any]:
    """Return the table of a TOML file.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no TOML, larger than 4 MiB, or nested too deeply.
    """
    with path.open("rb") as file:
        content = file.read(TOML_BYTES + 1)
    if len(content) > TOML_BYTES:
        raise ValueError(f"it is larger than {TOML_BYTES >> 20} MiB")
    text = content.decode()
    for key in _BETWEEN_KEYS.split(text):
        if key.count(".") > _KEY_PARTS:
            raise ValueError(f"a key has more than {_KEY_PARTS} parts: {key.strip()[:40]}…")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def load_tensors(path: Path, mmap: bool = False) -> Any:
    """Return the contents of a file that torch.save wrote; no code in it runs.

    Args:
        path: The file.
        mmap: Map the tensors into memory instead of reading them.

    Raises:
        StoreError: It is no such file, or unpacks to more than a hundred times its size.
    """
    import torch  # noqa: PLC0415 -- heavy

    try:
        _refuse_bomb(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises errors of many classes for a damaged file
        reason, short = first_sentence(error), str(error).lower()
        if "weights_only" in short or not any(letter.isalpha() for letter in short):
            reason = "it holds other objects than tensors and numbers, or is damaged"
        raise StoreError(f"{path} is not a readable checkpoint: {reason}") from error


def _refuse_bomb(path: Path) -> None:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > _EXPANSION * path.stat().st_size:
            raise ValueError(f"it unpacks to {unpacked} bytes")
