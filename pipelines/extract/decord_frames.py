"""Decode frames by decord, which a recipe may choose for comparison."""

from collections.abc import Iterator, Sequence

import av
import numpy as np

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.recipe import RecipeError
from avstore.pipelines.extract.records import Rejected

DECORD_TOLERANCE_S = 0.005

DECORD_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"}
"""Formats in which decord's frames are those at their times, if the packets have such times.

In MPEG streams and FLV its seeks end at other frames.
"""


def decord_frames(path: str, times: Sequence[float]) -> Iterator[av.VideoFrame]:
    """Decode frames by decord instead of PyAV, as RGB, for comparison.

    decord opens the file without lists of allowed demuxers and decoders. Give it only files that
    `open_media` accepted before, and all of whose video streams have an allowed codec.

    Args:
        path: A local file.
        times: Presentation times, ascending, in seconds on the container's clock.

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
            if abs(starts[index] - time) > DECORD_TOLERANCE_S:
                detail = f"decord has no frame at {time:.3f} s, the nearest is at"
                raise Rejected(Verdict.UNDECODABLE, f"{detail} {starts[index]:.3f} s")
            yield av.VideoFrame.from_ndarray(reader[index].asnumpy(), format="rgb24")
    except decord.DECORDError as error:
        lines = str(error).strip().splitlines()
        raise Rejected(Verdict.UNDECODABLE, f"decord: {lines[-1] if lines else error}") from error
