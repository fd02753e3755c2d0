"""How fetched bytes become a file of the store: temporary name, look, hash, sync, rename."""

import hashlib
import os
import shutil
import uuid
from pathlib import Path

from av_datasets.spec import check_key
from manifests.verdicts import Verdict
from pipelines.fetch.attempt import AttemptError
from pipelines.fetch.container import container_of
from pipelines.fetch.folder import EXTENSIONS

_INCOMING = ".incoming"
_HEAD = 4096


class Landing:
    """The folder raw/<dataset>/ and the place beside it where files grow.

    Only the driver commits; a tool writes into a folder of its own from `scratch`.
    """

    def __init__(self, raw: Path) -> None:
        self.raw = raw
        self.incoming = raw / _INCOMING

    def prepare(self) -> None:
        """Make the folders; drop what a killed run left half fetched."""
        shutil.rmtree(self.incoming, ignore_errors=True)
        self.incoming.mkdir(parents=True)

    def scratch(self, key: str) -> Path:
        """A new empty folder for one attempt, on the file system of the store."""
        folder = self.incoming / f"{_checked(key)}.{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        return folder

    def landed(self) -> dict[str, Path]:
        """The committed files by key; there also where a run was killed before it said so."""
        known = {f".{extension}" for extension in EXTENSIONS}
        files = (Path(entry.path) for entry in os.scandir(self.raw) if entry.is_file())
        return {path.stem: path for path in sorted(files) if path.suffix in known}

    def land(self, key: str, temp: Path) -> tuple[Path, str]:
        """Commit a finished download; its final path and sha256.

        Raises AttemptError where the bytes are no media container.
        """
        with temp.open("rb") as file:
            head = file.read(_HEAD)
        container = container_of(head)
        if container is None:
            raise AttemptError(Verdict.UNKNOWN, f"not a video but {describe(head)}")
        digest = hashlib.sha256()
        with temp.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
            os.fsync(file.fileno())
        extension = temp.suffix.lower().lstrip(".")
        target = self.raw / f"{_checked(key)}.{extension if extension in EXTENSIONS else container}"
        temp.replace(target)
        sync_folder(self.raw)
        return target, digest.hexdigest()


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
