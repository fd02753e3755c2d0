"""Media is opened in one place: the code is searched for calls that open it elsewhere."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPO

FOLDERS = ("av_datasets", "manifests", "pipelines", "train")
FILES = sorted(path for folder in FOLDERS for path in (REPO / folder).rglob("*.py"))
# Packages that open media by FFmpeg, or by a parser of their own.
_PACKAGES = {
    "aifc", "audioread", "cv2", "decord", "ffmpeg", "imageio", "imageio_ffmpeg", "librosa",
    "moviepy", "pydub", "soundfile", "sunau", "torchcodec", "wave",
}  # fmt: skip
_CALLS = {
    "av.open", "av.container.open", "av.CodecContext.create", "av.codec.CodecContext.create",
    "Image.open", "PIL.Image.open", "torchaudio.load", "torchaudio.info", "torchaudio.io",
    "torchvision.io.read_video", "torchvision.io.VideoReader", "scipy.io.wavfile.read",
}  # fmt: skip
_OPENER = "manifests/guarded_media.py"
# Where a package is used: decord after the check of open_media, a decoder that is given no data,
# the program for yt-dlp.
ALLOWED = {
    (_OPENER, "av.open"),
    (_OPENER, "av.CodecContext.create"),
    ("pipelines/extract/decord_frames.py", "decord"),
    ("pipelines/extract/nvdec.py", "av.CodecContext.create"),
    ("pipelines/fetch/ytdlp.py", "imageio_ffmpeg"),
}


def _writes(call: ast.Call) -> bool:
    mode = [*call.args[1:2], *(word.value for word in call.keywords if word.arg == "mode")]
    return any(isinstance(value, ast.Constant) and value.value == "w" for value in mode)


def _opened(source: str) -> Iterator[str]:
    """Yield the names by which media is opened for reading."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names):
                yield from (n.name for n in names if n.name.split(".")[0] in _PACKAGES)
            case ast.ImportFrom(str() as module, names):
                full = {f"{module}.{alias.name}" for alias in names}
                if module.split(".")[0] in _PACKAGES:
                    yield module
                yield from full & _CALLS
            case ast.Call(func):
                name = ast.unparse(func)
                formats = {word.arg for word in node.keywords}
                if name in _CALLS and not _writes(node):
                    if name.endswith("Image.open") and "formats" in formats:
                        continue
                    yield name


def test_media_is_opened_in_one_place() -> None:
    found = {(str(p.relative_to(REPO)), name) for p in FILES for name in _opened(p.read_text())}
    assert found - ALLOWED == set(), f"open it by {_OPENER}"
    assert ALLOWED - found == set(), "no longer in the code"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import av\nav.open(path)", ["av.open"]),
        ("import av\nav.open(path, 'r')", ["av.open"]),
        ("av.open(buffer, 'w', format='flac')", []),
        ("av.open(buffer, mode='w')", []),
        ("from av import open", ["av.open"]),
        (
            "from av import CodecContext\nav.CodecContext.create('exr', 'r')",
            ["av.CodecContext.create"],
        ),
        ("import soundfile as sf", ["soundfile"]),
        ("from decord import VideoReader", ["decord"]),
        ("from torchaudio import load", ["torchaudio.load"]),
        ("torchaudio.load(path)", ["torchaudio.load"]),
        ("Image.open(file)", ["Image.open"]),
        ("Image.open(file, formats=('PNG',))", []),
    ],
)
def test_calls_are_found(code: str, found: list[str]) -> None:
    assert list(_opened(code)) == found


def test_only_extraction_and_its_worker_open_foreign_media() -> None:
    users = {
        str(path.relative_to(REPO)) for path in FILES if "open_foreign(" in Path(path).read_text()
    }
    assert users == {
        _OPENER,
        "pipelines/extract/open_media.py",
        "pipelines/extract/foreign_audio.py",
    }


def test_only_the_worker_decodes_clips_and_foreign_audio() -> None:
    for name in ("extract_clip(", "decode_foreign_audio("):
        users = {str(path.relative_to(REPO)) for path in FILES if name in path.read_text()}
        defined = {"extract_clip(": "clip.py", "decode_foreign_audio(": "foreign_audio.py"}[name]
        assert users == {f"pipelines/extract/{defined}", "pipelines/extract/worker.py"}
