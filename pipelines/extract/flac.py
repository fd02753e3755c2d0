"""FLAC of a mono 16-bit waveform, the same bytes for the same samples."""

import io

import av
import numpy as np
from numpy.typing import NDArray


def encode_flac(samples: NDArray[np.int16], rate: int) -> bytes:
    """A FLAC file, as bytes. samples: mono, at `rate` Hz."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("flac", rate=rate)
        context = stream.codec_context
        context.format, context.layout = "s16", "mono"
        context.flags |= av.codec.context.Flags.bitexact.value
        context.thread_count = 1
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate = rate
        frame.pts = 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return buffer.getvalue()
