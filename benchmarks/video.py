"""Measure stored videos beside JPEG frames: bytes, PSNR, CPU seconds, time of a random window.

    python -m benchmarks.video [--clip FILE] [--width 1024] [--height 512] [--rate 16] [--windows N]

Uses a real clip in the folder AVSTORE_SHARED, stretched to one size. A window is 8 consecutive
pictures at a random place: its groups are read from memory, decoded, and converted to RGB. Of
JPEGs, the same 8 are decoded. Of AV1, preset 10 of SVT-AV1 is measured too.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np
import simplejpeg

from avstore.manifests.guarded_media import open_stored_video
from avstore.manifests.video_groups import decode_groups, group_range, group_sizes, rgb
from avstore.pipelines.extract import video
from avstore.pipelines.extract.colour import Planes
from avstore.pipelines.extract.jpeg import Resizer, encode_jpeg
from avstore.pipelines.extract.recipe_sections import VideoSettings
from benchmarks.common import cpu_of, seconds, table, write
from benchmarks.extract import real_clips

WINDOW = 8
JPEG_QUALITY = 75
CODECS = {"av1": 30, "h264": 20}


def pictures(path: Path, settings: VideoSettings) -> list[Planes]:
    """Return the pictures of a clip's first 10 s at the recipe's rate and size."""
    step, found = 1 / settings.exact_rate, list[Planes]()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        resizer = Resizer(settings, stream.codec_context.sample_aspect_ratio)
        for frame in container.decode(stream):
            if frame.pts * stream.time_base >= len(found) * step:
                found.append(resizer.planes(frame))
            if len(found) * step >= Fraction(10):
                break
    return found


def psnr(decoded: Sequence[np.ndarray], sources: Sequence[Planes]) -> float:
    """Return the PSNR of luma over all pictures, in dB."""
    errors = [
        np.square(a.astype(float) - b[0]).mean() for a, b in zip(decoded, sources, strict=True)
    ]
    return float(10 * np.log10(255**2 / np.mean(errors)))


def as_video(settings: VideoSettings, sources: Sequence[Planes]) -> video.EncodedVideo:
    """Encode pictures."""
    height, width = sources[0][0].shape
    encoder = video.VideoEncoder(settings, width, height)
    for planes in sources:
        encoder.add(planes)
    return encoder.finish()


def luma_of_video(content: bytes, height: int) -> list[np.ndarray]:
    """Return luma of all pictures of a video."""
    with open_stored_video(content) as (container, stream):
        return [frame.to_ndarray()[:height] for frame in container.decode(stream)]


def luma_of_jpeg(jpeg: bytes) -> np.ndarray:
    """Return luma of a JPEG."""
    return simplejpeg.decode_jpeg(jpeg, colorspace="GRAY")[..., 0]


def video_window(
    encoded: video.EncodedVideo, settings: VideoSettings, convert: bool, first: int
) -> None:
    """Read a window as a loader does. convert: also convert it to RGB."""
    every = settings.keyframe_every
    found = group_range(encoded.gop_offsets, every, first, WINDOW)
    content = memoryview(encoded.content)[found.offset : found.offset + found.size]
    sizes, skipped = group_sizes(encoded.gop_offsets, found), first - found.first_group * every
    for frame in decode_groups(content, sizes, settings.codec, skipped, WINDOW, every):
        if convert:
            rgb(frame)


def jpeg_window(jpegs: Sequence[bytes], first: int) -> None:
    """Decode a window of JPEGs."""
    for jpeg in jpegs[first : first + WINDOW]:
        simplejpeg.decode_jpeg(jpeg, colorspace="RGB")


def window_ms(read: Callable[[int], None], count: int, windows: int) -> float:
    """Return the median milliseconds of a random window."""
    rng = np.random.default_rng(0)
    places = rng.integers(0, count - WINDOW + 1, windows)
    return 1000 * statistics.median(seconds(lambda at=int(at): read(at)) for at in places)


def measure_video(
    settings: VideoSettings, sources: Sequence[Planes], windows: int, preset: int
) -> dict[str, Any]:
    """Measure one codec at one preset (of SVT-AV1)."""
    made = list[video.EncodedVideo]()
    with mock.patch.object(video, "SVT_PRESET", preset):
        cpu = cpu_of(lambda: made.append(as_video(settings, sources)))
    (encoded,) = made
    height = sources[0][0].shape[0]
    whole, decoded = (partial(video_window, encoded, settings, x) for x in (True, False))
    name = f"{settings.codec}, crf {settings.crf}"
    return {
        "what": f"{name}, preset {preset}" if settings.codec == "av1" else name,
        "bytes": len(encoded.content),
        "psnr_db": psnr(luma_of_video(encoded.content, height), sources),
        "encode_cpu_s": cpu,
        "window_ms": window_ms(whole, len(sources), windows),
        "without_rgb_ms": window_ms(decoded, len(sources), windows),
    }


def measure_jpeg(sources: Sequence[Planes], windows: int) -> dict[str, Any]:
    """Measure JPEG frames of the same pictures."""
    jpegs = list[bytes]()
    cpu = cpu_of(lambda: jpegs.extend(encode_jpeg(planes, JPEG_QUALITY) for planes in sources))
    return {
        "what": f"JPEG {JPEG_QUALITY}",
        "bytes": sum(map(len, jpegs)),
        "psnr_db": psnr([luma_of_jpeg(jpeg) for jpeg in jpegs], sources),
        "encode_cpu_s": cpu,
        "window_ms": window_ms(partial(jpeg_window, jpegs), len(jpegs), windows),
        "without_rgb_ms": "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--rate", type=float, default=16)
    parser.add_argument("--windows", type=int, default=100)
    options = parser.parse_args()
    clip = options.clip or next(p for p in real_clips() if p.name.startswith("MMAudio__"))
    size = {"fit": "stretch", "width": options.width, "height": options.height}
    recipes = {
        c: VideoSettings(rate=options.rate, codec=c, crf=q, **size) for c, q in CODECS.items()
    }
    sources = pictures(clip, recipes["av1"])
    rows = [
        *(measure_video(recipes["av1"], sources, options.windows, preset) for preset in (8, 10)),
        measure_video(recipes["h264"], sources, options.windows, video.SVT_PRESET),
        measure_jpeg(sources, options.windows),
    ]
    title = f"{len(sources)} pictures of {options.width} x {options.height}, {clip.name}"
    table(title, list(rows[0]), (row.values() for row in rows))
    print(write("video", {"pictures": len(sources), "clip": clip.name, "rows": rows}))


if __name__ == "__main__":
    main()
