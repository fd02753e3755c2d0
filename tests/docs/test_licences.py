"""What docs/licences.md states of the installed wheels is so."""

import ctypes
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import imageio_ffmpeg
import pytest
from av import _core

from tests.docs.pages import DOCS

PAGE = (DOCS / "licences.md").read_text()


def library(package: str, start: str) -> ctypes.CDLL:
    """Load a shared library that a wheel carries."""
    found = [file for file in files(package) or [] if Path(file).name.startswith(start)]
    return ctypes.CDLL(str(found[0].locate()))


def licence_of(package: str) -> str:
    """Return the licence that a wheel's FFmpeg reports for itself."""
    function = library(package, "libavutil").avutil_license
    function.restype = ctypes.c_char_p
    return str(function().decode())


def test_pyav() -> None:
    meta = _core.library_meta["libavcodec"]
    assert meta["license"] == "LGPL version 3 or later"
    assert "--enable-libx264 --enable-libx265" in meta["configuration"]
    assert "PyAV (`av`)" in PAGE
    assert meta["license"] in PAGE


def test_imageio_ffmpeg() -> None:
    program = imageio_ffmpeg.get_ffmpeg_exe()
    text = subprocess.run([program, "-L"], check=True, capture_output=True, text=True).stdout
    assert "GNU General Public License" in text
    assert "either version 3 of the License" in text
    assert "GPL version 3 or later" in PAGE


@pytest.mark.skipif(sys.platform != "linux", reason="decord is installed on Linux only")
def test_decord() -> None:
    code = "from tests.docs.test_licences import licence_of; print(licence_of('decord'))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "nonfree and unredistributable"
    assert "nonfree and unredistributable" in PAGE
