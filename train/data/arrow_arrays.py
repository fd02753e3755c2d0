"""Convert between Arrow and NumPy without a copy, and without importing pandas.

`pa.array` and `to_numpy` import it to find out whether they are given some of it, which takes a
third of a second.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def numbers_of(array: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Return an Arrow array of numbers without nulls; one in a single piece is not copied."""
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    dtype = np.dtype(array.type.to_pandas_dtype())
    buffer = array.buffers()[1]
    if buffer is None:
        return np.zeros(0, dtype)
    return np.frombuffer(buffer, dtype, len(array), offset=array.offset * dtype.itemsize)


def array_of(values: NDArray[Any]) -> pa.Array:
    """Return an Arrow array of numbers [N], which is not copied."""
    content = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, content])


def strings_of(values: Sequence[str]) -> pa.Array:
    """Return an Arrow array of strings, of less than 2 GiB together."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)
