"""Commit downloads to the store: temporary file, container check, hash, sync, rename.

raw/<dataset>/<key>.<ext> is a clip; raw/<dataset>/<key>.whole.<ext> is the whole video from which
the clip is still to be cut. A key contains no dot, so the two names cannot be confused.
"""

import contextlib
import hashlib
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from avstore.manifests.names import check_name
from avstore.manifests.store import sync_folder
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.containers import EXTENSIONS, detect_container
from avstore.pipelines.fetch.error_classification import AttemptError
from avstore.pipelines.fetch.source import MediaRequest

_INCOMING = ".incoming"
_WHOLE = ".whole"
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A committed file.

    Attributes:
        path: The file.
        whole: Whether it is the whole video, from which the clip is to be cut.
        sha256: Its hash, hex; None for a file that an earlier run committed.
        bytes: Its size; None for a file that an earlier run committed.
    """

    path: Path
    whole: bool = False
    sha256: str | None = None
    bytes: int | None = None

    def offset_s(self, request: MediaRequest) -> float:
        """Return where in the file the clip starts, in seconds."""
        return (request.start_s or 0.0) if self.whole else 0.0


class DownloadDir:
    """The folder raw/<dataset>/ and its sub-folder for unfinished downloads.

    Only the driver's process commits files; each attempt writes into its own `scratch` folder.
    All its paths are absolute: yt-dlp processes change their current folder.
    """

    def __init__(self, raw: Path) -> None:
        self.raw = raw.absolute()
        self.incoming = self.raw / _INCOMING

    def prepare(self) -> None:
        """Create the folders and delete the unfinished downloads of a killed run."""
        shutil.rmtree(self.incoming, ignore_errors=True)
        self.incoming.mkdir(parents=True)

    def scratch(self, name: str) -> Path:
        """Create an empty folder for one attempt, on the file system of the store."""
        folder = self.incoming / f"{_checked(name)}.{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        return folder

    def committed(self) -> dict[str, DownloadedFile]:
        """Return the committed files by key, also those that a killed run did not record."""
        files: dict[str, DownloadedFile] = {}
        suffixes = {f".{extension}" for extension in EXTENSIONS}
        for entry in sorted(os.scandir(self.raw), key=lambda entry: entry.name):
            path = Path(entry.path)
            if path.suffix in suffixes and entry.is_file():
                whole = path.stem.endswith(_WHOLE)
                files[path.stem.removesuffix(_WHOLE)] = DownloadedFile(path, whole)
        return files

    def commit(self, key: str, temp: Path, whole: bool = False) -> DownloadedFile:
        """Move a finished download to its final name.

        Args:
            key: The clip's key.
            temp: The download, in a `scratch` folder.
            whole: Whether it is the whole video, from which the clip is to be cut.

        Raises:
            AttemptError: The file is no media container.
        """
        digest, size, head = hashlib.sha256(), 0, b""
        with temp.open("rb") as file:
            while block := file.read(1 << 20):
                head = head or block[:_HEAD_BYTES]
                digest.update(block)
                size += len(block)
            container = detect_container(head)
            if container is None:
                raise AttemptError(
                    Verdict.UNKNOWN, f"the download is not a video but {describe_bytes(head)}"
                )
            os.fsync(file.fileno())
        extension = temp.suffix.lower().lstrip(".")
        extension = extension if extension in EXTENSIONS else container
        target = self.raw / f"{_checked(key)}{_WHOLE if whole else ''}.{extension}"
        temp.replace(target)
        sync_folder(self.raw)
        return DownloadedFile(target, whole, digest.hexdigest(), size)

    def link(self, file: DownloadedFile, key: str) -> DownloadedFile:
        """Store a committed file under another clip's key: a hard link, or a copy."""
        name = file.path.name
        target = self.raw / (_checked(key) + name[name.index(".") :])
        target.unlink(missing_ok=True)
        try:
            os.link(file.path, target)
        except OSError:
            temp = self.scratch(key) / target.name
            shutil.copyfile(file.path, temp)
            temp.replace(target)
            with contextlib.suppress(OSError):
                temp.parent.rmdir()
        sync_folder(self.raw)
        return DownloadedFile(target, file.whole, file.sha256, file.bytes)


def describe_bytes(head: bytes) -> str:
    """Describe the first bytes of a file that is no media, for an error message."""
    if not head:
        return "an empty file"
    text = head[:200].decode("utf-8", "replace").strip()
    if text[:1] in ("<", "{", "#") or text.isprintable():
        return f"text: {' '.join(text.split())[:120]!r}"
    return f"unknown bytes: {head[:16].hex(' ')}"


def _checked(key: str) -> str:
    return check_name("key", key)
