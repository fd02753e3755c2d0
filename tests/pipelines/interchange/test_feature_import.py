"""Import released features: archives, folders and addresses into a store without videos."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from avstore.datasets.registry import get
from avstore.manifests.library import open_store
from avstore.manifests.store import Store, StoreError, file_sha256
from avstore.manifests.verify import verify_store
from avstore.pipelines.fetch.source import SourceError
from avstore.pipelines.interchange.feature_importer import (
    FeatureImportOptions,
    FeatureImportResult,
    import_feature,
)
from avstore.pipelines.interchange.feature_layouts import ValueSpec
from tests.pipelines.interchange import released
from tests.servers.media_server import MediaServer

KINDS = (
    *("zip", "stored.zip", "tar", "tar.gz", "folder"),
    *("http", "http stored", "http without ranges", "http tar"),
)
REASONS = {"extra": 2, "wrong_shape": 1, "truncated": 1, "pickled": 1, "not_finite": 1}


def run(store: Path, *sources: object, feature: str = "convnext-audio", **options: object):
    """Import sources; the list of clips is beside the store."""
    listed = released.write_list(store.parent)
    chosen = FeatureImportOptions(
        feature, [str(source) for source in sources], annotations=[listed], **options
    )
    return import_feature(Store(store), get("vggsound"), chosen)


@contextmanager
def source_of(kind: str, folder: Path) -> Iterator[str]:
    """Yield the released archive as a folder, a file or an address."""
    files = released.members()
    if kind == "folder":
        yield str(released.write_folder(folder / "a_feat", files))
    elif kind.startswith("http"):
        name = "a_feat.tar" if kind.endswith("tar") else "a_feat.zip"
        if kind.endswith("tar"):
            released.write_tar(folder / name, files)
        else:
            released.write_zip(folder / name, files, "stored" in kind)
        with MediaServer(folder) as server:
            yield f"{server.url}/{'norange' if 'without' in kind else 'ok'}/{name}"
    else:
        path = folder / f"a_feat.{kind}"
        if kind.endswith("zip"):
            yield str(released.write_zip(path, files, "stored" in kind))
        else:
            yield str(released.write_tar(path, files))


def shards(store: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(store.glob("shards/*/imported/*.tar"))}


def require_exact(store: Path, done: FeatureImportResult) -> None:
    """Compare values, account, reasons and the manifest with what the archive holds."""
    with open_store(store) as opened:
        values = opened.read("convnext-audio", released.STORED)
        for number, clip_id in enumerate(released.STORED):
            assert np.array_equal(values[clip_id], released.value(number))
            assert values[clip_id].dtype == np.float32
        account = opened.query("FROM feature_account").rows()
        clips = opened.query("SELECT status, reason FROM feature_clips ORDER BY clip_id").rows()
        trainable = opened.query("SELECT clip_id, shard FROM trainable ORDER BY 1").rows()
    expected = {"wanted": 10, "stored": 5, "unreadable": 4, "missing": 1, "extra": 2}
    assert vars(done.account) == expected
    assert {name: account[0][name] for name in expected} == expected
    assert {reason: count for reason, count, _ in done.reasons} == REASONS
    assert len(clips) == 10
    assert {row["reason"] for row in clips if row["status"] == "unreadable"} == set(REASONS) - {
        "extra"
    }
    assert [row["clip_id"] for row in trainable] == sorted(released.STORED)
    assert {row["shard"] for row in trainable} == {None}
    assert verify_store(Store(store)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_the_archive_and_every_clip_is_counted(
    kind: str, tmp_path: Path
) -> None:
    with source_of(kind, tmp_path) as source:
        done = run(tmp_path / "store", source)
        require_exact(tmp_path / "store", done)
        (recorded,) = done.lineage.weights["sources"]
        assert recorded["name"] == Path(source).name
        if kind != "folder":
            assert recorded["sha256"] == file_sha256(tmp_path / recorded["name"])
        before = shards(tmp_path / "store")
        again = run(tmp_path / "store", source)
    assert (again.sources[0].new, again.sources[0].known) == (0, 5)
    assert again.account == done.account
    assert again.lineage.weights["sources"] == done.lineage.weights["sources"]
    assert shards(tmp_path / "store") == before
    assert not list((tmp_path / "store").rglob(".features-*")), "no copy of the archive is left"


@pytest.mark.parametrize("kind", ["zip", "stored.zip", "tar"])
def test_shards_have_the_bytes_that_earlier_versions_wrote(kind: str, tmp_path: Path) -> None:
    with source_of(kind, tmp_path) as source:
        run(tmp_path / "store", source, shard_clips=2)
    assert shards(tmp_path / "store") == {
        "test-000000.convnext-audio-1f881a38.tar": (
            "deaa472bab96b4468db80b15b5742d3485cf927a8d3497b94af0352c27483b90"
        ),
        "train-000000.convnext-audio-1f881a38.tar": (
            "c57ed13b63013fa973c4bf2ced6eacceb7a64d6c700b4c77a94371e1859d6baf"
        ),
        "train-000001.convnext-audio-1f881a38.tar": (
            "06d897369b50b237d6a7330ed90230fed8f7fbccc1f5cb88a54a1cebf02035b7"
        ),
    }


def test_the_manifest_is_rebuilt_from_the_store(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with source_of("zip", tmp_path) as source:
        done = run(store, source)
    (store / "manifest.duckdb").unlink()
    (store / "manifest.duckdb.sha256").unlink()
    assert command("index", "--store", store)[0] == 0
    require_exact(store, done)


_KILLED = """
import os, signal, sys
from pathlib import Path
from avstore.pipelines.interchange import feature_shards
from tests.pipelines.interchange.test_feature_import import run

when, store, source = sys.argv[1:]
commit, parquet, seen = feature_shards.FeatureShards._commit, feature_shards.write_parquet, []

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def counted(self, shard):
    seen.append(shard)
    if len(seen) == 2 and when == "before the tar":
        die()
    if len(seen) == 2 and when == "before the sidecar":
        feature_shards.write_parquet = die
    commit(self, shard)
    if len(seen) == 2 and when == "after the sidecar":
        die()

feature_shards.FeatureShards._commit = counted
run(Path(store), source, shard_clips=1)
"""


@pytest.mark.parametrize("when", ["before the tar", "before the sidecar", "after the sidecar"])
def test_an_import_that_was_killed_continues_with_the_same_shards(
    when: str, tmp_path: Path
) -> None:
    with source_of("zip", tmp_path) as source:
        store = tmp_path / "store"
        command = [sys.executable, "-c", _KILLED, when, str(store), source]
        died = subprocess.run(command, check=False, capture_output=True)
        assert died.returncode == -signal.SIGKILL, died.stderr
        kept = shards(store)
        done = run(store, source, shard_clips=1)
        require_exact(store, done)
        assert done.sources[0].known == (1 if when != "after the sidecar" else 2)
        (tmp_path / "other").mkdir()
        run(tmp_path / "other" / "store", source, shard_clips=1)
    assert shards(store) == shards(tmp_path / "other" / "store")
    assert kept.items() <= shards(store).items()
    assert not list(store.rglob("*.tmp"))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_damaged_archive_is_reported_and_what_can_be_read_is_stored(
    kind: str, tmp_path: Path
) -> None:
    with source_of(kind, tmp_path) as source:
        content = Path(source).read_bytes()
        Path(source).write_bytes(content[: len(content) // 2])
        if kind == "zip":  # its directory, at the end, is lost
            with pytest.raises(SourceError, match="damaged or incomplete"):
                run(tmp_path / "store", source)
            return
        done = run(tmp_path / "store", source)
        assert 0 < done.account.stored < 5
        Path(source).write_bytes(content)
        require_exact(tmp_path / "store", run(tmp_path / "store", source))


def test_a_member_with_a_wrong_checksum_costs_only_its_clip(tmp_path: Path) -> None:
    files = {f"{key}.npy": released.npy(released.value(n)) for n, key in enumerate(released.KEYS)}
    path = tmp_path / "a_feat.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    content = bytearray(path.read_bytes())
    content[60_000] ^= 1
    path.write_bytes(content)
    done = run(tmp_path / "store", path)
    assert (done.account.stored, done.account.unreadable) == (9, 1)
    assert [reason for reason, _, _ in done.reasons] == ["damaged"]


def test_another_feature_s_archive_is_refused_by_its_folder(tmp_path: Path) -> None:
    with source_of("zip", tmp_path) as source:
        with pytest.raises(SourceError, match=r"by their folders: [0-9]+ of convnext-audio;"):
            run(tmp_path / "store", source, feature="convnext-visual")
        # An unknown name takes what its layout declares.
        done = run(tmp_path / "store", source, feature="my-audio")
    assert done.lineage.parameters["value"] == "float32 30 x 1024 or 31 x 1024"
    assert done.account.stored == 5


def test_values_of_an_unknown_feature_are_checked_against_the_most_common(tmp_path: Path) -> None:
    sizes = (7, 8, 9, 10, 7, 11)
    arrays = [np.full((size, 4), size, np.float16) for size in sizes]
    arrays += [np.zeros((3, 5), np.float16), np.zeros((9, 4), np.float64)]
    files = {f"{key}.npy": released.npy(a) for key, a in zip(released.KEYS, arrays, strict=False)}
    done = run(tmp_path / "store", released.write_folder(tmp_path / "feats", files), feature="mine")
    assert done.lineage.parameters["value"] == "float16 n x 4"
    assert {reason for reason, _, _ in done.reasons} == {"wrong_shape", "wrong_dtype"}
    assert (done.account.stored, done.account.unreadable, done.account.missing) == (6, 2, 2)
    with pytest.raises(StoreError, match="--value 'float8 4' is not a type and a shape"):
        run(tmp_path / "store", tmp_path / "feats", feature="other", value="float8 4")
    fixed = run(tmp_path / "store", tmp_path / "feats", feature="fixed", value="float16 7 x 4")
    assert fixed.account.stored == 2


def test_npz_fortran_order_and_foreign_byte_order_are_stored_as_equal_arrays(
    tmp_path: Path,
) -> None:
    arrays = [released.value(number) for number in range(3)]
    packed = io.BytesIO()
    np.savez_compressed(packed, feature=arrays[0])
    two = io.BytesIO()
    np.savez(two, a=arrays[0], b=arrays[1])
    files = {
        f"{released.KEYS[0]}.npz": packed.getvalue(),
        f"{released.KEYS[1]}.npy": released.npy(np.asfortranarray(arrays[1])),
        f"{released.KEYS[2]}.npy": released.npy(arrays[2].astype(">f4")),
        f"{released.KEYS[3]}.npz": two.getvalue(),
        f"{released.KEYS[4]}.npy": b"\x93NUMPY\x01\x00v\x00{'descr'",
        f"{released.KEYS[5]}.npy": b"no array at all, but long enough to be one" * 10,
        f"{released.KEYS[6]}.npy": b"",
    }
    store = tmp_path / "store"
    folder = released.write_folder(tmp_path / "feats", files)
    done = run(store, folder)
    assert (done.account.stored, done.account.unreadable) == (3, 4)
    read = open_store(store).read("convnext-audio", released.STORED[:3])
    for clip_id, array in zip(released.STORED, arrays, strict=False):
        assert np.array_equal(read[clip_id], array)
        assert read[clip_id].dtype.isnative
    assert run(store, folder).sources[0].known == 3
    assert verify_store(Store(store)) == []


def test_a_later_archive_adds_clips_and_replaces_none(tmp_path: Path) -> None:
    with source_of("zip", tmp_path) as source:
        run(tmp_path / "store", source)
    files = {f"{released.KEYS[0]}.npy": released.npy(released.value(99))}
    files |= {f"{released.KEYS[9]}.npy": released.npy(released.value(9))}
    more = released.write_zip(tmp_path / "more.zip", files)
    done = run(tmp_path / "store", more)
    assert (done.account.stored, done.account.missing) == (6, 0)
    assert done.lineage.weights["origin"] == "a_feat.zip, more.zip"
    (differs,) = (example for reason, _, example in done.reasons if reason == "differs")
    assert released.KEYS[0] in differs
    with open_store(tmp_path / "store") as opened:
        kept = opened.read("convnext-audio", released.STORED[:1])[released.STORED[0]]
        states = opened.query("SELECT status FROM feature_clips WHERE status = 'stored'").rows()
    assert np.array_equal(kept, released.value(0))
    assert len(states) == 6
    assert verify_store(Store(tmp_path / "store")) == []


def test_names_by_pattern_and_names_of_several_clips(tmp_path: Path) -> None:
    listed = tmp_path / "vggsound.csv"
    listed.write_text("v0000000001,0,playing banjo,train\nv0000000001,10,playing banjo,test\n")
    files = {f"train/v0000000001.{n}.npy": released.npy(released.value(n)) for n in (0, 10)}
    folder = released.write_folder(tmp_path / "feats", files)
    whole = released.write_folder(
        tmp_path / "whole", {"v0000000001.npy": released.npy(released.value(1))}
    )
    options = {"annotations": [listed]}
    spec = get("vggsound")
    chosen = FeatureImportOptions("mine", [str(folder)], names="{id}-{start}", **options)
    with pytest.raises(SourceError, match=r"none of the 2 arrays .* --names"):
        import_feature(Store(tmp_path / "store"), spec, chosen)
    chosen = FeatureImportOptions("mine", [str(folder)], names="{id}.{start}", **options)
    assert import_feature(Store(tmp_path / "store"), spec, chosen).account.stored == 2
    chosen = FeatureImportOptions("other", [str(whole)], **options)
    with pytest.raises(SourceError, match="none of the 1 arrays"):
        import_feature(Store(tmp_path / "store"), spec, chosen)


def command(*words: object) -> tuple[int, str]:
    """Run a command as a user; return its exit code and output."""
    done = subprocess.run(
        [sys.executable, "-m", "avstore", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "200"},
    )
    return done.returncode, done.stdout + done.stderr


def test_uavm_s_lists_are_the_clips_their_labels_and_splits(tmp_path: Path) -> None:
    entries = {
        "train": [{"wav": f"/data/{key}.flac", "labels": "vgg_190"} for key in released.KEYS[:3]],
        "test": [{"wav": f"/data/{key}.flac", "labels": "vgg_0"} for key in released.KEYS[3:5]],
    }
    words = []
    for split, rows in entries.items():
        path = tmp_path / f"{split}_vgg_convnext_2.json"
        path.write_text(json.dumps({"data": rows}))
        words += ["--annotations", f"{split}={path}"]
    with source_of("zip", tmp_path) as source:
        code, output = command(
            *("features", "import", "convnext-audio", source, "--dataset", "vggsound"),
            *(*words, "--store", tmp_path / "store"),
        )
    assert code == 0, output
    assert "5 published clips = 5 stored + 0 unreadable + 0 missing; 6 arrays" in output
    rows = open_store(tmp_path / "store").query(
        "SELECT split, label_ids, count(*) AS n FROM trainable GROUP BY ALL ORDER BY n"
    )
    assert [(row["split"], row["label_ids"], row["n"]) for row in rows.rows()] == [
        ("test", [0], 2),
        ("train", [190], 3),
    ]


def test_the_store_s_commands_know_features_without_video(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with source_of("zip", tmp_path) as source:
        listed = released.write_list(tmp_path)
        words = ("features", "import", "convnext-audio", source, "--dataset", "vggsound")
        code, output = command(*words, "--annotations", listed, "--store", store)
        assert code == 1, "arrays of clips could not be used"
        assert "10 published clips = 5 stored + 4 unreadable + 1 missing" in output
        assert "a_feat.zip" in command("features", "list", "--store", store)[1]
        assert "10 wanted = 5 stored" in command("status", "--store", store)[1]
        assert "2 imported shards with 5 values" in command("verify", "--store", store)[1]
        assert command("snapshot", "create", "first", "--store", store)[0] == 0
        query = ("export", "--sql", "SELECT clip_id FROM trainable", "--store", store)
        derived = ("--features", "convnext-audio", "--out", tmp_path / "out")
        assert command(*query, *derived)[0] == 0
        code, output = command(*query, "--features", "fbank", "--out", tmp_path / "no")
        assert "has only imported features: convnext-audio" in output
        lost = next(store.glob("shards/*/imported/train-*.tar"))
        before = lost.read_bytes()
        lost.unlink()
        code, output = command("verify", "--repair", "--store", store)
        advice = next(line.strip() for line in output.splitlines() if "features import" in line)
        assert subprocess.run(["bash", "-c", advice], check=False).returncode == 1
        assert command("verify", "--store", store)[0] == 0
        assert lost.read_bytes() == before
        assert command("features", "drop", "convnext-audio", "--store", store)[0] == 0
        assert command("gc", "--delete", "--store", store)[0] == 0
        assert lost.is_file(), "the snapshot has it"
        assert command("snapshot", "delete", "first", "--store", store)[0] in (0, 2)
        assert open_store(store).query("FROM feature_problems").rows() == []


def test_an_archive_that_expands_out_of_proportion_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{released.KEYS[0]}.npy", bytes(300 << 20))
        archive.writestr(f"{released.KEYS[1]}.npy", released.npy(released.value(1)))
    done = run(tmp_path / "store", path)
    assert (done.account.stored, done.account.unreadable) == (1, 1)
    assert done.reasons[0][0] == "refused"


@pytest.mark.parametrize(
    ("text", "fits", "other"),
    [
        ("float32 30 x 1024 or 31 x 1024", (31, 1024), (32, 1024)),
        ("float16 n x 1024", (1, 1024), (1024,)),
        ("int64 10", (10,), (10, 1)),
    ],
)
def test_a_value_spec_reads_what_it_writes(
    text: str, fits: tuple[int, ...], other: tuple[int, ...]
) -> None:
    spec = ValueSpec.parse(text)
    assert spec.text == text
    assert spec.fits(fits)
    assert not spec.fits(other)


@pytest.mark.parametrize("stored", [False, True])
def test_sha256_of_the_archive_is_that_of_its_bytes_when_members_are_out_of_order(
    stored: bool, tmp_path: Path
) -> None:
    path = released.write_zip(tmp_path / "a_feat.zip", released.members(), stored)
    with zipfile.ZipFile(path, "a") as archive:  # the directory in another order than the file
        archive.filelist.reverse()
        archive.comment = b"reversed"
    done = run(tmp_path / "store", path)
    recorded = done.lineage.weights["sources"][0]["sha256"]
    assert recorded == hashlib.sha256(path.read_bytes()).hexdigest()
