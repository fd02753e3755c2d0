"""Test damaged files: the run neither crashes nor hangs, and stored frames are correct.

The reference for a stored clip is a full decode of the damaged file by PyAV alone.
"""

import random
from bisect import bisect_right
from fractions import Fraction

import av
import pytest
from av.container import Flags

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.coded_order import mark_coded_order
from avstore.pipelines.extract.jpeg import Resizer, encode_jpeg
from avstore.pipelines.extract.recipe import load_recipe, parse_recipe
from avstore.pipelines.extract.sandbox import Sandbox
from tests.faults.mutations import boxes, mutate
from tests.pipelines.extract.media import ffmpeg, source, worker_cpu_s

SECONDS, COUNT = 1.0, 8
CUTS = {
    "a.mp4": ("-c:v", "libx264", "-bf", "3", "-g", "12", "-c:a", "aac", "-movflags", "faststart"),
    "b.mp4": ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"),
    "c.webm": ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-c:a", "libopus"),
    "d.mkv": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error",
              "-c:a", "libvorbis"),
    "e.ts": ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-c:a", "aac"),
    "f.avi": ("-c:v", "mpeg4", "-bf", "2", "-c:a", "libmp3lame"),
}  # fmt: skip


def small_recipe():
    settings = load_recipe("stella").model_dump() | {"name": "fuzz", "duration_s": SECONDS}
    settings["frames"] |= {"count": COUNT, "size": 32}
    return parse_recipe(settings)


@pytest.fixture(scope="module")
def real(shared_data, tmp_path_factory) -> dict[str, bytes]:
    """Return cuts of real clips, re-encoded small, and small real files unchanged."""
    folder = tmp_path_factory.mktemp("cuts")
    media = shared_data / "media"
    clips = sorted(media.glob("SpecVQGAN__*.mp4"))
    files = {}
    for clip, (name, arguments) in zip(clips, CUTS.items(), strict=False):
        path = folder / name
        ffmpeg("-ss", "2", "-i", clip, "-t", "1.2", "-vf", "scale=128:-2", *arguments, path)
        files[name] = path.read_bytes()
    for name in ("libwebm__bbb_480p_vp9_opus_1second.webm", "imageio-binaries__realshort.mp4"):
        files[name] = (media / name).read_bytes()
    assert len(files) == len(CUTS) + 2
    return files


def expected(path, recipe) -> tuple[list[float], list[bytes]]:
    """Return frame times and JPEGs by decoding everything and selecting by time.

    Times in coded order belong to the pictures in the order in which they come.
    """
    frames = {}
    with av.open(str(path), metadata_errors="ignore", options={"threads": "1"}) as container:
        start = Fraction(max(container.start_time or 0, 0), av.time_base)
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        container.flags &= ~Flags.gen_pts.value
        packets = list(container.demux(stream))
        real = [p for p in packets if p.size]
        by_order = mark_coded_order(stream, real)
        shown = []
        for packet in packets:
            try:
                shown += [f for f in packet.decode() if f.pts is not None]
            except av.FFmpegError:
                continue
        ticks = [frame.pts for frame in shown]
        for time, frame in zip(sorted(ticks) if by_order else ticks, shown, strict=True):
            frames.setdefault(time, frame)
        aspect, base = stream.codec_context.sample_aspect_ratio, stream.time_base
    times = sorted(frames)
    wanted = [start + i * Fraction(SECONDS) / COUNT for i in range(COUNT)]
    picked = [times[max(bisect_right(times, t / base) - 1, 0)] for t in wanted]
    resizer = Resizer(recipe.frames, aspect)
    jpegs = {t: encode_jpeg(resizer.planes(frames[t]), recipe.frames.quality) for t in set(picked)}
    return [float(t * base - start) for t in picked], [jpegs[t] for t in picked]


def run(files, recipe, folder, cases) -> dict[str, int]:
    """Extract each damaged file, check what is stored, and count the verdicts."""
    tally: dict[str, int] = {}
    path = folder / "damaged.mp4"
    with Sandbox(recipe, timeout_s=120, memory_bytes=2 << 30) as sandbox:
        for label, data in cases:
            path.write_bytes(data)
            before = worker_cpu_s(sandbox)
            result = sandbox.extract(source(path, 0.0, SECONDS))
            assert worker_cpu_s(sandbox) - before < 15, f"{label} takes too long"
            name = str(result.verdict or "stored")
            tally[name] = tally.get(name, 0) + 1
            if not result.members:
                assert result.verdict is not None
                assert result.detail
                continue
            jpegs = [body for suffix, body in result.members if suffix.endswith(".jpg")]
            times, theirs = expected(path, recipe)
            assert list(result.frame_times) == pytest.approx(times), label
            assert jpegs == theirs, label
    return tally


def cases_of(files: dict[str, bytes], count: int, seed: int):
    chance = random.Random(seed)
    names = sorted(files)
    for i in range(count):
        name, other = names[i % len(names)], chance.choice(names)
        yield f"seed {seed}, mutation {i} of {name}", mutate(files[name], files[other], chance)


def truncations(files: dict[str, bytes]):
    for name, data in files.items():
        for at in boxes(data):
            for end in (at, at + 4, at + 8, at + 9):
                yield f"{name} cut at {end}", data[:end]


def test_whole_files_are_stored(real, tmp_path):
    whole = [(name, data) for name, data in real.items()]
    tally = run(real, small_recipe(), tmp_path, whole)
    assert tally == {"stored": len(real) - 1, "silent": 1}


def test_some_mutations(real, tmp_path):
    tally = run(real, small_recipe(), tmp_path, cases_of(real, 120, seed=1))
    assert sum(tally.values()) == 120
    assert Verdict.CRASHED_DECODER not in tally


@pytest.mark.slow
def test_truncation_at_every_box(real, tmp_path):
    cases = list(truncations(real))
    tally = run(real, small_recipe(), tmp_path, cases)
    assert sum(tally.values()) == len(cases) > 200
    assert Verdict.CRASHED_DECODER not in tally


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_two_thousand_mutations(real, tmp_path, seed):
    tally = run(real, small_recipe(), tmp_path, cases_of(real, 500, seed))
    assert sum(tally.values()) == 500
    assert Verdict.CRASHED_DECODER not in tally
