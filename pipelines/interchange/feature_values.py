"""Read one released array: no pickles, bounded, and checked against what the feature declares."""

import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.npy import PickledError, TruncatedError, load_npy
from avstore.pipelines.interchange.feature_layouts import Shape, ValueSpec

ARRAY_SUFFIXES = (".npy", ".npz")
MAX_VALUE_BYTES = 256 << 20
"""Largest array of a clip; the largest published one has 640 KB."""


class BadValueError(Exception):
    """An array that is not stored.

    Attributes:
        reason: As in `feature_problems.reason`.
        detail: What was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class Value:
    """An array to store.

    Attributes:
        content: The .npy file: the released bytes, or those of an equal array in C order and native
            byte order.
        array: The array.
        crc32: Of the content.
    """

    content: bytes
    array: NDArray[Any]
    crc32: int

    @property
    def dtype(self) -> str:
        """NumPy's name of the array's type."""
        return _dtype_name(self.array.dtype)


@lru_cache(maxsize=64)
def _dtype_name(dtype: np.dtype[Any]) -> str:
    return str(dtype)


def read_value(path: str, content: bytes, crc32: int | None) -> Value:
    """Return the array of a file.

    Args:
        path: The file's path: .npy, or .npz with one array.
        content: The file.
        crc32: Of the content, if it is known.

    Raises:
        BadValueError: The file cannot be read.
    """
    if path.lower().endswith(".npz"):
        content, crc32 = _only_array(content), None
    try:
        array = load_npy(content)
    except TruncatedError as error:
        raise BadValueError("truncated", str(error)) from error
    except PickledError as error:
        raise BadValueError("pickled", str(error)) from error
    except ValueError as error:
        reason = "truncated" if len(content) < 128 else "no_array"
        raise BadValueError(reason, f"{error} ({len(content)} bytes)") from error
    if not array.flags.c_contiguous or not array.dtype.isnative:
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        content, crc32 = buffer.getvalue(), None
    return Value(content, array, zlib.crc32(content) if crc32 is None else crc32)


def _only_array(content: bytes) -> bytes:
    """Return the .npy file in an .npz file."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if len(entries) != 1:
                names = ", ".join(entry.filename for entry in entries[:3])
                found = f"it has {len(entries)} arrays ({names}); one is expected"
                raise BadValueError("no_array", found)
            if entries[0].file_size > MAX_VALUE_BYTES:
                raise BadValueError("refused", f"it unpacks to {entries[0].file_size} bytes")
            return archive.read(entries[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadValueError("damaged", f"{error}") from error


def check_value(value: Value, spec: ValueSpec) -> None:
    """Raise BadValueError unless the array is one that the spec declares, and finite."""
    array = value.array
    fits = spec.fits(array.shape) and array.size
    if value.dtype != spec.dtype or not fits:
        reason = "wrong_shape" if value.dtype == spec.dtype else "wrong_dtype"
        found = f"{value.dtype} {' x '.join(map(str, array.shape))}"
        raise BadValueError(
            reason, f"{found}; expected {spec.text} (--value gives another type and shape)"
        )
    if not _is_finite(array):
        count = int(array.size - np.isfinite(array).sum())
        raise BadValueError("not_finite", f"{count} of {array.size} numbers are not finite")


def _is_finite(array: NDArray[Any]) -> bool:
    if array.dtype == np.float16:  # ten times as fast as isfinite
        bits = array.view(np.uint16) & 0x7C00
        return bool(bits.max() != 0x7C00)
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def most_common_values(values: Iterable[Value]) -> ValueSpec | None:
    """Return the most common type and shape; sizes that vary on the first axis are not declared."""
    kinds = Counter((value.dtype, value.array.shape) for value in values if value.array.size)
    if not kinds:
        return None
    ranks: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for (dtype, shape), count in kinds.items():
        ranks[dtype, shape[1:]] += count
    (dtype, rest), count = ranks.most_common(1)[0]
    same = {s: n for (d, s), n in kinds.items() if d == dtype and s[1:] == rest}
    best = max(same, key=lambda each: same[each])
    # One size for nearly all: the others are misshapen. Many sizes: one a clip's length.
    fixed = same[best] * 10 >= count * 9 or not best
    declared: Shape = best if fixed else (None, *best[1:])
    return ValueSpec((declared,), dtype)
