"""Write the files of a sample to a folder; they appear whole, and those that exist are kept."""

import base64
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SamplePaths:
    """The files of a sample.

    Attributes:
        annotations: Its annotation files.
        videos: The folder of its videos.
    """

    annotations: tuple[Path, ...]
    videos: Path


@dataclass(frozen=True)
class SampleFile:
    """A video to write.

    Attributes:
        name: File name.
        write: Writes it to a path.
    """

    name: str
    write: Callable[[Path], None]


def made_up_id(digest: bytes) -> str:
    """Return an id in the form of a YouTube id, from at least nine random bytes."""
    return base64.urlsafe_b64encode(digest[:9]).decode()[:11]


def write_folder(
    folder: Path,
    videos: Sequence[SampleFile],
    lists: Mapping[str, bytes],
    modules: Sequence[str],
    progress: Progress | None = None,
) -> SamplePaths:
    """Write a sample to a folder; files that exist are kept.

    It may be killed at any time and called again: every file appears whole, the lists last.

    Args:
        folder: Where to write it.
        videos: Its videos.
        lists: Its annotation files, by name.
        modules: Files of this package that create it: other code may write other videos, so that
            a folder of another version is emptied.
        progress: Called with (videos written, videos in total).

    Raises:
        OSError: The folder cannot be written.
    """
    paths = SamplePaths(tuple(folder / name for name in lists), folder / "videos")
    paths.videos.mkdir(parents=True, exist_ok=True)
    _begin(folder, paths, modules)
    todo = [video for video in videos if not (paths.videos / video.name).is_file()]
    done = len(videos) - len(todo)
    if progress:
        progress(done, len(videos))
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for number, _ in enumerate(pool.map(lambda v: _write(v, paths.videos), todo), start=1):
            if progress:
                progress(done + number, len(videos))
    for path in paths.annotations:
        if todo or not path.is_file():
            _commit(path, lists[path.name])
    return paths


def _begin(folder: Path, paths: SamplePaths, modules: Sequence[str]) -> None:
    """Remove the sample of another version, and temporary files of a killed run."""
    here = files("avstore.datasets.sample")
    version = hashlib.sha256(b"".join(here.joinpath(m).read_bytes() for m in modules)).hexdigest()
    marker = folder / "VERSION"
    if not marker.is_file() or marker.read_text() != version:
        for path in paths.annotations:
            path.unlink(missing_ok=True)
        shutil.rmtree(paths.videos)
        paths.videos.mkdir()
        _commit(marker, version.encode())
    for temp in paths.videos.glob(".*.tmp"):
        temp.unlink()


def _commit(path: Path, data: bytes) -> None:
    temp = path.with_name(f".{path.name}.tmp")
    temp.write_bytes(data)
    _publish(temp, path)


def _publish(temp: Path, path: Path) -> None:
    """Sync a finished file to disk, then rename it."""
    with temp.open("rb+") as file:
        os.fsync(file.fileno())
    temp.replace(path)


def _write(video: SampleFile, videos: Path) -> None:
    temp = videos / f".{video.name}.tmp"
    video.write(temp)
    _publish(temp, videos / video.name)
