"""Read the released archive of YT-360's label maps: a folder of PNG files a clip.

A folder `<id>-<start>` has `things-%04d.png` and `stuff-%04d.png`, numbered from the clip's start,
four a second. It is handed on as one array, whose maps are packed (`manifests/label_maps.py`).
"""

import io
import json
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avstore.manifests.label_maps import MAX_PIXELS, LabelMaps, pack_maps
from avstore.pipelines.features.panoptic_maps import FEATURE, RATE, UnknownClassError, merged
from avstore.pipelines.interchange.array_source import ArrayFile
from avstore.pipelines.interchange.feature_values import BadValueError

SUFFIXES = (".png",)
"""Files of a folder of label maps."""

_NAME = re.compile(r"(things|stuff)-(\d{1,5})\.png")
_NAMED = 3  # missing maps that a problem names
_MAX_MAPS = 1000


def has_label_maps(feature: str) -> bool:
    """Return whether a feature is imported from folders of label maps."""
    return feature == FEATURE


def joined(files: Iterable[ArrayFile], *, at_once: bool) -> Iterator[ArrayFile]:
    """Yield the files of a source, those of one folder of label maps as one array.

    Args:
        files: Its files; those of a folder must follow each other.
        at_once: Whether each file must be read before the next one is requested.
    """
    for folder, found in groupby(files, _folder_of):
        if not folder:
            yield from found
            continue
        read = (_read_now(each) if at_once or each.crc32 is None else each for each in found)
        maps = sorted(read, key=lambda each: each.path)
        size, crc32 = sum(each.size for each in maps), _crc32(maps)
        yield ArrayFile(folder, size, crc32, partial(_packed, maps), whole=True, gaps=_gaps(maps))


def require_label_maps(array: NDArray[Any]) -> None:
    """Raise BadValueError unless an array holds packed label maps."""
    try:
        LabelMaps.of(array)
    except ValueError as error:
        raise BadValueError("no_array", str(error)) from error


def _folder_of(file: ArrayFile) -> str:
    """Return the folder of a map; '' of another file."""
    return file.folder if _NAME.fullmatch(file.path.rpartition("/")[2]) else ""


def _read_now(file: ArrayFile) -> ArrayFile:
    """Return the file with its content in memory, or the error that reading it gave."""
    try:
        content = file.read()
    except BadValueError as error:
        return replace(file, crc32=file.crc32 or 0, read=partial(_fail, error))
    return replace(file, size=len(content), crc32=zlib.crc32(content), read=lambda: content)


def _fail(error: BadValueError) -> bytes:
    raise error


def _crc32(maps: list[ArrayFile]) -> int:
    """Return a CRC-32 of the names and contents of a folder's maps."""
    facts = [(each.path.rpartition("/")[2], each.size, each.crc32) for each in maps]
    return zlib.crc32(json.dumps(facts).encode())


def _packed(files: list[ArrayFile]) -> bytes:
    """Return the .npy file of a folder's maps.

    Raises:
        BadValueError: A map is damaged, of another size, or has unknown classes; or there is none.
    """
    if not (whole := _whole(files)):
        raise BadValueError("no_array", f"none of {len(files)} maps has both things and stuff")
    if max(whole) >= _MAX_MAPS:
        raise BadValueError("refused", f"map {max(whole)} is not among the first {_MAX_MAPS}")
    maps = [
        _map(number, whole[number]) if number in whole else None for number in range(max(whole) + 1)
    ]
    sizes = {found.shape: number for number, found in enumerate(maps) if found is not None}
    if len(sizes) > 1:
        listed = " and ".join(f"{w} x {h} ({number})" for (h, w), number in sizes.items())
        raise BadValueError("wrong_shape", f"its maps differ in size: {listed}")
    buffer = io.BytesIO()
    np.save(buffer, pack_maps(maps, RATE), allow_pickle=False)
    return buffer.getvalue()


def _whole(files: list[ArrayFile]) -> dict[int, dict[str, ArrayFile]]:
    """Return the files of things and stuff of each map that has both, by its number."""
    pairs: dict[int, dict[str, ArrayFile]] = {}
    for file in files:
        if found := _NAME.fullmatch(file.path.rpartition("/")[2]):
            pairs.setdefault(int(found[2]), {})[found[1]] = file
    return {number: pair for number, pair in sorted(pairs.items()) if len(pair) > 1}


def _gaps(files: list[ArrayFile]) -> str | None:
    """Return which maps before a clip's last one are missing; None if none is."""
    whole = _whole(files)
    missing = [number for number in range(max(whole, default=0)) if number not in whole]
    if not missing:
        return None
    named = ", ".join(map(str, missing[:_NAMED])) + (", …" if len(missing) > _NAMED else "")
    return f"of {max(whole) + 1} maps: {named}; the one before is used"


def _map(number: int, pair: dict[str, ArrayFile]) -> NDArray[np.uint8]:
    try:
        return merged(_labels(pair["things"]), _labels(pair["stuff"]))
    except UnknownClassError as error:
        raise BadValueError("unknown_class", f"map {number}: {error}") from error
    except ValueError as error:
        raise BadValueError("wrong_shape", f"map {number}: {error}") from error


def _labels(file: ArrayFile) -> NDArray[np.uint8]:
    """Return the first channel of a PNG file."""
    name, content = file.path.rpartition("/")[2], file.read()
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BadValueError("refused", f"{name} is {image.width} x {image.height} pixels")
            grey = image.mode == "L"
            pixels = np.asarray(image if grey else image.convert("RGB"), np.uint8)
    except Image.DecompressionBombError as error:
        raise BadValueError("refused", f"{name}: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise BadValueError("damaged", f"{name}: {error}") from error
    return pixels if grey else pixels[..., 0]
