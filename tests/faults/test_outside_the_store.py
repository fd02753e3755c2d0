"""Names in files of others never become paths: a hostile store or import stays in its folder."""

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avstore.datasets.registry import get
from avstore.datasets.spec import KEY_PATTERN
from avstore.manifests import names, snapshots
from avstore.manifests.catalogue import open_read
from avstore.manifests.library import open_store
from avstore.manifests.mirror import mirror_store
from avstore.manifests.sealed import json_bytes, read_json
from avstore.manifests.store import Store, StoreError
from avstore.manifests.verify import verify
from avstore.pipelines.build.shard_jobs import mask_files
from avstore.pipelines.interchange.export import ExportFormat, export
from avstore.pipelines.interchange.export_clips import export_clips
from avstore.pipelines.interchange.foreign_media import read_items
from avstore.pipelines.interchange.importer import import_items
from avstore.pipelines.interchange.layouts import FolderLayout, write_media
from tests.faults.outside import Tree, avstore
from tests.pipelines.interchange.conftest import small_store  # noqa: F401 -- a fixture

VGGSOUND = get("vggsound")


@pytest.fixture
def hostile(store: Store) -> Tree:
    """Return the store in a folder with a victim beside it that no command may touch."""
    return Tree(store)


def change_sidecar(store: Store, change: Callable[[pa.Table], pa.Table]) -> Path:
    path = store.sidecars()[0]
    pq.write_table(change(pq.read_table(path)), path)
    return path


def with_column(table: pa.Table, name: str, value: str) -> pa.Table:
    place = table.schema.get_field_index(name)
    column = pa.array([value] * len(table), table.schema.field(name).type)
    return table.set_column(place, table.schema.field(name), column)


def one_line(tree: Tree, *command: object, codes: tuple[int, ...] = (0, 1, 2)) -> str:
    """Run a command; check its exit code, that its error is one line, and the victim."""
    done = avstore(*command)
    assert done.returncode in codes, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1, done.stderr
    tree.check()
    return done.stdout + done.stderr


COMMANDS = (
    ("index",),
    ("verify",),
    ("verify", "--repair"),
    ("gc", "--delete"),
    ("drop", "toy", "toy-12345678"),
    ("index",),
)


def run_all(tree: Tree) -> str:
    return "".join(one_line(tree, *words, "--store", tree.store.root) for words in COMMANDS)


EVIL = ("../../victim/kept.tar", "/etc/kept.tar", "shards/toy/../../../victim/kept.tar")


@pytest.mark.parametrize("evil", EVIL)
def test_the_shard_that_a_sidecar_names_is_the_one_beside_it(hostile: Tree, evil: str) -> None:
    change_sidecar(hostile.store, lambda table: with_column(table, "shard", evil))
    assert "names the shard" in one_line(hostile, "index", "--store", hostile.store.root)
    run_all(hostile)


@pytest.mark.parametrize("column", ["dataset", "recipe", "split", "clip_id", "members"])
def test_names_in_sidecars_are_checked(hostile: Tree, column: str) -> None:
    evil = "../../victim/kept" if column != "clip_id" else "toy/../../victim/kept"
    change_sidecar(hostile.store, lambda table: with_column(table, column, evil))
    run_all(hostile)


@pytest.mark.parametrize("table", ["shards", "plans", "dropped", "stages", "samples"])
@pytest.mark.parametrize("evil", EVIL)
def test_a_manifest_of_others_names_no_path(hostile: Tree, table: str, evil: str) -> None:
    column = {"shards": "path", "stages": "stage"}.get(table, "shard")
    with duckdb.connect(str(hostile.store.manifest)) as con:
        if table == "dropped":
            con.execute("INSERT INTO dropped VALUES (?, now()::TIMESTAMP)", [evil])
        else:
            con.execute(f"UPDATE {table} SET {column} = ?", [evil])
    for words in (*COMMANDS[1:], COMMANDS[0]):
        one_line(hostile, *words, "--store", hostile.store.root, codes=(0, 1, 2))


@pytest.mark.parametrize("evil", EVIL)
def test_a_plan_of_others_names_no_path(hostile: Tree, evil: str) -> None:
    (plan,) = hostile.store.ledger.glob("plans-*.parquet")
    pq.write_table(with_column(pq.read_table(plan), "shard", evil), plan)
    said = one_line(hostile, "index", "--store", hostile.store.root, codes=(2,))
    assert "plans" in said
    assert "is not the name of a shard" in said


@pytest.mark.parametrize("facts", [{"annotation_sha256": "../../.."}, {"name": "../../victim"}])
def test_annotations_of_others_name_no_path(hostile: Tree, facts: dict[str, str]) -> None:
    path = hostile.store.ledger / "annotations" / "toy" / "facts.json"
    path.write_bytes(json_bytes(read_json(path) | facts))
    said = one_line(hostile, "index", "--store", hostile.store.root, codes=(0,))
    assert "annotations/toy was written again from the manifest" in said
    path.write_bytes(json_bytes(read_json(path) | facts))
    hostile.store.manifest.unlink()
    said = one_line(hostile, "index", "--store", hostile.store.root, codes=(2,))
    assert "facts.json" in said


@pytest.mark.parametrize("column", ["clip_id", "key", "split", "dataset"])
def test_clips_of_others_name_no_path(hostile: Tree, column: str) -> None:
    (path,) = hostile.store.ledger.glob("annotations/toy/*/clips.parquet")
    pq.write_table(with_column(pq.read_table(path), column, "../../victim/kept"), path)
    said = one_line(hostile, "index", "--store", hostile.store.root, codes=(2,))
    assert "../../victim/kept" in said


def link(path: Path, target: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    "where", ["shards", "shards/toy", "shards/evil", "shards/toy/evil", "ledger", "damaged"]
)
def test_links_out_of_the_store_are_not_followed(hostile: Tree, where: str) -> None:
    link(hostile.store.root / where, hostile.victim)
    said = run_all(hostile)
    assert "leads out of the store" in said


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_linked_files_are_not_read(hostile: Tree, kind: str) -> None:
    sidecar = hostile.store.sidecars()[0]
    link(sidecar.with_suffix(f".{kind}"), hostile.victim / f"a/b/kept.{kind}")
    assert "leads out of the store" in run_all(hostile)


@pytest.mark.parametrize("name", [".lock", ".lock.holder", ".manifest.work.duckdb"])
def test_the_lock_of_others_overwrites_no_file(hostile: Tree, name: str) -> None:
    link(hostile.store.root / name, hostile.victim / "secret.txt")
    one_line(hostile, "index", "--store", hostile.store.root, codes=(0, 2, 4))


def test_links_may_be_allowed(
    hostile: Tree, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("disk") / "shards"
    hostile.store.shards.rename(elsewhere)
    hostile.store.shards.symlink_to(elsewhere)
    with open_store(hostile.store.root) as opened:  # readers follow links
        assert opened.read("audio", ["toy/k00001"])
    monkeypatch.setenv("AVSTORE_FOLLOW_LINKS", "1")
    assert "all match" in one_line(hostile, "verify", "--store", hostile.store.root, codes=(0,))
    assert "rebuilt" in one_line(hostile, "index", "--store", hostile.store.root, codes=(0,))


@pytest.mark.parametrize("key", ["../../victim/kept", "/etc/kept", "a/b", "..", "a\nb"])
def test_an_export_of_a_hostile_manifest_writes_no_other_path(
    hostile: Tree, tmp_path: Path, key: str
) -> None:
    with duckdb.connect(str(hostile.store.manifest)) as con:
        con.execute(
            "UPDATE clips SET clip_id = 'toy/' || $key, key = $key, source_id = $key "
            "WHERE key = 'k00001'",
            {"key": key},
        )
        con.execute(
            "UPDATE samples SET clip_id = 'toy/' || $key WHERE clip_id = 'toy/k00001'", {"key": key}
        )
    sql = "SELECT clip_id FROM samples"
    with open_store(hostile.store.root) as opened:
        for form in ExportFormat:
            with pytest.raises(StoreError, match="key"):
                export(opened, sql, ["audio"], str(tmp_path / "out"), form)
        for kind in ("stella", "cavmae", "llp"):
            with pytest.raises(StoreError, match="key"):
                write_media(
                    opened, export_clips(opened, sql), tmp_path / "out", FolderLayout(kind, "flac")
                )
    hostile.check()


def test_a_mirror_takes_no_path_outside_of_it(hostile: Tree, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot name a snapshot"):
        open_store(f"file://{hostile.store.root}", snapshot="../../x", cache=tmp_path / "cache")
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe("/s/ledger/runs-1.parquet", b"x")
    fs.pipe("/s/ledger/../../../../evil.parquet", b"x")
    fs.store["/s/ledger/../../../../evil.parquet"] = fs.store.get(
        "/s/ledger/../../../../evil.parquet"
    ) or next(iter(fs.store.values()))
    with pytest.raises(StoreError, match="evil"):
        mirror_store("memory://s", tmp_path / "mirrors")
    fs.rm("/s", recursive=True)
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("text", ["[]", "{}", '{"name": 1}', "{", "[" * 100_000])
def test_a_snapshots_facts_are_checked(hostile: Tree, text: str) -> None:
    snapshots.create_snapshot(hostile.store, "paper")
    facts = hostile.store.snapshots / "paper.json"
    facts.chmod(0o644)
    facts.write_text(text)
    for words in (("snapshot", "list"), ("snapshot", "open", "paper"), ("snapshot", "diff", "x")):
        said = one_line(hostile, *words, "--store", hostile.store.root, codes=(2,))
        assert "paper.json" in said or "no snapshot" in said


def test_a_snapshot_that_is_no_database_is_reported(hostile: Tree) -> None:
    hostile.store.snapshots.mkdir()
    (hostile.store.snapshots / "x.duckdb").write_bytes(b"not a database" * 1000)
    said = one_line(hostile, "gc", "--delete", "--store", hostile.store.root, codes=(2,))
    assert "x.duckdb" in said


@pytest.mark.parametrize("path", ["/etc/{frame}", "../{frame}", "a/../../{frame}", "{frame.real}"])
def test_masks_are_read_beside_the_media_only(tmp_path: Path, path: str) -> None:
    for folder in (tmp_path, tmp_path / "a"):
        folder.mkdir(exist_ok=True)
        (folder / "1").write_text("secret")
    masks = {"masks": {"path": path, "seconds": [0], "first_frame": 1}}
    assert mask_files(masks, str(tmp_path / "a" / "clip.mp4")) == ()


def test_keys_have_one_pattern() -> None:
    for key in ("a", "-a_0", "a.b", "a/b", "..", "", "a\n", "é"):
        assert bool(KEY_PATTERN.fullmatch(key)) == names.is_name("key", key)


# Imports


def import_tar(folder: Path, changes: dict[str, object], source: Path) -> Path:
    """Copy the first clip of a store's shards to a tar, with other values in its json."""
    (shard, *_) = sorted(source.glob("shards/*/*/*.tar"))
    out = folder / "import.tar"
    with tarfile.open(shard) as old, tarfile.open(out, "w") as new:
        for member in old:
            content = old.extractfile(member).read()
            if member.name.endswith(".json"):
                content = json.dumps(json.loads(content) | changes).encode()
            info = tarfile.TarInfo(member.name)
            info.size = len(content)
            new.addfile(info, BytesIO(content))
    return out


def state(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


BAD_FACTS = [
    {"recipe": "../../../../victim/x", "fingerprint": "0" * 64},
    {"recipe": "/tmp/x", "fingerprint": "0" * 64},
    {"recipe": "stella", "fingerprint": "/../../x" + "0" * 56},
    {"recipe": "stella", "fingerprint": "A" * 64},
    {"recipe": "x/../stella", "fingerprint": "0" * 64},
    {"recipe": "a" * 300, "fingerprint": "0" * 64},
    {"recipe": ["stella"], "fingerprint": {"x": 1}},
]


@pytest.mark.slow
@pytest.mark.parametrize("facts", BAD_FACTS)
def test_an_import_names_no_path(small_store, tmp_path: Path, facts: dict) -> None:  # noqa: F811
    store, annotations = small_store
    source = import_tar(tmp_path, facts, store)
    (tmp_path / "victim").mkdir()
    other = Store(tmp_path / "a" / "other")
    import_items(other, VGGSOUND, read_items(source), [annotations])
    outside = [p for p in tmp_path.rglob("*.tar") if not p.is_relative_to(other.root)]
    assert outside == [source]
    assert {p.parent.name.split("-")[0] for p in other.shards.glob("*/*/*.tar")} == {"imported"}


BAD_VALUES = [
    {"media": {"bytes": "many", "path": "/etc/passwd", "x": {}}},
    {"media": {"duration_s": [1], "width": 2**80}},
    {"frame_times": ["x"] * 80},
    {"frame_times": [float("nan")] * 80},
    {"verdict": ["silent"]},
    {"verdict": {"a": 1}},
    {"duration_s": float("nan")},
    {"duration_s": True},
    {"clip_id": {"a": 1}},
    {"clip_id": ["x"]},
]


@pytest.mark.slow
@pytest.mark.parametrize("facts", BAD_VALUES)
def test_an_import_with_values_of_other_types_is_stored_or_refused(
    small_store,  # noqa: F811
    tmp_path: Path,
    facts: dict,
) -> None:
    store, annotations = small_store
    other = Store(tmp_path / "other")
    import_items(other, VGGSOUND, read_items(import_tar(tmp_path, facts, store)), [annotations])
    with open_read(other) as con:
        assert list(verify(con, other)) == []
        paths = con.execute("SELECT DISTINCT path FROM media").fetchall()
    assert ("/etc/passwd",) not in paths


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["plans", "everything", "manifest"])
def test_an_import_replaces_no_committed_shard(small_store, tmp_path: Path, lost: str) -> None:  # noqa: F811
    """The plan's number is free even if the ledger or the manifest forgot the shards."""
    origin, annotations = small_store
    store = Store(tmp_path / "copy")
    shutil.copytree(origin, store.root)
    before = state(store.shards)
    if lost in ("plans", "everything"):
        for path in store.ledger.glob("plans-*"):
            path.unlink()
        store.manifest.with_suffix(".duckdb.sha256").unlink()  # as in a store of an older version
        with duckdb.connect(str(store.manifest)) as con:
            con.execute("DELETE FROM plans")
            if lost == "everything":  # as for a companion of shards that the manifest lacks
                for table in ("shards", "samples", "quality", "media"):
                    con.execute(f"DELETE FROM {table}")
    else:
        store.manifest.unlink()
    import_items(store, VGGSOUND, read_items(import_tar(tmp_path, {}, origin)), [annotations])
    after = state(store.shards)
    assert {path: after.get(path) for path in before} == before


@pytest.mark.slow
def test_a_fingerprint_that_begins_like_another_is_refused(small_store, tmp_path: Path) -> None:  # noqa: F811
    origin, annotations = small_store
    store = Store(tmp_path / "copy")
    shutil.copytree(origin, store.root)
    with open_read(store) as con:
        ((recipe, fingerprint),) = con.execute("SELECT recipe, fingerprint FROM stages").fetchall()
    facts = {"recipe": recipe, "fingerprint": fingerprint[:8] + "0" * 56}
    source = import_tar(tmp_path, facts, origin)
    before = state(store.shards)
    with pytest.raises(StoreError, match="begins like"):
        import_items(store, VGGSOUND, read_items(source), [annotations])
    assert state(store.shards) == before


def test_a_build_after_lost_plans_replaces_no_shard(store: Store) -> None:
    """A late clip goes into a new shard although the ledger lost the numbers of the old ones."""
    from avstore.manifests.catalogue import open_write
    from avstore.manifests.lock import writing
    from avstore.manifests.rebuild import rebuild
    from tests.manifests import synthetic

    before = state(store.shards)
    for path in store.ledger.glob("plans-*"):
        path.unlink()
    with writing(store), open_write(store, fresh=True) as writer:
        rebuild(writer, store)
        synthetic.annotate(writer, store, synthetic.clip_rows(24))
        late = {f"toy/k{n:05d}": None for n in range(20, 24)}
        synthetic.fetch(writer, store, "late", late)
        synthetic.build(writer, store, "late")
        writer.publish()
    after = state(store.shards)
    assert {path: after.get(path) for path in before} == before
    assert len(after) > len(before)
    with open_read(store) as con:
        assert list(verify(con, store)) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="device files need root")
def test_a_shard_that_is_a_device_is_not_read(hostile: Tree) -> None:
    sidecar = hostile.store.sidecars()[0]
    sidecar.unlink()
    os.mkfifo(sidecar)
    one_line(hostile, "index", "--store", hostile.store.root, codes=(0, 1, 2))
