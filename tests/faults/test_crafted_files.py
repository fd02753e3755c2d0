"""Files made to harm: no code in them runs, they cost no memory, and end in one line."""

import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from avstore.datasets.ave import AVE
from avstore.datasets.lines import read_bytes
from avstore.datasets.msrvtt import MSRVTT
from avstore.datasets.registry import get
from avstore.datasets.spec import AnnotationError
from avstore.manifests.foreign_files import load_tensors
from avstore.manifests.library import open_store
from avstore.manifests.npy import load_npy
from avstore.manifests.store import Store, StoreError
from avstore.pipelines.features.checkpoint import read_state
from avstore.pipelines.interchange.foreign_lists import with_foreign_lists
from avstore.train.checkpoint import load_checkpoint
from avstore.train.errors import UserError
from avstore.train.systems.cavmae.weights import saved_shape
from avstore.train.systems.state_dicts import read_state_dict
from tests.faults.outside import avstore, bounded


class Payload:
    """Unpickles by writing a file, as code of an attacker would."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.write_text, (self.path, "this code ran")


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "ran"


# Checkpoints


def checkpoint_files(folder: Path, ran: Path) -> dict[str, Path]:
    good = io.BytesIO()
    torch.save({"model": {"w": torch.zeros(3)}}, good)
    bomb = folder / "bomb.pt"
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + (bytes(200 << 20) if "data/0" in name else b""))
    torch.save({"model": Payload(ran)}, folder / "code.pt")
    (folder / "pickle.pt").write_bytes(pickle.dumps(Payload(ran)))
    (folder / "cut.pt").write_bytes(good.getvalue()[:-40])
    (folder / "empty.pt").write_bytes(b"")
    (folder / "text.pt").write_text("<html>not found</html>")
    return {path.stem: path for path in folder.glob("*.pt")}


@pytest.mark.parametrize("kind", ["code", "pickle", "bomb", "cut", "empty", "text"])
def test_checkpoints(tmp_path: Path, ran: Path, kind: str) -> None:
    path = checkpoint_files(tmp_path, ran)[kind]
    bounded(lambda: load_tensors(path), StoreError, "not a readable checkpoint")
    bounded(lambda: read_state(path), StoreError, "not a readable checkpoint")
    bounded(lambda: read_state_dict(path), UserError, "is not a readable checkpoint")
    assert saved_shape(path) is None
    step = tmp_path / "run" / "step-00000001"
    step.mkdir(parents=True)
    for part in ("shared.pt", "rank-0.pt"):
        (step / part).write_bytes(path.read_bytes())
    latest = tmp_path / "run" / "latest.json"
    latest.write_text(json.dumps({"folder": step.name, "world_size": 1}))
    bounded(lambda: load_checkpoint(tmp_path / "run"), StoreError, "not a readable checkpoint")
    assert not ran.exists()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"folder": "../../x", "world_size": 1}',
        '{"folder": "/etc", "world_size": 1}',
        '{"folder": 1, "world_size": 1}',
        '{"folder": "step-00000001", "world_size": "1"}',
        "[" * 100_000,
    ],
)
def test_the_pointer_to_a_checkpoint(tmp_path: Path, text: str) -> None:
    (tmp_path / "latest.json").write_text(text)
    bounded(lambda: load_checkpoint(tmp_path), UserError, "names no checkpoint")


# Arrays


def npy_header(shape: object, dtype: str = "<f2", rest: bytes = bytes(16)) -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + rest


def arrays(ran: Path) -> dict[str, bytes]:
    objects = io.BytesIO()
    np.save(objects, np.array([Payload(ran)], object), allow_pickle=True)
    return {
        "pickle": objects.getvalue(),
        "huge": npy_header((10**12, 128)),
        "overflow": npy_header((2**62, 2**62)),
        "negative": npy_header((-1, 4)),
        "deep": npy_header("(" * 5000 + ")" * 5000),
        "long header": npy_header((4,) * 9000),
        "empty": b"",
        "strings": npy_header((1,), "<U4"),
        "version": b"\x93NUMPY\x09\x00" + bytes(200),
    }


@pytest.mark.parametrize("kind", sorted(arrays(Path())))
def test_arrays(tmp_path: Path, ran: Path, kind: str, store: Store) -> None:
    content = arrays(ran)[kind]
    bounded(lambda: load_npy(content), ValueError)
    # A stored member of the same size: the store is read by its offsets.
    with open_store(store.root) as opened:
        (row,) = opened.query(
            "SELECT shard, members, offsets, sizes FROM samples WHERE clip_id = 'toy/k00001'"
        ).rows()
        place = row["members"].split(" ").index("fbank.npy")
        at, size = row["offsets"][place], row["sizes"][place]
        shard = bytearray((store.root / row["shard"]).read_bytes())
        shard[at : at + size] = content[:size].ljust(size, b"\0")
        (store.root / row["shard"]).write_bytes(shard)
        bounded(lambda: opened.read("fbank", ["toy/k00001"]), StoreError, "verify")
    assert not ran.exists()


# Annotations


def order_files(folder: Path) -> dict[str, Path]:
    secret = folder / "secret.bin"
    secret.write_bytes(b"confidential" * 100)
    other = folder / "other.h5"
    with h5py.File(other, "w") as file:
        file["order"] = np.arange(3)
    files: dict[str, Path] = {}

    def make(kind: str, fill: Callable[[h5py.File], object]) -> None:
        files[kind] = folder / kind / "train_order.h5"
        files[kind].parent.mkdir()
        with h5py.File(files[kind], "w") as file:
            fill(file)

    make("link", lambda f: f.__setitem__("order", h5py.ExternalLink(str(other), "order")))
    make("soft", lambda f: f.__setitem__("order", h5py.SoftLink("/order")))
    make(
        "external",
        lambda f: f.create_dataset(
            "order", (100,), "<i8", external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
        ),
    )
    layout = h5py.VirtualLayout((3,), "<i8")
    layout[:] = h5py.VirtualSource(str(other), "order", (3,))
    make("virtual", lambda f: f.create_virtual_dataset("order", layout))
    make("huge", lambda f: f.create_dataset("order", (10**12,), "<i8", chunks=(10**6,)))
    make("group", lambda f: f.create_group("order"))
    make("matrix", lambda f: f.__setitem__("order", np.zeros((3, 3), int)))
    make("text", lambda f: f.__setitem__("order", "x"))
    make("numbers", lambda f: f.__setitem__("order", np.array([2**62, -1])))
    make("nan", lambda f: f.__setitem__("order", np.array([np.nan, np.inf])))
    make("nothing", lambda f: None)
    return files


@pytest.mark.parametrize(
    "kind",
    "link soft external virtual huge group matrix text numbers nan nothing".split(),  # noqa: SIM905
)
def test_order_files_of_ave(tmp_path: Path, kind: str) -> None:
    rows = tmp_path / "Annotations.txt"
    rows.write_text(
        "Category&VideoID&Quality&StartTime&EndTime\nChurch bell&RUhOCu3LNXM&good&0&10\n"
    )
    path = order_files(tmp_path)[kind]
    said = bounded(lambda: AVE.parse([rows, path]), AnnotationError, "train_order")
    assert "1717" not in said  # no bytes of another file, read as numbers


JSONS = ("[" * 100_000, '{"data": 5}', '{"data": [5]}', '{"data": [[]]}', "{}", '{"data": {}}', "9")


@pytest.mark.parametrize("text", JSONS)
def test_json_lists(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    spec = with_foreign_lists(get("vggsound"), "train")
    bounded(lambda: spec.parse([path]), AnnotationError)
    bounded(lambda: MSRVTT.parse([path]), AnnotationError)


def test_packed_annotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avstore.datasets.lines._UNPACKED_BYTES", 1 << 20)
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(bytes(300 << 20), 1))
    bounded(lambda: read_bytes(path), AnnotationError, "unpacks to more than")


# Sidecars


def sidecar_changes() -> dict[str, Callable[[pa.Table], pa.Table]]:
    def replace(name: str, values: Callable[[int], pa.Array]) -> Callable[[pa.Table], pa.Table]:
        def change(table: pa.Table) -> pa.Table:
            return table.set_column(table.schema.get_field_index(name), name, values(len(table)))

        return change

    return {
        "number": replace("clip_id", lambda n: pa.array(range(n))),
        "bytes": replace("shard", lambda n: pa.array([b"\xff"] * n)),
        "struct": replace("offsets", lambda n: pa.array([{"a": 1}] * n)),
        "text": replace("crc32", lambda n: pa.array(["x"] * n)),
        "null": replace("clip_id", lambda n: pa.nulls(n, pa.string())),
        "list": replace("members", lambda n: pa.array([["x"]] * n)),
        "nothing": lambda table: table.select([]),
        "missing": lambda table: table.drop_columns(["shard_sha256"]),
        "twice": lambda table: pa.concat_tables([table, table]),
        "negative": replace("offsets", lambda n: pa.array([[-5]] * n, pa.list_(pa.int64()))),
        "long": replace("position", lambda n: pa.array([2**31 - 1] * n, pa.int32())),
    }


@pytest.mark.parametrize("kind", sorted(sidecar_changes()))
def test_sidecars(store: Store, kind: str) -> None:
    path = store.sidecars()[0]
    pq.write_table(sidecar_changes()[kind](pq.read_table(path)), path)
    for words in (("index",), ("verify",), ("verify", "--repair"), ("index",)):
        done = avstore(*words, "--store", store.root)
        assert done.returncode in (0, 1, 2), done.stderr
        assert len(done.stderr.splitlines()) <= 1, done.stderr
    assert avstore("status", "--store", store.root).returncode == 0


@pytest.mark.parametrize(
    "error",
    [
        duckdb.IOException,
        duckdb.OutOfMemoryException,
        duckdb.FatalException,
        duckdb.TransactionException,
    ],
)
def test_a_full_disk_or_memory_of_duckdb_is_the_machines(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error("Failed to commit: No space left on device\n\nSee https://duckdb.org")

    monkeypatch.setattr("avstore.pipelines.build.repair.rebuild", fail)
    done = avstore("index", "--store", store.root)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "run the same command again" in done.stderr


def test_a_limit_on_threads_is_the_machines(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under `ulimit -v` or `ulimit -u`."""

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("avstore.pipelines.build.repair.rebuild", fail)
    done = avstore("index", "--store", store.root)
    assert done.returncode == 4
    assert done.stderr.startswith("avstore: no thread can be started; ")
    assert len(done.stderr.splitlines()) == 1
