"""Read .npy members of local shards into memory that the caller has, without a copy between."""

import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.members import HEADER_BYTES, is_own_header
from avstore.manifests.npy import read_layout
from avstore.manifests.shard_reader import ByteRange, LocalReader, Reader, ReadError

_MAX_NPY_HEADER = 4096


def read_array(reader: Reader, item: ByteRange, out: NDArray[Any], crc32: int | None) -> bool:
    """Read an .npy member into `out`; return whether `out` holds it.

    It does not for a remote store, for an array of another shape, dtype or order, and for a member
    that is missing or damaged: `read_members` reads the former and says what is wrong with the
    latter. What `out` holds then is arbitrary.

    Args:
        reader: The store's reader.
        item: The member.
        out: Where to read the array to, in C order.
        crc32: Expected CRC-32 of the member, or None to skip the check.
    """
    head = item.size - out.nbytes
    if not isinstance(reader, LocalReader) or not out.nbytes or not 0 < head <= _MAX_NPY_HEADER:
        return False
    front, content = bytearray(HEADER_BYTES + head), out.data.cast("B")
    try:
        got = reader.read_into(item.shard, item.offset - HEADER_BYTES, (front, content))
    except ReadError:
        return False
    if got != len(front) + len(content) or not is_own_header(bytes(front[:HEADER_BYTES]), item):
        return False
    header = bytes(front[HEADER_BYTES:])
    if _layout(header) != (len(header), out.shape, out.dtype):
        return False
    return crc32 is None or zlib.crc32(content, zlib.crc32(header)) == crc32


@lru_cache(maxsize=4096)
def _layout(header: bytes) -> tuple[int, tuple[int, ...], np.dtype[Any]] | None:
    """Return where the values of an .npy file start, their shape and dtype; None if not in C order.

    Damaged headers have no layout.
    """
    try:
        layout = read_layout(header)
    except ValueError:
        return None
    fortran = layout.fortran and len(layout.shape) > 1
    return None if fortran else (layout.start, layout.shape, layout.dtype)
