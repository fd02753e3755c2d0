"""Any order of build, late clips, new recipe, drop, gc, kill, rebuild and snapshot is safe.

After every step the summary adds up, verify passes, a rebuild gives the same manifest, and no
snapshot has changed.
"""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from avstore.manifests import open_store, snapshots
from avstore.manifests.account import check_accounts
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.drop import drop_feature, drop_stage
from avstore.manifests.gc import collect_garbage, find_garbage
from avstore.manifests.ingest import commit_shards, refresh_status, transaction
from avstore.manifests.ledger import save_table
from avstore.manifests.lock import writing
from avstore.manifests.rebuild import rebuild
from avstore.manifests.store import Store
from avstore.manifests.verify import verify
from avstore.pipelines.build.recovery import recover
from tests.manifests import synthetic
from tests.manifests.test_manifest import contents

RECIPES = {"toy-12345678": synthetic.FINGERPRINT, "toy-87654321": "87654321" + "cd" * 28}
FEATURES = ("feedbeef" + "00" * 28, "0badf00d" + "11" * 28)
MEMORY = Path("/dev/shm")  # faster than a disk
VERDICTS = st.sampled_from([None, None, None, "private"])


class StoreMachine(RuleBasedStateMachine):
    """A store, and the contents that its snapshots had when they were taken."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.store = Store(self.folder / "store")
        self.store.root.mkdir()
        self.clips = 0
        self.stage = synthetic.STAGE
        self.runs = 0
        self.taken: dict[str, dict[str, bytes]] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def run_id(self) -> str:
        self.runs += 1
        return f"r{self.runs:03d}"

    @initialize(clips=st.integers(3, 8))
    def annotate(self, clips: int) -> None:
        self.add_clips(clips)

    @rule(more=st.integers(1, 6))
    def add_clips(self, more: int) -> None:
        self.clips += more
        with writing(self.store), open_write(self.store) as writer:
            recover(writer, self.store)
            synthetic.annotate(writer, self.store, synthetic.clip_rows(self.clips))
            self.begin_stage(writer)
            writer.publish()

    def begin_stage(self, writer) -> None:
        con = writer.con
        if con.execute("SELECT 1 FROM stages WHERE stage = ?", [self.stage]).fetchall():
            return
        with transaction(con):
            values = [self.stage, "toy", "toy", RECIPES[self.stage]]
            con.execute("INSERT INTO stages VALUES (?, ?, ?, ?)", values)
            refresh_status(con)
        save_table(con, self.store, "stages")

    @rule(verdicts=st.lists(VERDICTS, min_size=1, max_size=8), start=st.integers(0, 30))
    def fetch(self, verdicts: list[str | None], start: int) -> None:
        ids = [f"toy/k{(start + i) % self.clips:05d}" for i in range(len(verdicts))]
        with writing(self.store), open_write(self.store) as writer:
            recover(writer, self.store)
            outcomes = dict(zip(ids, verdicts, strict=True))
            synthetic.fetch(writer, self.store, self.run_id(), outcomes)
            writer.publish()

    @rule(size=st.integers(1, 4), silent=st.integers(0, 5))
    def build(self, size: int, silent: int) -> None:
        with writing(self.store), open_write(self.store) as writer:
            recover(writer, self.store)
            self.begin_stage(writer)
            for shard in self.plan(writer, size):
                commit_shards(writer.con, [self.write(shard, silent)])
            writer.publish()

    def plan(self, writer, size: int):
        return synthetic.plan_shards(writer, self.store, self.run_id(), size, self.stage)

    def write(self, shard, silent: int, record: bool = True) -> Path:
        rejected = frozenset(i for i in shard.clip_ids if int(i[-5:]) % 5 == silent)
        fingerprint = RECIPES[self.stage]
        return synthetic.write_shard(self.store, shard, rejected, fingerprint, record)

    @rule(size=st.integers(1, 4), record=st.booleans(), manifest=st.booleans())
    def killed_build(self, size: int, record: bool, manifest: bool) -> None:
        """Kill a build after a tar or its sidecar, before the manifest was updated."""
        with writing(self.store), open_write(self.store) as writer:
            recover(writer, self.store)
            self.begin_stage(writer)
            writer.publish()
            for shard in self.plan(writer, size)[:2]:
                self.write(shard, 9, record=record)
        (self.store.root / ".left.tmp").touch()
        self.verify_passes()
        if manifest:
            self.store.manifest.unlink()
        with writing(self.store), open_write(self.store) as writer:
            recover(writer, self.store)
            writer.publish()

    @rule(stage=st.sampled_from(sorted(RECIPES)))
    def change_recipe(self, stage: str) -> None:
        self.stage = stage

    @rule(fingerprint=st.sampled_from(FEATURES))
    def compute_feature(self, fingerprint: str) -> None:
        with writing(self.store), open_write(self.store) as writer:
            recover(writer, self.store)
            synthetic.add_feature(writer, self.store, "clip", fingerprint)
            writer.publish()

    @rule(fingerprint=st.sampled_from(FEATURES))
    def drop_feature(self, fingerprint: str) -> None:
        with writing(self.store), open_write(self.store) as writer:
            recover(writer, self.store)
            drop_feature(writer.con, self.store, "clip", fingerprint)
            writer.publish()

    @rule(publish=st.booleans())
    def drop_stage(self, publish: bool) -> None:
        """Drop a stage or feature; publish=False is a kill before the manifest was updated."""
        with writing(self.store), open_write(self.store) as writer:
            recover(writer, self.store)
            self.begin_stage(writer)
            drop_stage(writer, self.store, "toy", self.stage)
            if publish:
                writer.publish()
        if not publish:
            with writing(self.store), open_write(self.store) as writer:
                recover(writer, self.store)
                writer.publish()

    @rule()
    def gc(self) -> None:
        with writing(self.store), open_read(self.store) as con:
            items = find_garbage(con, self.store)
            collect_garbage(self.store, items)
            assert find_garbage(con, self.store) == []

    @precondition(lambda self: len(self.taken) < 3)
    @rule()
    def snapshot(self) -> None:
        name = f"s{len(self.taken)}"
        snapshots.create_snapshot(self.store, name)
        self.taken[name] = self.read_all(name)

    def read_all(self, name: str) -> dict[str, bytes]:
        """Read every sample's audio and every feature's first value from a snapshot."""
        with open_store(self.store.root, snapshot=name) as opened:
            rows = opened.query("SELECT DISTINCT clip_id, fingerprint FROM samples").rows()
            found = {}
            for row in rows:
                stage = f"toy-{row['fingerprint'][:8]}"
                audio = opened.read("audio", [row["clip_id"]], stage)
                found[f"{row['clip_id']} {stage}"] = audio[row["clip_id"]]
            return found

    @invariant()
    def account_closes(self) -> None:
        if self.clips:
            with open_read(self.store) as con:
                check_accounts(con, "toy")

    @invariant()
    def verify_passes(self) -> None:
        if self.clips:
            with open_read(self.store) as con:
                assert list(verify(con, self.store)) == []

    @invariant()
    def rebuild_equals_manifest(self) -> None:
        if not self.clips:
            return
        other = Store(self.folder / "other")
        shutil.copytree(self.store.root, other.root)
        other.manifest.unlink()
        with writing(other), open_write(other, fresh=True) as writer:
            rebuild(writer, other)
            writer.publish()
        assert contents(other) == contents(self.store)
        shutil.rmtree(other.root)

    @invariant()
    def snapshots_are_unchanged(self) -> None:
        for name, expected in self.taken.items():
            assert self.read_all(name) == expected


StoreMachine.TestCase.settings = settings(
    max_examples=8,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestStoreMachine = pytest.mark.slow(pytest.mark.timeout(1800)(StoreMachine.TestCase))
