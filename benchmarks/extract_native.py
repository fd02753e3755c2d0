"""Measure extraction of real files as they are, beside a full decode in the same warm process.

    python -m benchmarks.extract_native [--repeats N] [--recipe NAME] [--stages]

Uses the real clips in the folder AVSTORE_SHARED whose recipe stores them: no file is encoded again.
Values are CPU seconds of one thread, the least of N turns of both, which take turns:

- ours: `extract_clip`, from opening the file to the encoded members;
- decode: a loop that demuxes and decodes every packet of both streams by PyAV, no start-up counted;
- process: the same by one FFmpeg process, start-up counted.

`skipped` are the pictures within the clip that the stream let the decoder leave out.
"""

import argparse
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av

from avstore.pipelines.extract import pictures
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.recipe import Recipe, load_recipe
from avstore.pipelines.extract.records import ClipSource
from benchmarks.common import child_cpu, cpu_of, spread, table, write
from benchmarks.extract import FFMPEG, ROOT, stopwatches

BANDS = ((240, "<= 240"), (360, "<= 360"), (10_000, ">= 480"))
DURATION_S = 10.0


def media() -> list[Path]:
    """Return the real files."""
    shared = Path(os.environ.get("AVSTORE_SHARED", ROOT.parent / "shared"))
    found = sorted((shared / "data" / "media").glob("*.*"))
    if not found:
        raise SystemExit(
            f"no files under {shared}; set AVSTORE_SHARED to the folder with data/media"
        )
    return [path for path in found if path.suffix not in (".tsv", ".csv")]


def seconds_of(path: Path) -> float:
    """Return the seconds that a file declares, 0 if it cannot be opened."""
    try:
        with av.open(str(path)) as container:
            return float((container.duration or 0) / av.time_base)
    except av.FFmpegError:
        return 0.0


def decode_all(path: Path, seconds: float) -> int:
    """Decode the first seconds of both streams, and return the number of pictures."""
    count = 0
    with av.open(str(path)) as container:
        streams = [container.streams.best(kind) for kind in ("video", "audio")]
        for stream in streams:
            stream.codec_context.thread_count = 1
        video = streams[0]
        for packet in container.demux([stream for stream in streams if stream]):
            if packet.pts is not None and packet.pts * packet.time_base > seconds + 0.25:
                continue
            frames = packet.decode()
            count += len(frames) if packet.stream is video else 0
    return count


def decoded_pictures(source: ClipSource, recipe: Recipe) -> int:
    """Return how many pictures come out of the decoder while a clip is extracted."""
    count, decode = 0, pictures.decode_wanted

    def counted(context: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal count
        original = context.decode

        class Counting:
            def __getattr__(self, name: str) -> Any:
                return getattr(context, name)

            def __setattr__(self, name: str, value: Any) -> None:
                setattr(context, name, value)

            def decode(self, packet: Any) -> list[Any]:
                nonlocal count
                frames: list[Any] = original(packet)
                count += len(frames)
                return frames

        return decode(Counting(), *arguments, **named)

    setattr(pictures, "decode_wanted", counted)  # noqa: B010 - a module's attribute, put back below
    try:
        extract_clip(source, recipe)
    finally:
        setattr(pictures, "decode_wanted", decode)  # noqa: B010
    return count


def measure(path: Path, recipe: Recipe, repeats: int) -> dict[str, Any] | None:
    """Return one file's row, or None if the recipe does not store it."""
    seconds = min(seconds_of(path), DURATION_S)
    if seconds < 1:
        return None
    source = ClipSource(f"bench/{path.stem}", "key", str(path), 0.0, seconds)
    result = extract_clip(source, recipe)
    if not result.members or result.media is None:
        return None
    pairs = [
        (cpu_of(lambda: extract_clip(source, recipe)), cpu_of(lambda: decode_all(path, seconds)))
        for _ in range(repeats)
    ]
    ours, decode = (min(values) for values in zip(*pairs, strict=True))
    command = [FFMPEG, "-threads", "1", "-i", path, "-t", str(seconds), "-f", "null", "-"]
    process = min(child_cpu(command) for _ in range(max(repeats // 2, 1)))
    every = decode_all(path, seconds)
    return {
        "file": path.name,
        "codec": result.media.video_codec,
        "height": result.media.height,
        "ours_s": ours,
        "ours_over_decode": ours / decode,
        "ours_over_process": ours / process,
        "skipped": max(every - decoded_pictures(source, recipe), 0) / max(every, 1),
    }


def band(row: dict[str, Any]) -> str:
    """Return the name of a row's band of heights."""
    return next(name for limit, name in BANDS if row["height"] <= limit)


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Summarise the ratios by height."""
    out = []
    for _, name in BANDS:
        part = [row for row in rows if band(row) == name]
        if part:
            out.append({
                "height": name,
                "files": len(part),
                "ours_over_decode": spread(r["ours_over_decode"] for r in part),
                "ours_over_process": spread(r["ours_over_process"] for r in part),
                "skipped": statistics.median(r["skipped"] for r in part),
            })  # fmt: skip
    return out


def _shown(row: dict[str, Any]) -> list[Any]:
    ratios = (row["ours_over_decode"], row["ours_over_process"])
    texts = [f"{r['median']:.2f} ({r['min']:.2f} to {r['max']:.2f})" for r in ratios]
    return [row["height"], row["files"], *texts, row["skipped"]]


def stages(path: Path, recipe: Recipe) -> dict[str, float]:
    """Return the CPU milliseconds of each stage of one clip."""
    source = ClipSource("bench/x", "key", str(path), 0.0, min(seconds_of(path), DURATION_S))
    with stopwatches() as spent:
        total = cpu_of(lambda: extract_clip(source, recipe))
    return {name: 1000 * value for name, value in spent.items()} | {"total": 1000 * total}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--recipe", default="stella")
    parser.add_argument("--stages", action="store_true", help="print each stage's milliseconds")
    options = parser.parse_args()
    recipe = load_recipe(options.recipe)
    rows = [row for path in media() if (row := measure(path, recipe, options.repeats))]
    table("files", list(rows[0]), [list(row.values()) for row in rows])
    table("by height", ["height", "files", "decode", "process", "skipped"],
          [_shown(row) for row in summary(rows)])  # fmt: skip
    write("extract_native", {"recipe": options.recipe, "rows": rows, "summary": summary(rows)})
    if options.stages:
        names = {row["file"] for row in rows}
        spent = [{"file": p.name} | stages(p, recipe) for p in media() if p.name in names]
        table("milliseconds", list(spent[0]), [list(row.values()) for row in spent])


if __name__ == "__main__":
    main()
