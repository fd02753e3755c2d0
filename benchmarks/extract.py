"""Measure the cost of extraction: avstore, the published scripts, and a bare decode as ceiling.

    python -m benchmarks.extract [--clips N] [--repeats N] [--heights 240,360,720]

Uses the real clips in the folder AVSTORE_SHARED, cut to 10 s and encoded at each height. Values are
CPU seconds, child processes included: `ours` is the work of a started sandbox worker for one clip;
the scripts run one process per clip, without the cost of its imports; the bare decode is one FFmpeg
process.
"""

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imageio_ffmpeg

from avstore.pipelines.extract import audio, clip, jpeg, stored_frames
from avstore.pipelines.extract.recipe import load_recipe
from avstore.pipelines.extract.records import ClipSource, ExtractionResult
from avstore.pipelines.extract.sandbox import WORKER_ENVIRONMENT, Sandbox
from benchmarks.common import child_cpu, cpu_of, spread, table, write

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
ROOT = Path(__file__).resolve().parents[1]
STELLA = load_recipe("stella")
ENCODINGS = {
    "h264": (("-c:v", "libx264", "-preset", "medium", "-crf", "23", "-c:a", "aac"), "mp4"),
    "vp9": (("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "6", "-b:v", "1M",
             "-c:a", "libopus"), "webm"),
    "hevc": (("-c:v", "libx265", "-preset", "fast", "-x265-params", "log-level=error",
              "-c:a", "aac"), "mp4"),
}  # fmt: skip


def real_clips() -> list[Path]:
    """Return the real clips with 10 s of video and audio."""
    shared = Path(os.environ.get("AVSTORE_SHARED", ROOT.parent / "shared"))
    media = sorted((shared / "data" / "media").glob("*.mp4"))
    natural = ("SpecVQGAN__", "VGGSounder__", "cav-mae__", "MMAudio__", "AVVP-ECCV20__")
    usable = [p for p in media if p.name.startswith(natural) and "02677" not in p.name]
    if not usable:
        raise SystemExit(
            f"no real clips under {shared} (set AVSTORE_SHARED to the folder that holds data/media)"
        )
    return usable


def encode(path: Path, height: int, codec: str, folder: Path) -> Path:
    """Encode a clip's first 10 s at a height and in a codec; return the new file."""
    arguments, suffix = ENCODINGS[codec]
    target = folder / f"{path.stem}-{height}-{codec}.{suffix}"
    child_cpu([FFMPEG, "-y", "-v", "error", "-i", path, "-t", "10", "-vf", f"scale=-2:{height}",
               *arguments, target])  # fmt: skip
    return target


def source(path: Path) -> ClipSource:
    """Return the source of a whole file."""
    return ClipSource(f"bench/{path.stem}", "key", str(path), 0.0, 10.0)


def ours(path: Path, repeats: int) -> float:
    """Return the least CPU seconds of extract_clip."""
    return min(
        cpu_of(lambda: _stored(clip.extract_clip(source(path), STELLA))) for _ in range(repeats)
    )


def bare(path: Path, repeats: int) -> float:
    """Return the least CPU seconds of a full decode by FFmpeg."""
    command = [FFMPEG, "-threads", "1", "-i", path, "-f", "null", "-"]
    return min(child_cpu(command) for _ in range(repeats))


def scripts(path: Path, folder: Path, start_up: float) -> float:
    """Return the CPU seconds of the published scripts' way, without process start-up."""
    out = folder / "scripts"
    out.mkdir(exist_ok=True)
    return child_cpu([sys.executable, "-m", "benchmarks.extract_scripts", path, out]) - start_up


def _stored(extracted: ExtractionResult) -> ExtractionResult:
    if not extracted.members:
        raise SystemExit(f"{extracted.clip_id}: {extracted.verdict} {extracted.detail}")
    return extracted


def cost(clips: list[Path], options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure every clip at every height and codec; return one row each."""
    start_up = min(
        child_cpu([sys.executable, "-c", "import benchmarks.extract_scripts"]) for _ in range(2)
    )
    rows = []
    for codec in options.codecs.split(","):
        for height in map(int, options.heights.split(",")):
            for path in clips:
                encoded = encode(path, height, codec, folder)
                row = {"clip": path.stem, "height": height, "codec": codec}
                row |= {
                    "ours": ours(encoded, options.repeats),
                    "bare": bare(encoded, options.repeats),
                }
                if codec == "h264" and not options.no_scripts:
                    row["scripts"] = scripts(encoded, folder, start_up)
                rows.append(row)
    return rows


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Summarise ratios by codec and height, and over each codec."""
    out = []
    for codec in dict.fromkeys(row["codec"] for row in rows):
        heights = [*dict.fromkeys(r["height"] for r in rows if r["codec"] == codec), None]
        for height in heights:
            part = [r for r in rows if r["codec"] == codec and height in (None, r["height"])]
            slow = [r["scripts"] / r["ours"] for r in part if "scripts" in r]
            out.append({
                "codec": codec,
                "height": height or "all",
                "clips": len(part),
                "ours_s": spread(r["ours"] for r in part),
                "bare_s": spread(r["bare"] for r in part),
                "ours_over_bare": spread(r["ours"] / r["bare"] for r in part),
                "scripts_over_ours": spread(slow) if slow else None,
            })  # fmt: skip
    return out


STAGES = (
    ("demux", clip, "read_window"),
    ("open", clip, "select_streams"),
    ("sha256", clip, "size_and_sha256"),
    ("audio", clip, "decode_audio"),
    ("resample (of audio)", audio, "_resample"),
    ("resize and colour", jpeg.Resizer, "planes"),
    ("JPEG", stored_frames, "encode_jpeg"),
    ("signals", clip, "measure_quality"),
    ("fbank", clip, "log_mel"),
    ("write members", clip, "_members"),
    ("frames in all", clip, "decode_pictures"),
)


@contextmanager
def stopwatches() -> Iterator[dict[str, float]]:
    """Collect the CPU seconds of each stage while open, by wrapping the stage's function."""
    spent = dict.fromkeys((name for name, _, _ in STAGES), 0.0)
    kept = [(owner, name, getattr(owner, name)) for _, owner, name in STAGES]

    def wrap(stage: str, function: Any) -> Any:
        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                spent[stage] += time.thread_time() - start

        return timed

    for stage, owner, name in STAGES:
        setattr(owner, name, wrap(stage, getattr(owner, name)))
    try:
        yield spent
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)


def shares(paths: list[Path]) -> dict[str, float]:
    """Return each stage's share of CPU time; decoding is the remainder of the frames' time."""
    with stopwatches() as spent:
        total = cpu_of(lambda: [clip.extract_clip(source(p), STELLA) for p in paths])
    spent["video decode"] = spent.pop("frames in all") - spent["resize and colour"] - spent["JPEG"]
    spent["audio decode"] = spent.pop("audio") - spent["resample (of audio)"]
    spent["resample"] = spent.pop("resample (of audio)")
    spent["other"] = total - sum(spent.values())
    return {name: seconds / total for name, seconds in spent.items()}


def throughput(paths: list[Path], workers: int) -> dict[str, Any]:
    """Measure clips per second through sandboxes, and digest all members in order."""
    boxes = [Sandbox(STELLA) for _ in range(workers)]
    for box in boxes:
        box.extract(source(paths[0]))
    free = list(boxes)

    def one(path: Path) -> str:
        box = free.pop()
        try:
            members = _stored(box.extract(source(path))).members
        finally:
            free.append(box)
        return hashlib.sha256(b"".join(body for _, body in members)).hexdigest()

    start = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        digests = list(pool.map(one, paths))
    seconds = time.monotonic() - start
    for box in boxes:
        box.close()
    digest = hashlib.sha256("".join(digests).encode()).hexdigest()
    return {"clips_per_s": len(paths) / seconds, "digest": digest}


def peak_memory(path: Path) -> float:
    """Return the peak resident MiB of a process that extracts one clip."""
    code = (
        "import sys, resource; from benchmarks.extract import clip, source, STELLA, Path;"
        f"clip.extract_clip(source(Path({str(path)!r})), STELLA);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=11, help="number of real clips (default 11)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each clip; the least counts (default 3)"
    )
    parser.add_argument("--heights", default="240,360,720")
    parser.add_argument("--codecs", default="h264", help=f"of {','.join(ENCODINGS)}")
    parser.add_argument(
        "--no-scripts", action="store_true", help="skip the published scripts, which are slow"
    )
    return parser.parse_args()


def main() -> None:
    """Measure, print a report, and write benchmarks/out/extract.json."""
    if not WORKER_ENVIRONMENT.items() <= os.environ.items():
        # Measure in the worker's environment: one thread, memory kept from clip to clip.
        again = [sys.executable, "-m", "benchmarks.extract", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | WORKER_ENVIRONMENT)
    options = parse()
    clips = real_clips()[: options.clips]
    folder = Path(tempfile.mkdtemp(prefix="avstore-bench-"))
    try:
        rows = cost(clips, options, folder)
        found = summary(rows)
        paths = sorted(folder.glob("*-360-*.mp4")) or sorted(folder.glob("*.*"))
        result = {
            "rows": rows,
            "summary": found,
            "shares": shares(paths),
            "throughput": {n: throughput(paths * 3, n) for n in (1, 2)},
            "again": throughput(paths * 3, 2)["digest"],
            "peak_memory_mib": statistics.median(peak_memory(p) for p in paths[:3]),
        }
    finally:
        shutil.rmtree(folder)
    report(result)
    print(write("extract", result))


def report(result: dict[str, Any]) -> None:
    """Print the tables."""
    rows = [
        (s["codec"], s["height"], s["clips"], s["ours_s"]["median"], s["bare_s"]["median"],
         s["ours_over_bare"]["median"],
         f"{s['ours_over_bare']['min']:.2f}-{s['ours_over_bare']['max']:.2f}",
         s["scripts_over_ours"]["median"] if s["scripts_over_ours"] else "-")
        for s in result["summary"]
    ]  # fmt: skip
    header = ("codec", "height", "clips", "ours CPU-s", "bare CPU-s", "ours / bare", "spread",
              "scripts / ours")  # fmt: skip
    table("CPU seconds per clip of 10 s, medians", header, rows)
    table("Share of CPU time", ("stage", "share"), result["shares"].items())
    one, two = (result["throughput"][n] for n in (1, 2))
    same = one["digest"] == two["digest"] == result["again"]
    first, second = one["clips_per_s"], two["clips_per_s"]
    print(f"throughput: {first:.2f} clips/s with 1 worker, {second:.2f} with 2")
    print(f"speed-up: {second / first:.2f}; equal bytes in all three runs: {same}")
    print(f"peak memory of a worker: {result['peak_memory_mib']:.0f} MiB")


if __name__ == "__main__":
    main()
