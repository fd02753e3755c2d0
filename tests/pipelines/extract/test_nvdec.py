"""Test decoding on a GPU: equal members where there is one, and one clear error where not."""

import pytest

from avstore.pipelines.extract.nvdec import gpu_problem
from avstore.pipelines.extract.recipe import RecipeError, load_recipe, parse_recipe
from avstore.pipelines.extract.sandbox import Sandbox
from tests.pipelines.extract.media import make_clip, source

STELLA = load_recipe("stella")
NVDEC = parse_recipe(STELLA.model_dump() | {"decoder": "nvdec"})
without_gpu = pytest.mark.skipif(gpu_problem() is None, reason="a GPU is at hand")
with_gpu = pytest.mark.skipif(gpu_problem() is not None, reason="needs an NVIDIA GPU")


@without_gpu
def test_a_missing_gpu_is_an_error():
    with pytest.raises(RecipeError, match=r"needs an NVIDIA GPU with its driver, .* 'pyav'"):
        Sandbox(NVDEC)


@with_gpu
@pytest.mark.parametrize(
    ("name", "video"),
    [
        ("a.mp4", ("-c:v", "libx264", "-preset", "veryfast")),
        ("a.mkv", ("-c:v", "libx265", "-preset", "veryfast")),
        ("a.webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")),
        ("a.avi", ("-c:v", "mpeg4")),
        ("b.mkv", ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv444p")),
    ],
)
def test_members_are_those_of_the_cpu(tmp_path, name, video):
    audio = ("-c:a", "libopus") if name.endswith("webm") else ("-c:a", "aac")
    path = make_clip(tmp_path / name, seconds=12.0, video=video, audio=audio)
    with Sandbox(STELLA) as cpu, Sandbox(NVDEC) as gpu:
        for offset in (0.0, 1.3):
            ours, theirs = (box.extract(source(path, offset)) for box in (cpu, gpu))
            assert theirs.verdict is None, theirs.detail
            assert theirs.members == ours.members
