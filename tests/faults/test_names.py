"""Test that folders, archives and files whose names are not UTF-8 work and stay recoverable."""

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.media import make_clip
from tests.pipelines.cli.test_build import avstore, shard_hashes

pytestmark = pytest.mark.slow
ODD = os.fsdecode(b"caf\xe9")
KEYS = [f"-id_000000{n}_000030" for n in range(1)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number, key in enumerate(KEYS):
        make_clip(folder / f"{key}.mp4", tone_hz=300 + 90 * number, seed=number)
    return folder


@pytest.fixture(scope="module")
def hashes(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Checksums of the shards that a folder with plain names gives."""
    store = tmp_path_factory.mktemp("plain") / "store"
    build(clips, annotate(store.parent), store)
    return shard_hashes(store)


def annotate(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    csv = folder / "vggsound.csv"
    csv.write_text("".join(f"{key[:11]},30,dog barking,train\n" for key in KEYS))
    return csv


def build(source: Path, csv: Path, store: Path) -> subprocess.CompletedProcess[str]:
    return avstore(
        *("build", "vggsound", "--source", source, "--annotations", csv, "--store", store),
        *("--workers", "1"),
    )


def whole(store: Path) -> None:
    assert "all match the manifest" in avstore("verify", "--store", store).stdout
    avstore("index", "--store", store)


def odd_folder(clips: Path, tmp: Path) -> Path:
    folder = tmp / "videos" / ODD
    folder.mkdir(parents=True)
    for key in KEYS:
        (folder / f"{key}.mp4").write_bytes((clips / f"{key}.mp4").read_bytes())
    return tmp / "videos"


def odd_source(clips: Path, tmp: Path) -> Path:
    return odd_folder(clips, tmp) / ODD


def odd_extra_file(clips: Path, tmp: Path) -> Path:
    folder = odd_folder(clips, tmp)
    (folder / os.fsdecode(b"holid\xffay.mp4")).write_bytes(b"no clip")
    return folder


def odd_tar(clips: Path, tmp: Path) -> Path:
    with tarfile.open(tmp / "videos.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        for key in KEYS:
            tar.add(clips / f"{key}.mp4", f"{ODD}/{key}.mp4")
    return tmp / "videos.tar"


def odd_zip(clips: Path, tmp: Path) -> Path:
    """Write a zip whose member names are bytes of another encoding, without the UTF-8 flag."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key in KEYS:
            archive.writestr(f"cafX/{key}.mp4", (clips / f"{key}.mp4").read_bytes())
    path = tmp / "videos.zip"
    path.write_bytes(buffer.getvalue().replace(b"cafX/", b"caf\xe9/"))
    return path


def odd_archive_name(clips: Path, tmp: Path) -> Path:
    return odd_tar(clips, tmp).rename(tmp / os.fsdecode(b"vid\xe9os.tar"))


SOURCES = [odd_folder, odd_source, odd_extra_file, odd_tar, odd_zip, odd_archive_name]


@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_clips_below_any_name_are_stored(
    make: Callable[[Path, Path], Path], clips: Path, hashes: dict[str, str], tmp_path: Path
) -> None:
    source, csv = make(clips, tmp_path), annotate(tmp_path / ODD)
    store = tmp_path / "store"
    assert "1 wanted = 1 stored" in build(source, csv, store).stdout
    assert shard_hashes(store) == hashes
    whole(store)
    again = build(source, csv, store).stdout
    assert "1 wanted = 1 stored" in again
    with duckdb.connect(str(store / "manifest.duckdb"), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM attempts").fetchall() == [(1,)]
        assert con.execute("SELECT * FROM runs").fetchall()


@pytest.mark.parametrize("where", ["store", "parent"])
def test_a_store_cannot_have_such_a_path(where: str, clips: Path, tmp_path: Path) -> None:
    store = tmp_path / ODD if where == "store" else tmp_path / ODD / "store"
    args = [sys.executable, "-m", "avstore", "build", "vggsound", "--source", str(clips)]
    args += ["--annotations", str(annotate(tmp_path)), "--store", str(store)]
    done = subprocess.run(args, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert r"caf\xe9" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "UTF-8" in done.stderr


def test_a_store_that_such_a_name_bricked_recovers(
    clips: Path, hashes: dict[str, str], tmp_path: Path
) -> None:
    store, csv = tmp_path / "store", annotate(tmp_path)
    (store / "ledger").mkdir(parents=True)
    row = {
        "clip_id": f"vggsound/{KEYS[0]}",
        **{"stage": "fetch", "started_at": "2026-11-01T10:00:00", "seconds": 0.1},
        **{"outcome": "stored", "error_class": None, "error_message": None},
        **{"tool_version": "folder", "run_id": "old", "path": f"/videos/{ODD}/{KEYS[0]}.mp4"},
        **{"offset_s": 0.0, "not_before": None, "charged": False, "sha256": None, "bytes": None},
    }
    lines = [json.dumps(row), '{"torn": ', "[]", "\x00\x00", '"text"']
    (store / "ledger" / "attempts-old-0000.jsonl.part").write_text("\n".join(lines))
    assert "1 wanted = 1 stored" in (done := build(clips, csv, store)).stdout
    assert "4 lines of" in done.stderr
    assert shard_hashes(store) == hashes
    bad = store / "ledger" / "attempts-old-0000.jsonl.bad"
    assert bad.read_text().splitlines() == lines[1:]
    whole(store)
    assert bad.exists()


def test_ones_own_folder_and_lists_may_have_any_names(clips: Path, tmp_path: Path) -> None:
    folder, store = tmp_path / ODD, tmp_path / "store"
    media = (clips / f"{KEYS[0]}.mp4").read_bytes()
    for name in (f"{ODD}/{ODD}.mp4", "plain.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(media)
    (folder / "loop.mp4").symlink_to("loop.mp4")
    built = avstore("build", folder, "--store", store, "--workers", "1", "--labels", "folders")
    assert "2 wanted = 2 stored" in built.stdout
    assert r"caf\xe9/loop.mp4: Too many levels of symbolic links" in built.stdout
    (tmp_path / "lines.jsonl").write_text(
        json.dumps({"file": f"{ODD}/{ODD}/{ODD}.mp4", "label": ODD}) + "\n"
    )
    (tmp_path / "text.csv").write_text("file\ncaf\\xe9/caf\\xe9/caf\\xe9.mp4\n")
    for name in ("text.csv", "lines.jsonl"):
        built = avstore("build", tmp_path / name, "--store", store, "--workers", "1", "--cut", "1")
        assert "gone" not in built.stdout
    with duckdb.connect(str(store / "manifest.duckdb"), read_only=True) as con:
        labels = con.execute("SELECT DISTINCT unnest(labels) FROM clips ORDER BY 1").fetchall()
    assert labels == [(r"caf\xe9",)]
    whole(store)
    refused = avstore("build", folder, "--store", store, "--name", ODD, check=False)
    assert refused.stderr.startswith(r"avstore: --name 'caf\xe9' may contain only")
    unknown = avstore("build", os.fsdecode(b"no\xe9"), "--store", store, check=False)
    assert r"no dataset 'no\xe9'" in unknown.stderr
