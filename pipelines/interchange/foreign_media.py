"""Read clips that others extracted: WebDataset tars and folders of frames and audio."""

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avstore.manifests.names import is_name
from avstore.manifests.store import StoreError

_AUDIO = ("flac", "wav", "mp3")
_IMAGES = ("jpg", "jpeg")
_NUMBER = re.compile(r"([0-9]+)(?!.*[0-9])")
_FRAME_FOLDER = re.compile(r"frame_([0-9]+)")


@dataclass
class ForeignItem:
    """The files of one clip.

    Attributes:
        name: Key of the tar members, or stem of the audio file.
        frames: JPEG files in order.
        audio: FLAC, WAV or MP3 file.
        fbank: The filter bank as npy.
        metadata: The json member.
    """

    name: str
    frames: list[bytes] = field(default_factory=list)
    audio: bytes | None = None
    fbank: bytes | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def own_recipe(self) -> tuple[str, str] | None:
        """Recipe and fingerprint of a clip of a store's own shard, by its json; otherwise None."""
        recipe, fingerprint = self.metadata.get("recipe"), self.metadata.get("fingerprint")
        if is_name("recipe", recipe) and is_name("fingerprint", fingerprint):
            return str(recipe), str(fingerprint)
        return None


def read_items(source: Path) -> Iterator[ForeignItem]:
    """Yield the clips of tar files or of a folder of media.

    Args:
        source: A tar file, a folder with tar files, or a folder in the layout of STELLA
            (frames/<clip>/frame_<i>.jpg), AVVP (frames/<clip>/<number>.jpg) or CAV-MAE
            (frame_<i>/<clip>.jpg), with audio/<clip>.flac, .wav or .mp3.

    Raises:
        StoreError: The source does not exist, has none of these layouts, or is a damaged tar.
    """
    if not source.exists():
        raise StoreError(f"{source} does not exist; pass a tar file or a folder")
    tars = [source] if source.is_file() else sorted(source.rglob("*.tar"))
    if tars:
        yield from read_webdataset(tars)
        return
    folders = sorted(path for path in source.rglob("audio") if path.is_dir())
    if not folders:
        raise StoreError(
            f"{source} has no .tar file and no folder 'audio' with a folder of frames beside it"
        )
    for audio in folders:
        yield from _read_folder(audio)


def read_webdataset(tars: Sequence[Path]) -> Iterator[ForeignItem]:
    """Yield the samples of tar files, in order; member names are used as keys, never as paths.

    Raises:
        StoreError: A file is not a readable tar file.
    """
    for path in tars:
        item: ForeignItem | None = None
        try:
            with tarfile.open(path, "r|*") as tar:
                for member in tar:
                    file = tar.extractfile(member) if member.isreg() else None
                    name, _, suffix = member.name.rsplit("/", 1)[-1].partition(".")
                    if file is None or not suffix:
                        continue
                    if item is None or item.name != name:
                        if item is not None:
                            yield item
                        item = ForeignItem(name)
                    _add_member(item, suffix.lower(), file.read())
        except (tarfile.TarError, EOFError, OSError) as error:
            raise StoreError(f"{path} cannot be read as a tar file: {error}") from error
        if item is not None:
            yield item


def _add_member(item: ForeignItem, suffix: str, content: bytes) -> None:
    """Store a member in its field; members of other types are ignored."""
    extension = suffix.rsplit(".", 1)[-1]
    if extension in _IMAGES:
        item.frames.append(content)
    elif extension in _AUDIO:
        item.audio = content
    elif suffix == "fbank.npy":
        item.fbank = content
    elif extension == "json":
        item.metadata.update(_json_object(content))


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _read_folder(audio: Path) -> Iterator[ForeignItem]:
    root = audio.parent
    by_number = sorted(
        (path for path in root.glob("frame_*") if _FRAME_FOLDER.fullmatch(path.name)), key=_number
    )
    for path in sorted(audio.iterdir()):
        if path.suffix.lower().lstrip(".") not in _AUDIO:
            continue
        name = path.stem
        files = [folder / f"{name}.jpg" for folder in by_number]
        if not by_number:
            files = sorted((root / "frames" / name).glob("*.jpg"), key=_number)
        frames = [file.read_bytes() for file in files if file.is_file()]
        yield ForeignItem(name, frames, path.read_bytes())


def _number(path: Path) -> tuple[int, str]:
    match = _NUMBER.search(path.stem)
    return (int(match[1]) if match else -1, path.name)
