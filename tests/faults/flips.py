"""Flip single bits in a store of every kind of file; count what `verify` and `index` see."""

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from avstore.manifests import ledger, snapshots
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.lock import writing
from avstore.manifests.sealed import html_bytes
from avstore.manifests.store import Store, file_sha256
from avstore.manifests.verify import verify_store
from avstore.pipelines.build.repair import repair_store
from avstore.pipelines.fetch.attempt_log import AttemptLog, to_row
from avstore.pipelines.fetch.source import FetchResult
from tests.manifests import synthetic

KINDS = {
    "shard": "shards/*/*/*[0-9].tar",
    "sidecar": "shards/*/*/*0[0-9].parquet",
    "companion": "shards/*/*/*.clip-*.tar",
    "companion's sidecar": "shards/*/*/*.clip-*.parquet",
    "attempts": "ledger/attempts-*.parquet",
    "log of attempts": "ledger/attempts-*.jsonl.part",
    "runs": "ledger/runs-*.parquet",
    "plans": "ledger/plans-*.parquet",
    "small tables": "ledger/[!-]*s.parquet",
    "annotations": "ledger/annotations/*/*/*.parquet",
    "facts of annotations": "ledger/annotations/*/facts.json",
    "manifest": "manifest.duckdb",
    "manifest's sha256": "manifest.duckdb.sha256",
    "snapshot": "snapshots/*.duckdb",
    "facts of a snapshot": "snapshots/*.json",
    "report": "reports/*.html",
    "media": "raw/*/*.mp4",
}

# Tables that may lack rows after a file of this kind was left out; the others keep theirs.
_DEPEND = {
    "sidecar": {"shards", "samples", "media", "quality"},
    "companion's sidecar": {"feature_samples"},
    "attempts": {"attempts"},
    "log of attempts": {"attempts"},
    "runs": {"runs"},
    "plans": {"plans"},
    "annotations": {"datasets", "clips", "labels", "segments", "annotation_errors"},
    "facts of annotations": {"datasets", "clips", "labels", "segments", "annotation_errors"},
}
_DERIVED = {"status", "plans"}  # status, and plans.done, follow from the other tables


@dataclass
class Counts:
    """Flips made, found by verify, and taken in by index, by kind."""

    made: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    taken_in: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Return the counts as text."""
        lines = [f"{'kind':<24}{'flips':>7}{'found':>7}"]
        lines += [f"{kind:<24}{self.made[kind]:>7}{self.found[kind]:>7}" for kind in KINDS]
        lines.append(f"{'all':<24}{self.made.total():>7}{self.found.total():>7}")
        return "\n".join(lines)


def make_store(root: Path) -> Store:
    """Write a store with every kind of file, that a killed run left."""
    store = Store(root)
    store.root.mkdir()
    rows = synthetic.clip_rows(20)
    with writing(store), open_write(store) as writer:
        run = ledger.new_run("build toy", {})
        synthetic.annotate(writer, store, rows)
        gone = {rows[i]["clip_id"]: "private" for i in (2, 7, 11)}
        outcomes = {r["clip_id"]: gone.get(r["clip_id"]) for r in rows}
        synthetic.fetch(writer, store, run.run_id, outcomes)
        synthetic.build(writer, store, run.run_id, rejected=frozenset({"toy/k00000"}))
        synthetic.add_feature(writer, store, "clip", "feedbeef" + "00" * 28)
        for table in ledger.SMALL_TABLES:
            ledger.save_table(writer.con, store, table)
        ledger.finish_run(writer.con, store, run, "done")
        writer.publish()
    snapshots.create_snapshot(store, "paper", "Table 2")
    store.reports.mkdir()
    (store.reports / "toy.html").write_bytes(html_bytes("<html>20 clips</html>"))
    _write_media(store)
    return store


def _write_media(store: Store) -> None:
    """Write two fetched files, recorded by a run that was killed, and by one that was not."""
    log = AttemptLog(store.root, "r2")
    for key, closed in (("k00001", True), ("k00003", False)):
        path = store.raw("toy") / f"{key}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(key.encode() * 100)
        fetched = FetchResult(
            clip_id=f"toy/{key}",
            status="stored",
            verdict=None,
            message="",
            offset_s=0.0,
            tool_version="test",
            started_at=ledger.now(),
            seconds=0.5,
            path=str(path.relative_to(store.root)),
            sha256=file_sha256(path),
            bytes=path.stat().st_size,
        )
        log.append(to_row(fetched, "r2", 1000))
        if closed:
            log.close()
            with writing(store), open_write(store) as writer:
                ledger.load_new_files(writer.con, store)
                writer.publish()


def contents(store: Store) -> dict[str, Counter[str]]:
    """Return the rows of each table of a manifest, without those of `index` itself."""
    with open_read(store) as con:
        names = con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        tables = {name for (name,) in names} - {"meta", "ledger_files"}
        rows = {name: con.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}
    rows["runs"] = [row for row in rows["runs"] if row[1] != "index"]
    return {name: Counter(map(repr, found)) for name, found in rows.items()}


def flips(store: Store, count: int, seed: int) -> Iterator[tuple[str, Path, int]]:
    """Yield (kind, file, bit), every kind as often as any other."""
    rng = random.Random(seed)
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        path = rng.choice(sorted(store.root.glob(KINDS[kind])))
        yield kind, path, rng.randrange(8 * path.stat().st_size)


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.chmod(0o644)
    path.write_bytes(content)


def run(folder: Path, count: int, seed: int = 0) -> Counts:
    """Flip bits one at a time in copies of a store, and run `verify` and `index` on each."""
    store, counts = make_store(folder / "store"), Counts()
    assert verify_store(store) == []
    expected = indexed(store, folder / "right")
    for kind, path, bit in flips(store, count, seed):
        name = str(path.relative_to(store.root))
        copy = Store(folder / "flipped")
        shutil.copytree(store.root, copy.root)
        flip(copy.root / name, bit)
        counts.made[kind] += 1
        found = name in {problem.where for problem in verify_store(copy)}
        counts.found[kind] += found
        if not found:
            counts.missed.append(f"{kind}: {name} bit {bit}")
        counts.taken_in += [
            f"{kind}: {name} bit {bit}: {what}" for what in taken_in(copy, kind, expected)
        ]
        shutil.rmtree(copy.root)
    return counts


def indexed(store: Store, root: Path) -> dict[str, Counter[str]]:
    """Return what a rebuild of a copy of the store gives."""
    copy = Store(root)
    shutil.copytree(store.root, copy.root)
    with writing(copy):
        repair_store(copy)
    return contents(copy)


def taken_in(store: Store, kind: str, expected: dict[str, Counter[str]]) -> Iterator[str]:
    """Run `index` and yield the tables whose contents are wrong because of the flip."""
    with writing(store):
        repair_store(store)
    found = contents(store)
    for table, rows in expected.items():
        extra, lacking = found[table] - rows, rows - found[table]
        derived = table in _DERIVED and kind in _DEPEND
        may_lack = _DEPEND.get(kind, set()) | (_DERIVED if derived else set())
        if (extra and not derived) or (lacking and table not in may_lack):
            yield f"{table} has {list(extra)[:1]} and lacks {list(lacking)[:1]}"
