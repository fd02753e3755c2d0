"""How fetched bytes become a file of the store: temporary name, look, hash, sync, rename.

raw/<dataset>/<key>.<ext> is a clip; raw/<dataset>/<key>.whole.<ext> the whole video that it is to
be cut from. (A key holds no dot, so the two cannot be mistaken for one another.)
"""

import contextlib
import hashlib
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from avstore.datasets.spec import check_key
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.container import container_of
from avstore.pipelines.fetch.folder import EXTENSIONS
from avstore.pipelines.fetch.source import MediaRequest
from avstore.pipelines.fetch.taxonomy import AttemptError

_INCOMING = ".incoming"
_WHOLE = ".whole"
_HEAD = 4096


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A committed file. whole: the clip is to be cut from it. sha256, bytes: if it landed now."""

    path: Path
    whole: bool = False
    sha256: str | None = None
    bytes: int | None = None

    def offset_s(self, clip: MediaRequest) -> float:
        """Where in the file the clip starts, in seconds."""
        return (clip.start_s or 0.0) if self.whole else 0.0


class DownloadDir:
    """The folder raw/<dataset>/ and the place in it where files grow.

    Only the driver's process commits; a tool writes into a folder of its own from `scratch`.
    """

    def __init__(self, raw: Path) -> None:
        self.raw = raw
        self.incoming = raw / _INCOMING

    def prepare(self) -> None:
        """Make the folders; drop what a killed run left half fetched."""
        shutil.rmtree(self.incoming, ignore_errors=True)
        self.incoming.mkdir(parents=True)

    def scratch(self, name: str) -> Path:
        """A new empty folder for one attempt, on the file system of the store."""
        folder = self.incoming / f"{_checked(name)}.{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        return folder

    def landed(self) -> dict[str, DownloadedFile]:
        """The committed files by key; there also where a run was killed before it said so."""
        found: dict[str, DownloadedFile] = {}
        known = {f".{extension}" for extension in EXTENSIONS}
        for entry in sorted(os.scandir(self.raw), key=lambda entry: entry.name):
            path = Path(entry.path)
            if path.suffix in known and entry.is_file():
                whole = path.stem.endswith(_WHOLE)
                found[path.stem.removesuffix(_WHOLE)] = DownloadedFile(path, whole)
        return found

    def land(self, key: str, temp: Path, whole: bool = False) -> DownloadedFile:
        """Commit a finished download. Raises AttemptError where it is no media container."""
        digest, size, head = hashlib.sha256(), 0, b""
        with temp.open("rb") as file:
            while block := file.read(1 << 20):
                head = head or block[:_HEAD]
                digest.update(block)
                size += len(block)
            container = container_of(head)
            if container is None:
                raise AttemptError(Verdict.UNKNOWN, f"not a video but {describe(head)}")
            os.fsync(file.fileno())
        extension = temp.suffix.lower().lstrip(".")
        extension = extension if extension in EXTENSIONS else container
        target = self.raw / f"{_checked(key)}{_WHOLE if whole else ''}.{extension}"
        temp.replace(target)
        sync_folder(self.raw)
        return DownloadedFile(target, whole, digest.hexdigest(), size)

    def share(self, landed: DownloadedFile, key: str) -> DownloadedFile:
        """The same bytes under the name of another clip, without a copy where that is possible."""
        name = landed.path.name
        target = self.raw / (_checked(key) + name[name.index(".") :])
        target.unlink(missing_ok=True)
        try:
            os.link(landed.path, target)
        except OSError:
            temp = self.scratch(key) / target.name
            shutil.copyfile(landed.path, temp)
            temp.replace(target)
            with contextlib.suppress(OSError):
                temp.parent.rmdir()
        sync_folder(self.raw)
        return DownloadedFile(target, landed.whole, landed.sha256, landed.bytes)


def describe(head: bytes) -> str:
    """What the first bytes look like, in words, for a person."""
    if not head:
        return "an empty file"
    text = head[:200].decode("utf-8", "replace").strip()
    if text[:1] in ("<", "{", "#") or text.isprintable():
        return f"text: {' '.join(text.split())[:120]!r}"
    return f"unknown bytes: {head[:16].hex(' ')}"


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _checked(key: str) -> str:
    if reason := check_key(key):
        raise ValueError(reason)
    return key
