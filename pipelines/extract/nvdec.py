"""Decode video on an NVIDIA GPU (NVDEC) through FFmpeg's CUDA path, which a recipe may choose."""

from functools import cache
from typing import Any

import av
from av.codec.hwaccel import HWAccel

from avstore.pipelines.extract.recipe import Recipe

# All decoders of a process share one CUDA context, which takes a tenth of a second to create.
_OPTIONS: dict[str, object] = {"primary_ctx": "1"}


def device_of(recipe: Recipe) -> HWAccel | None:
    """Return the device that a recipe's clips are decoded on; None for the CPU.

    Streams that the GPU cannot decode are decoded on the CPU, to the same pictures.
    """
    if recipe.decoder != "nvdec":
        return None
    _held_context()
    return HWAccel("cuda", allow_software_fallback=True, options=_OPTIONS)


def gpu_problem() -> str | None:
    """Return why no video can be decoded on a GPU here, or None."""
    try:
        _held_context()
    except (av.FFmpegError, OSError, RuntimeError, ValueError, NotImplementedError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


@cache
def _held_context() -> Any:
    """Return a decoder that is never used: it keeps the CUDA context while the process lives."""
    device = HWAccel("cuda", allow_software_fallback=False, options=_OPTIONS)
    return av.CodecContext.create("h264", "r", hwaccel=device)
