"""The driver of a build: annotations, fetch, plan, extract, account. The only writer."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avstore.datasets.spec import DatasetSpec
from avstore.manifests import annotation_sets as published
from avstore.manifests import ledger
from avstore.manifests.account import Account, check
from avstore.manifests.catalogue import Writer, open_write
from avstore.manifests.ingest import refresh_status, transaction
from avstore.manifests.lock import writing
from avstore.manifests.store import Store, StoreError
from avstore.manifests.tasks import create_task_view, register
from avstore.pipelines.build import planner as planning
from avstore.pipelines.build.annotations import files_sha256, read_published
from avstore.pipelines.build.cluster import Progress, connect, no_progress
from avstore.pipelines.build.dispatch import run_shards, shard_job
from avstore.pipelines.build.recovery import recover
from avstore.pipelines.build.task_streams import load_stream
from avstore.pipelines.extract.recipe import Recipe
from avstore.pipelines.fetch.attempt_log import AttemptLog
from avstore.pipelines.fetch.folder import FolderSource
from avstore.pipelines.fetch.guards import FetchStopped
from avstore.pipelines.fetch.open_source import FetchOptions, open_source
from avstore.pipelines.fetch.outcomes import record_outcomes, wanted_clips
from avstore.pipelines.fetch.source import MachineError, MediaRequest, MediaSource


@dataclass(frozen=True)
class BuildOptions:
    """What a build is asked to do.

    source: a folder, an archive, an address, or 'youtube'. annotations: published files.
    shard_clips: clips a shard (None: the dataset's). workers, scheduler: see cluster.connect.
    wait_s: how long to wait for another writer. limit: at most this many clips are asked for.
    """

    store: Path
    source: str
    annotations: tuple[Path, ...]
    shard_clips: int | None = None
    workers: int | None = None
    scheduler: str | None = None
    wait_s: float = 0.0
    limit: int | None = None
    fetch: FetchOptions = field(default_factory=FetchOptions)


@dataclass(frozen=True)
class Built:
    """How a build ended: the account of every stage, and what was done now. strangers: files of
    the source that are no clip's."""

    stage: str
    accounts: list[Account]
    shards: int
    bad_rows: int
    strangers: list[str]


def build(
    spec: DatasetSpec, recipe: Recipe, options: BuildOptions, progress: Progress = no_progress
) -> Built:
    """Bring a dataset's shards and manifest up to date. Raises StoreError and its kin."""
    store = _prepare(options.store)
    run = ledger.new_run(f"build {spec.name}", _config(recipe, options))
    with writing(store, options.wait_s), open_write(store) as writer:
        recover(writer, store)
        log = AttemptLog(store.root, run.run_id)
        driver = _Driver(store, writer, spec, recipe, options, progress, run.run_id, log)
        outcome = "failed"
        try:
            built = driver.run()
            outcome = "done"
        except KeyboardInterrupt:
            outcome = "interrupted"
            raise
        finally:
            log.close()
            ledger.finish_run(writer.con, store, run, outcome)
            writer.publish()
    return built


def _config(recipe: Recipe, options: BuildOptions) -> dict[str, object]:
    return {
        "source": options.source,
        "annotations": [str(path) for path in options.annotations],
        "recipe": recipe.name,
        "fingerprint": recipe.fingerprint,
        "shard_clips": options.shard_clips,
        "limit": options.limit,
    }


def _prepare(root: Path) -> Store:
    """The store at `root`, made if it is not there. Raises MachineError where it cannot be."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".probe.{id(root)}.tmp"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise MachineError(
            f"the store {root} cannot be written: {error.strerror or error}; "
            "choose another folder (STORE=DIR, or --store DIR)"
        ) from error
    return Store(root)


@dataclass(frozen=True)
class _Driver:
    """One build's parts, so that its steps need not hand them round."""

    store: Store
    writer: Writer
    spec: DatasetSpec
    recipe: Recipe
    options: BuildOptions
    progress: Progress
    run_id: str
    log: AttemptLog

    @property
    def stage(self) -> str:
        return f"{self.recipe.name}-{self.recipe.fp8}"

    def run(self) -> Built:
        source = open_source(
            self.options.source, self.options.fetch, self.store.raw(self.spec.name)
        )
        self.refuse_lost_shards()
        bad_rows = self.annotate()
        self.begin_stage()
        self.register_streams()
        wanted = wanted_clips(
            self.writer.con, self.spec, source.rechecks, source.tool, self.options.limit
        )
        shards = sum(self.fetch_and_extract(source, wanted))
        self.writer.publish()
        account = check(self.writer.con, self.spec.name)
        return Built(self.stage, account, shards, bad_rows, self.strangers(source, wanted))

    def strangers(self, source: MediaSource, wanted: Sequence[MediaRequest]) -> list[str]:
        """Files of a folder that are no clip's: named otherwise, or of another list."""
        if isinstance(source, FolderSource) and self.options.limit is None:
            return source.strangers(wanted)
        return []

    def refuse_lost_shards(self) -> None:
        """What the manifest calls stored must be there, by its size at least."""
        rows = self.writer.con.execute(
            "SELECT path, bytes FROM shards WHERE dataset = ? ORDER BY path", [self.spec.name]
        ).fetchall()
        for path, size in rows:
            file = self.store.root / path
            if not file.is_file() or file.stat().st_size != size:
                what = "has another size than" if file.is_file() else "is not there, but in"
                root = shlex.quote(str(self.store.root))
                raise StoreError(
                    f"{path} {what} the manifest; run avstore verify --repair --store {root}, and "
                    "then this build again"
                )

    def annotate(self) -> int:
        """Take in the annotation files, unless they are the ones the manifest has."""
        con, name = self.writer.con, self.spec.name
        sha256 = files_sha256(self.options.annotations)
        row = con.execute(
            "SELECT annotation_sha256, version FROM datasets WHERE name = ?", [name]
        ).fetchone()
        if row != (sha256, self.spec.version):
            found = read_published(self.spec, self.options.annotations)
            published.save(self.store, found)
            with transaction(con):
                published.ingest(con, found)
                refresh_status(con)
        (bad,) = con.execute(
            "SELECT count(*) FROM annotation_errors WHERE dataset = ?", [name]
        ).fetchone() or (0,)
        return int(bad)

    def begin_stage(self) -> None:
        """Give every clip a status at this extraction stage."""
        con, name = self.writer.con, self.spec.name
        known = con.execute(
            "SELECT 1 FROM stages WHERE stage = ? AND dataset = ?", [self.stage, name]
        ).fetchone()
        if known:
            return
        with transaction(con):
            con.execute(
                "INSERT INTO stages VALUES (?, ?, ?, ?)",
                [self.stage, name, self.recipe.name, self.recipe.fingerprint],
            )
            refresh_status(con)
        ledger.save_table(con, self.store, "stages")

    def register_streams(self) -> None:
        """Make the dataset's task streams queries of this manifest."""
        with transaction(self.writer.con):
            for stream in self.spec.streams:
                register(self.writer.con, load_stream(stream))
            create_task_view(self.writer.con)
        ledger.save_table(self.writer.con, self.store, "tasks")

    def fetch_and_extract(
        self, source: MediaSource, wanted: Sequence[MediaRequest]
    ) -> Iterator[int]:
        """Fetch; whenever enough is there for whole shards, extract; the rest at the end."""
        size = self.options.shard_clips or self.spec.shard_clips
        stopped: FetchStopped | None = None
        try:
            for _ in self.fetch(source, wanted, size * 8):
                yield self.extract(size, whole_only=True)
        except FetchStopped as stop:
            stopped = stop  # what is there is worth its shards
        yield self.extract(size, whole_only=False)
        if stopped:
            raise stopped
        self.refuse_nothing_found(wanted)

    def fetch(
        self, source: MediaSource, wanted: Sequence[MediaRequest], pause: int
    ) -> Iterator[None]:
        """Ask the source for the clips; yields after every `pause` outcomes of a slow source."""
        if not wanted:
            return
        with self.progress("fetch", len(wanted)) as advance:
            outcomes = record_outcomes(
                self.writer.con, self.store, self.log, self.run_id, source.fetch(wanted)
            )
            seen: set[str] = set()
            for number, outcome in enumerate(outcomes, start=1):
                advance(outcome.clip_id not in seen)
                seen.add(outcome.clip_id)
                if not source.rechecks:
                    self.writer.publish(force=False)
                    if number % pause == 0:
                        yield

    def extract(self, size: int, whole_only: bool) -> int:
        """Plan what is there and build every planned shard; how many were built."""
        con, name = self.writer.con, self.spec.name
        new = planning.plan_new(con, name, self.stage, size, whole_only)
        if new.num_rows:
            ledger.save_plan(self.store, self.run_id, new)
            planning.record_plan(con, new)
        shards = planning.outstanding(con, name, self.stage)
        if not shards:
            return 0
        clips = sum(len(shard.clip_ids) for shard in shards)
        jobs = (
            shard_job(con, self.store, name, shard, self.recipe, self.spec.clip_seconds)
            for shard in shards
        )
        with (
            self.progress("extract", clips) as advance,
            connect(self.options.scheduler, self.options.workers) as client,
        ):

            def on_clip(_event: Any) -> None:
                advance(1)

            return sum(1 for _ in run_shards(client, self.writer, jobs, on_clip))

    def refuse_nothing_found(self, wanted: Sequence[MediaRequest]) -> None:
        """A run that found no media at all is a mistake in the call, not a result."""
        (stored,) = self.writer.con.execute(
            "SELECT count(*) FROM status s JOIN clips c USING (clip_id) "
            "WHERE c.dataset = ? AND s.stage = 'fetch' AND s.status = 'stored'",
            [self.spec.name],
        ).fetchone() or (0,)
        if wanted and not stored:
            if reason := self.reason_of_failure():
                raise StoreError(
                    f"none of the {len(wanted)} clips came from {self.options.source}: {reason}"
                )
            example = wanted[0]
            names = ", ".join(name.stem for name in example.names)
            raise StoreError(
                f"none of the {len(wanted)} clips was found in {self.options.source}; "
                f"for {example.clip_id} a file named {names} (any container) was looked for"
            )

    def reason_of_failure(self) -> str | None:
        """What a clip of this run failed of, other than not being in the source."""
        row = self.writer.con.execute(
            "SELECT error_message FROM attempts WHERE run_id = ? AND stage = 'fetch' "
            "AND error_class <> 'not_found' LIMIT 1",
            [self.run_id],
        ).fetchone()
        return str(row[0]) if row else None
