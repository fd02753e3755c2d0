"""What others have extracted already: WebDataset tars and folders of frames and audio."""

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avstore.manifests.store import StoreError

_AUDIO = ("flac", "wav", "mp3")
_PICTURES = ("jpg", "jpeg")
_NUMBER = re.compile(r"([0-9]+)(?!.*[0-9])")
_FRAME_FOLDER = re.compile(r"frame_([0-9]+)")


@dataclass
class Item:
    """One clip as found. name: of its files; frames: JPEGs in order; about: its json member."""

    name: str
    frames: list[bytes] = field(default_factory=list)
    audio: bytes | None = None
    fbank: bytes | None = None
    about: dict[str, Any] = field(default_factory=dict)


def read_items(source: Path) -> Iterator[Item]:
    """The clips at `source`: tar files (one, or all below a folder), else a folder in the layout of
    STELLA (frames/<clip>/frame_<i>.jpg), AVVP (frames/<clip>/<number>.jpg) or CAV-MAE
    (frame_<i>/<clip>.jpg), with audio/<clip>.flac, .wav or .mp3. Raises StoreError.
    """
    if not source.exists():
        raise StoreError(f"{source} does not exist; name a tar file or a folder")
    tars = [source] if source.is_file() else sorted(source.rglob("*.tar"))
    if tars:
        yield from read_webdataset(tars)
        return
    folders = sorted(path for path in source.rglob("audio") if path.is_dir())
    if not folders:
        raise StoreError(
            f"{source} holds no .tar file and no folder 'audio' with a folder of frames beside it"
        )
    for audio in folders:
        yield from _read_folder(audio)


def read_webdataset(tars: Sequence[Path]) -> Iterator[Item]:
    """Samples of tar files, in their order. Member names are keys here, never paths."""
    for path in tars:
        item: Item | None = None
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
                        item = Item(name)
                    _take(item, suffix.lower(), file.read())
        except (tarfile.TarError, EOFError, OSError) as error:
            raise StoreError(f"{path} cannot be read as a tar file: {error}") from error
        if item is not None:
            yield item


def _take(item: Item, suffix: str, content: bytes) -> None:
    """Put a member where it belongs; what is of no use here is passed over."""
    last = suffix.rsplit(".", 1)[-1]
    if last in _PICTURES:
        item.frames.append(content)
    elif last in _AUDIO:
        item.audio = content
    elif suffix == "fbank.npy":
        item.fbank = content
    elif last == "json":
        item.about.update(_object(content))


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read_folder(audio: Path) -> Iterator[Item]:
    root = audio.parent
    by_number = sorted(
        (path for path in root.glob("frame_*") if _FRAME_FOLDER.fullmatch(path.name)), key=_number
    )
    for path in sorted(audio.iterdir()):
        if path.suffix.lower().lstrip(".") not in _AUDIO:
            continue
        name = path.stem
        pictures = [folder / f"{name}.jpg" for folder in by_number]
        if not by_number:
            pictures = sorted((root / "frames" / name).glob("*.jpg"), key=_number)
        frames = [picture.read_bytes() for picture in pictures if picture.is_file()]
        yield Item(name, frames, path.read_bytes())


def _number(path: Path) -> tuple[int, str]:
    found = _NUMBER.search(path.stem)
    return (int(found[1]) if found else -1, path.name)
