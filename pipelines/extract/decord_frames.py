"""Frames by decord instead of PyAV, for who wants to compare. The same frames, as RGB.

decord opens the file by itself, without lists of allowed demuxers; it is given only files that
were opened within the limits before.
"""

from collections.abc import Iterator, Sequence

import av
import numpy as np

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.recipe import RecipeError
from avstore.pipelines.extract.rejected import Rejected


def decord_frames(path: str, times: Sequence[float]) -> Iterator[av.VideoFrame]:
    """The frames shown at presentation times (ascending, seconds on the container's clock).

    Raises:
        RecipeError: decord is not installed.
        Rejected: decord cannot read the file, or has no frame at one of the times.
    """
    try:
        import decord  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise RecipeError("decoder = 'decord' needs the package decord") from error
    try:
        reader = decord.VideoReader(path, num_threads=1)
        starts = np.asarray(reader.get_frame_timestamp(np.arange(len(reader))))[:, 0]
        for time in times:
            index = int(np.argmin(np.abs(starts - time)))
            if abs(starts[index] - time) > 0.005:
                detail = f"decord has no frame at {time:.3f} s, the nearest is at"
                raise Rejected(Verdict.UNDECODABLE, f"{detail} {starts[index]:.3f} s")
            yield av.VideoFrame.from_ndarray(reader[index].asnumpy(), format="rgb24")
    except decord.DECORDError as error:
        words = str(error).strip().splitlines()
        raise Rejected(Verdict.UNDECODABLE, f"decord: {words[-1] if words else error}") from error
