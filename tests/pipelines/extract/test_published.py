"""Compare the published recipes with the programs that the released scripts run."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.recipe import Recipe, load_recipe
from avstore.pipelines.extract.records import ExtractionResult
from tests.pipelines.extract.media import ffmpeg, source
from tests.pipelines.extract.numbered import (
    RATES,
    SIDE,
    VARIABLE,
    number_of,
    numbers_of_jpegs,
    write_numbered,
)
from tests.pipelines.extract.test_clip import jpegs

REAL = (
    "AVVP-ECCV20__BjCEufrlXm4.mp4",
    "SpecVQGAN__video_00331.mp4",
    "SpecVQGAN__video_02677.mp4",
    "VGGSounder__nEmU3E8rras_000012.mp4",
    "cav-mae__KlsG1EnBEjc_000361.mp4",
    "moviepy__chaplin.mp4",
)
"""Two of them have an edit list that hides their first frames; the rates are 15.25 to 29.97."""

CASES = {
    **{name: {"rate": rate, "seconds": 10.4} for name, rate in RATES.items()},
    "short": {"rate": RATES["29.97"], "seconds": 7.3},
    **{
        f"{name}-{keyframes}{ending}": {
            **{"rate": "30", "seconds": 14 if ending == ".mkv" else 10},
            **{"select": VARIABLE[name], "keyframes": keyframes, "ending": ending},
        }
        for name, keyframes, ending in (
            *(("two-rates", 12, ".mp4"), ("pauses", 12, ".mp4"), ("pauses", 250, ".mp4")),
            *(("slower", 12, ".mp4"), ("slower", 12, ".mkv")),
            *(("random", 12, ".mp4"), ("random", 250, ".mp4"), ("random", 12, ".mkv")),
        )
    },
    "late": {"rate": "30", "seconds": 9, "before": ("-itsoffset", "0.7")},
    "stream": {"rate": "25", "seconds": 10, "ending": ".ts"},
    "program": {"rate": "25", "seconds": 10, "ending": ".mpg", "video": ("-c:v", "mpeg2video")},
    "variable-stream": {
        **{"rate": "30", "seconds": 10, "ending": ".ts"},
        **{"select": VARIABLE["random"], "keyframes": 12},
    },
    "fragmented": {
        **{"rate": "24000/1001", "seconds": 10, "keyframes": 30},
        "extra": ("-movflags", "+frag_keyframe+empty_moov"),
    },
    "avi": {
        **{"rate": "25", "seconds": 10, "ending": ".avi", "keyframes": 30},
        "extra": ("-x264-params", "bframes=3:b-pyramid=normal", "-c:a", "pcm_s16le"),
    },
    "avi-mpeg4": {
        **{"rate": "30000/1001", "seconds": 10, "ending": ".avi"},
        **{"video": ("-c:v", "mpeg4", "-bf", "2", "-q:v", "3")},
        "extra": ("-c:a", "pcm_s16le"),
    },
    "open-groups": {
        **{"rate": "25", "seconds": 10, "keyframes": 30},
        "extra": ("-x264-params", "open-gop=1:bframes=3"),
    },
    "vp9": {
        **{"rate": "30000/1001", "seconds": 10, "ending": ".webm"},
        "video": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"),
    },
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a function that writes the video of a case once."""
    folder = tmp_path_factory.mktemp("numbered")

    def write(case: str) -> Path:
        options = dict(CASES[case])
        path = folder / f"{case}{options.pop('ending', '.mp4')}"
        return path if path.exists() else write_numbered(path, **options)

    return write


def extracted(path: Path, recipe: Recipe) -> ExtractionResult:
    result = extract_clip(source(path), recipe)
    assert result.members, result.detail
    return result


def stored_numbers(result: ExtractionResult) -> list[int]:
    return numbers_of_jpegs(data for suffix, data in result.members if suffix.endswith(".jpg"))


def opencv_frames(path: Path, count: int) -> list[np.ndarray | None]:
    """Read frames by OpenCV's seeks, as STELLA and CAV-MAE do; None where it fails to."""
    video = cv2.VideoCapture(str(path))
    rate = video.get(cv2.CAP_PROP_FPS)
    total = min(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), int(rate * 10))
    frames = []
    for i in range(count):
        video.set(cv2.CAP_PROP_POS_FRAMES, int(i * (total / count)) - 1)
        found, frame = video.read()
        frames.append(frame if found else None)
    return frames


def output_rate(path: Path, folder: Path, ending: str = "jpg") -> list[np.ndarray]:
    """Return the pictures of VALOR's and AVVP's command."""
    folder.mkdir()
    ffmpeg("-i", path, "-r", "8", folder / f"%06d.{ending}")
    return [np.asarray(Image.open(file)) for file in sorted(folder.iterdir())]


def fps_filter(path: Path, width: int, height: int) -> np.ndarray:
    """Return the pictures of UAVM's command, (N, height, width, 3)."""
    graph = f"[0]fps=fps=3[s0];[s0]scale={width}:{height}[s1]"
    raw = ffmpeg(
        *("-i", path, "-filter_complex", graph, "-map", "[s1]"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:"),
    )
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize("name", ["stella_published", "cav_mae_published"])
@pytest.mark.parametrize("case", [case for case in CASES if not case.endswith("stream")])
def test_frames_are_those_that_opencv_gives(written, case, name):
    path, recipe = written(case), load_recipe(name)
    theirs = opencv_frames(path, recipe.frames.count)
    numbers = [None if frame is None else number_of(frame) for frame in theirs]
    ours = stored_numbers(extracted(path, recipe))
    assert len(set(ours)) > 5
    last = number_of(list(sequence(path))[-1])
    assert ours == [last if number is None else number for number in numbers]


@pytest.mark.parametrize("case", CASES)
def test_frames_are_those_of_the_output_option(written, tmp_path, case):
    theirs = [number_of(picture) for picture in output_rate(written(case), tmp_path / "out")]
    for name in ("valor_published", "llp_published"):
        assert stored_numbers(extracted(written(case), load_recipe(name))) == theirs


@pytest.mark.parametrize("case", CASES)
def test_frames_are_those_of_the_fps_filter(written, case):
    theirs = [number_of(picture) for picture in fps_filter(written(case), SIDE, SIDE)]
    assert stored_numbers(extracted(written(case), load_recipe("uavm_published"))) == theirs


def test_numbers_of_pictures_for_ten_seconds_and_others(written, tmp_path):
    path = write_numbered(tmp_path / "ten.mp4", "30", 10)
    result = extracted(path, load_recipe("valor_published"))
    assert stored_numbers(result)[:12] == [0, 1, 3, 7, 10, 14, 18, 22, 25, 29, 33, 37]
    assert len(result.frame_times) == 82
    for seconds, count in ((9.64, 29), (14, 42)):
        path = write_numbered(tmp_path / f"{count}.mp4", "25", seconds)
        assert len(extracted(path, load_recipe("uavm_published")).frame_times) == count


def test_a_clip_of_a_longer_video_takes_its_own_seconds(tmp_path):
    path = write_numbered(tmp_path / "long.mp4", "30", 40)
    for name, count in (("stella_published", 80), ("uavm_published", 30), ("valor_published", 82)):
        result = extract_clip(source(path, 12.0, 10.0), load_recipe(name))
        numbers = stored_numbers(result)
        assert len(numbers) == count
        assert 360 <= numbers[0] < 366
        assert numbers[-1] < 660
        assert result.duration_s == 10.0


def sequence(path: Path) -> Iterator[np.ndarray]:
    """Yield all frames in order, by OpenCV without seeks."""
    video = cv2.VideoCapture(str(path))
    while (read := video.read())[0]:
        yield read[1]


def digest(picture: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(picture)).digest()


def stored_indices(path: Path, result: ExtractionResult) -> list[int]:
    """Return the position in the video of each stored frame, by its time."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        start = max(container.start_time or 0, 0) / av.time_base
        times = [float(f.pts * video.time_base) - start for f in container.decode(video)]
    return [int(np.argmin(np.abs(np.array(times) - time))) for time in result.frame_times]


@pytest.mark.parametrize("file", REAL)
def test_opencv_on_real_clips(shared_data, file):
    import torchvision.transforms as tv

    path = shared_data / "media" / file
    every = [digest(frame) for frame in sequence(path)]
    recipe = load_recipe("cav_mae_published" if "cav-mae" in file else "stella_published")
    result = extracted(path, recipe)
    theirs = opencv_frames(path, recipe.frames.count)
    indices = stored_indices(path, result)
    assert [every[i] for i in indices] == [digest(frame) for frame in theirs]
    prepare = tv.Compose([tv.Resize(recipe.frames.size), tv.CenterCrop(recipe.frames.size)])
    prepared = [np.asarray(prepare(Image.fromarray(frame[..., ::-1]))) for frame in theirs]
    difference = np.abs(np.stack(jpegs(result)).astype(float) - np.stack(prepared))
    print(f"{file} {recipe.name}: {difference.mean():.2f} of 255 levels")
    assert difference.mean() < 5, "JPEG at quality 75 and rounding cost a few levels"


@pytest.mark.parametrize("file", REAL)
def test_ffmpeg_on_real_clips(shared_data, tmp_path, file):
    path = shared_data / "media" / file
    ffmpeg("-i", path, "-fps_mode", "passthrough", tmp_path / "%06d.bmp")
    every = [digest(np.asarray(Image.open(f))) for f in sorted(tmp_path.glob("*.bmp"))]
    for name in ("valor_published", "llp_published"):
        indices = stored_indices(path, extracted(path, load_recipe(name)))
        theirs = output_rate(path, tmp_path / name, "bmp")
        assert [every[i] for i in indices] == [digest(picture) for picture in theirs]
    result = extracted(path, load_recipe("uavm_published"))
    ours = np.stack(jpegs(result)).astype(float)
    difference = np.abs(ours - fps_filter(path, ours.shape[2], ours.shape[1])).mean(axis=(1, 2, 3))
    print(f"{file} uavm_published: {difference.max():.2f} of 255 levels")
    assert difference.max() < 5, "bilinear here, bicubic there, and JPEG at quality 95"
    ffmpeg("-i", path, "-vf", "fps=3", tmp_path / "fps-%06d.ppm")
    theirs = [digest(np.asarray(Image.open(f))) for f in sorted(tmp_path.glob("fps-*.ppm"))]
    assert [every[i] for i in stored_indices(path, result)] == theirs
