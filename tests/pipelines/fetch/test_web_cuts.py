"""Fetch only a clip's seconds of long videos, cut at the requested times."""

import subprocess
from dataclasses import replace
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from tests.pipelines.fetch.clips import fetch_urls, make_request
from tests.servers.media_server import MediaServer

FPS, START, SECONDS = 25, 17.2, 10.0


@pytest.fixture(scope="module")
def long_videos(tmp_path_factory) -> Path:
    """Return a folder of 30 s videos with key frames every 5 s.

    Each frame shows its number in black and white bars; a click sounds at each full second.
    """
    folder = tmp_path_factory.mktemp("long")
    bars = "if(gt(mod(floor(N/pow(2,floor(X/8))),2),0),235,16)"
    inputs = [
        *("-f", "lavfi", "-i", f"nullsrc=s=96x32:r={FPS}:d=30,geq=lum='{bars}':cb=128:cr=128"),
        *(
            "-f",
            "lavfi",
            "-i",
            "aevalsrc='if(lt(mod(t,1),0.02),0.8*sin(2000*PI*t),0)':s=48000:d=30",
        ),
    ]
    x264 = ["-c:v", "libx264", "-bf", "2", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    vp9 = ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-c:a", "libopus"]
    vp8 = ["-c:v", "libvpx", "-c:a", "libvorbis"]
    for name, codecs in (("h264.mp4", x264), ("vp9.webm", vp9), ("vp8.webm", vp8)):
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *inputs, *codecs, "-g", "125"]
        subprocess.run([*command, str(folder / name)], check=True)
    return folder


@pytest.mark.parametrize("name", ["h264.mp4", "vp9.webm", "vp8.webm"])
def test_only_the_clips_seconds_are_fetched_cut_at_the_requested_times(
    long_videos: Path, tmp_path: Path, name: str
) -> None:
    with MediaServer(long_videos) as server:
        wanted = replace(make_request("a", url=f"{server.url}/ok/{name}"), start_s=START,
                         end_s=START + SECONDS)  # fmt: skip
        (row,) = fetch_urls(tmp_path, [wanted])
    assert (row.status, row.offset_s) == ("stored", 0.0), row.message
    numbers, times = frame_numbers(Path(row.path))
    assert times[0] == pytest.approx(0.0, abs=1 / FPS)
    shown = {n: t for n, t in zip(numbers, times, strict=True) if t < SECONDS}
    for number, at in shown.items():
        assert number / FPS == pytest.approx(START + at, abs=1.01 / FPS)
    assert len(shown) == pytest.approx(SECONDS * FPS, abs=1)
    assert max(times) < SECONDS + 1.0, "not the whole video"
    clicks = click_times(Path(row.path))
    assert len(clicks) >= 9
    for click in clicks:
        assert (START + click) % 1 == pytest.approx(0.0, abs=0.03) or (
            START + click
        ) % 1 == pytest.approx(1.0, abs=0.03)


def frame_numbers(path: Path) -> tuple[list[int], list[float]]:
    numbers, times = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            grey = frame.to_ndarray(format="gray")
            numbers.append(sum(1 << bit for bit in range(12) if grey[16, bit * 8 + 4] > 128))
            times.append(frame.time)
    return numbers, times


def click_times(path: Path) -> list[float]:
    """Return the times at which sound begins after silence, in seconds."""
    with av.open(str(path)) as container:
        frames = [
            (f.time, f.to_ndarray().mean(0), f.sample_rate) for f in container.decode(audio=0)
        ]
    found: list[float] = []
    for at, samples, rate in frames:
        for index in np.flatnonzero(np.abs(samples) > 0.2):
            second = at + index / rate
            if not found or second - found[-1] > 0.5:
                found.append(second)
    return found


def test_separate_video_and_audio_streams_are_fetched_together(
    long_videos: Path, tmp_path: Path
) -> None:
    """Fetch HLS, which serves video and audio separately, as YouTube does."""
    ffmpeg, served = imageio_ffmpeg.get_ffmpeg_exe(), tmp_path / "hls"
    served.mkdir()
    command = [
        *(ffmpeg, "-v", "error", "-i", str(long_videos / "h264.mp4"), "-map", "0:v", "-map", "0:a"),
        *("-c", "copy", "-f", "hls", "-hls_time", "5", "-hls_playlist_type", "vod"),
        *("-var_stream_map", "v:0,agroup:a a:0,agroup:a", "-master_pl_name", "all.m3u8"),
        str(served / "s%v.m3u8"),
    ]
    subprocess.run(command, check=True, cwd=served)
    with MediaServer(served) as server:
        wanted = replace(make_request("a", url=f"{server.url}/ok/all.m3u8"), start_s=START,
                         end_s=START + SECONDS)  # fmt: skip
        rows = fetch_urls(tmp_path, [wanted])
    assert rows[-1].status == "stored", rows[-1].message
    numbers, times = frame_numbers(Path(rows[-1].path))
    assert numbers[0] / FPS == pytest.approx(START + times[0], abs=1.5 / FPS)
    assert click_times(Path(rows[-1].path))
