"""Make archives of the released layout: UAVM's audio features of a few VGGSound clips."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = "audio_feat_convnext_2"
ROWS = [
    ("a__00000001", 5, "playing banjo", "train"),
    ("-id_0000000", 30, "playing banjo", "train"),
    ("b-_00000002", 0, '"pigeon, dove cooing"', "train"),
    ("c0000000003", 120, "playing banjo", "train"),
    ("d0000000004", 7, '"pigeon, dove cooing"', "test"),
    ("e0000000005", 9, "playing banjo", "test"),
    ("f0000000006", 1, "playing banjo", "test"),
    ("g0000000007", 2, "playing banjo", "train"),
    ("h0000000008", 3, "playing banjo", "train"),
    ("i0000000009", 4, "playing banjo", "train"),
]
KEYS = [f"{video}_{start:06d}" for video, start, _, _ in ROWS]
STORED = [f"vggsound/{key}" for key in KEYS[:5]]
"""The clips whose arrays are sound in `members`."""


def value(number: int) -> NDArray[np.float32]:
    """Return a clip's array, (30, 1024) float32."""
    return np.random.default_rng(number).standard_normal((30, 1024)).astype(np.float32)


def npy(array: NDArray[Any], pickled: bool = False) -> bytes:
    """Return an array as an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def members() -> dict[str, bytes]:
    """Return the files of an archive: five sound arrays, four unreadable, two of no clip.

    The clip of KEYS[9] is missing.
    """
    files = {f"{FOLDER}/{KEYS[number]}.npy": npy(value(number)) for number in range(5)}
    files[f"{FOLDER}/{KEYS[5]}.npy"] = npy(value(5)[:29])
    files[f"{FOLDER}/{KEYS[6]}.npy"] = npy(value(6))[:5000]
    files[f"{FOLDER}/{KEYS[7]}.npy"] = npy(np.array([{"a": 1}]), pickled=True)
    spoilt = value(8)
    spoilt[3, 4] = np.nan
    files[f"{FOLDER}/{KEYS[8]}.npy"] = npy(spoilt)
    files[f"{FOLDER}/zzzzzzzzzzz_000001.npy"] = npy(value(20))
    files[f"{FOLDER}/{ROWS[0][0]}_000077.npy"] = npy(value(21))
    files[f"{FOLDER}/readme.txt"] = b"released features"
    return files


def write_list(folder: Path) -> Path:
    """Write VGGSound's annotation file of the clips."""
    path = folder / "vggsound.csv"
    path.write_text("".join(f"{a},{b},{c},{d}\n" for a, b, c, d in ROWS))
    return path


def write_zip(path: Path, files: Mapping[str, bytes], stored: bool = False) -> Path:
    """Write files as a zip, compressed or stored, with an entry of their folder."""
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(f"{FOLDER}/", b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write files as a tar, compressed if its name ends in gz."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write files as a folder."""
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path
