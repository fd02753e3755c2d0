"""Measure the import of a released feature archive beside a copy of the archive's members.

    python -m benchmarks.features_import --gb 2
    python -m benchmarks.features_import --gb 2 --deflate
    python -m benchmarks.features_import --gb 20 --sparse --rounds 1

The copy reads every member with zipfile and writes it to one file, flushed to the disk at the end.
The import also hashes the archive and the shards, checks every array, matches it to its clip, and
writes sidecars and the manifest; the list of clips is in the store before. Each runs in a process
of its own, in turns. `--sparse` makes an archive of zeros that takes little room on the disk; what
is written takes all of its size.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import seconds, spread, table, write

SHAPE = (30, 1024)
_WORKS = ("copy", "import")
_KEPT_BYTES = 4096


class SparseFile(io.FileIO):
    """A new file in which zeros after the first 4 KiB of a long write are left out as a hole."""

    def write(self, data: Any) -> int:
        """Write all of the data."""
        kept = len(data) if bytes(data[_KEPT_BYTES:]).strip(b"\0") else min(len(data), _KEPT_BYTES)
        super().write(data[:kept])
        self.seek(len(data) - kept, io.SEEK_CUR)
        return len(data)


def make_archive(folder: Path, gigabytes: float, deflate: bool, sparse: bool = False) -> int:
    """Write an archive of UAVM's layout and its list of clips; return the number of members."""
    count = max(1, int(gigabytes * 1e9 / (4 * SHAPE[0] * SHAPE[1])))
    method = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    values = np.random.default_rng(0).standard_normal((64, *SHAPE)).astype(np.float32)
    if sparse:
        values[:] = 0
    with (
        (SparseFile if sparse else io.FileIO)(folder / "a_feat.zip", "w+") as file,
        zipfile.ZipFile(file, "w", method) as archive,
        (folder / "vggsound.csv").open("w") as listed,
    ):
        for number in range(count):
            value = values[number % len(values)]
            value[0, 0] = number  # no two arrays are equal
            buffer = io.BytesIO()
            np.save(buffer, value)
            name = f"{number:011d}_{number % 300:06d}"
            archive.writestr(f"audio_feat_convnext_2/{name}.npy", buffer.getvalue())
            split = "test" if number % 13 == 0 else "train"
            listed.write(f"{number:011d},{number % 300},playing banjo,{split}\n")
    return count


def copy_members(folder: Path) -> None:
    """Write every member of the archive to one file."""
    with zipfile.ZipFile(folder / "a_feat.zip") as archive, (folder / "copy").open("wb") as out:
        for entry in archive.infolist():
            out.write(archive.read(entry))
        out.flush()
        os.fsync(out.fileno())


def import_archive(folder: Path) -> None:
    """Import the archive into a store that has the list of clips."""
    from avstore.datasets.registry import get
    from avstore.manifests.store import Store
    from avstore.pipelines.interchange.feature_importer import (
        FeatureImportOptions,
        import_feature,
    )

    options = FeatureImportOptions("convnext-audio", [str(folder / "a_feat.zip")])
    import_feature(Store(folder / "store"), get("vggsound"), options)


def make_store(folder: Path) -> None:
    """Make a store of the list of clips alone."""
    from avstore.datasets.registry import get
    from avstore.manifests.catalogue import open_write
    from avstore.manifests.lock import writing
    from avstore.manifests.store import Store
    from avstore.pipelines.build.annotations import ensure_annotations

    store = Store(folder / "store")
    store.root.mkdir()
    with writing(store), open_write(store) as writer:
        ensure_annotations(writer.con, store, get("vggsound"), [folder / "vggsound.csv"])
        writer.publish()


def measure(folder: Path, work: str, cold: bool) -> dict[str, float]:
    """Run one of the works in a process of its own; return its seconds and peak memory in MB."""
    shutil.rmtree(folder / "store", ignore_errors=True)
    (folder / "copy").unlink(missing_ok=True)
    make_store(folder)
    os.sync()
    if cold:
        with (folder / "a_feat.zip").open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, "-m", "benchmarks.features_import", "--work", work, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _work(work: str, folder: Path) -> None:
    import avstore.pipelines.interchange.feature_importer  # noqa: F401 -- not a part of the time

    run = {"copy": copy_members, "import": import_archive}[work]
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak, which began as the parent's
    before = _memory_mb("VmRSS")
    cpu = time.process_time()
    took = seconds(lambda: run(folder))
    cpu = time.process_time() - cpu
    peak = _memory_mb("VmHWM")
    print(json.dumps({"seconds": took, "cpu_s": cpu, "peak_mb": peak, "growth_mb": peak - before}))


def _memory_mb(field: str) -> float:
    """Return the present (VmRSS) or largest (VmHWM) memory of this process, as Linux states it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) / 1024 for x in lines if x.startswith(f"{field}:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=2.0, help="size of the made archive")
    parser.add_argument("--deflate", action="store_true", help="compress it")
    parser.add_argument("--sparse", action="store_true", help="make it of zeros, in holes")
    parser.add_argument("--cold", action="store_true", help="drop it from the page cache first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to make it (default: a temporary one)")
    parser.add_argument("--work", choices=_WORKS, help=argparse.SUPPRESS)
    parser.add_argument("place", type=Path, nargs="?", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        _work(args.work, args.place)
        return
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="features-import-") as name:
        folder = Path(name)
        count = make_archive(folder, args.gb, args.deflate, args.sparse)
        rounds = [
            {work: measure(folder, work, args.cold) for work in _WORKS} for _ in range(args.rounds)
        ]
    gigabytes = count * 4 * SHAPE[0] * SHAPE[1] / 1e9
    result = {
        "gigabytes": gigabytes,
        "members": count,
        "deflate": args.deflate,
        "sparse": args.sparse,
        "cold": args.cold,
        "ratio": spread(r["copy"]["seconds"] / r["import"]["seconds"] for r in rounds),
        **{
            work: {key: spread(r[work][key] for r in rounds) for key in rounds[0][work]}
            for work in _WORKS
        },
    }
    kind = "deflate" if args.deflate else "sparse" if args.sparse else "stored"
    write(f"features_import_{kind}", result)
    rows = [
        (
            work,
            gigabytes / result[work]["seconds"]["median"],  # type: ignore[index]
            result[work]["cpu_s"]["median"] / gigabytes,  # type: ignore[index]
            result[work]["peak_mb"]["median"],  # type: ignore[index]
            result[work]["growth_mb"]["median"],  # type: ignore[index]
        )
        for work in _WORKS
    ]
    table(
        f"{count} arrays, {gigabytes:.1f} GB: {result['ratio']['median']:.2f} of a copy's speed",  # type: ignore[index]
        ("work", "GB/s", "CPU s/GB", "peak MB", "of which for the work"),
        rows,
    )


if __name__ == "__main__":
    main()
