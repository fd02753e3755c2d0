"""Build a dataset: ingest its annotations, fetch its media, extract its shards, check the summary.

The driver is the only process that writes to the manifest.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from avstore.datasets.spec import DatasetSpec
from avstore.manifests import ledger
from avstore.manifests.account import Account, check_accounts
from avstore.manifests.catalogue import Writer, open_write
from avstore.manifests.ingest import refresh_status, transaction
from avstore.manifests.lock import writing
from avstore.manifests.path_text import path_text
from avstore.manifests.redact import redact
from avstore.manifests.sequence import numbers
from avstore.manifests.store import Store
from avstore.manifests.terminal import plural
from avstore.pipelines.build import annotations, planner
from avstore.pipelines.build.cluster import check_scheduler, connect
from avstore.pipelines.build.dispatch import ClipEvent, run_shards
from avstore.pipelines.build.meter import Progress, no_progress
from avstore.pipelines.build.preparing import create_store, is_new
from avstore.pipelines.build.progress import PublishedProgress
from avstore.pipelines.build.recorded_run import recorded_run
from avstore.pipelines.build.recovery import commit_finished, recover
from avstore.pipelines.build.refusals import (
    refuse_lost_shards,
    refuse_nothing_found,
    refuse_nothing_stored,
)
from avstore.pipelines.build.shard_jobs import PostponedShard, shard_job
from avstore.pipelines.extract.recipe import Recipe
from avstore.pipelines.fetch.attempt_log import AttemptLog
from avstore.pipelines.fetch.folder import FolderSource
from avstore.pipelines.fetch.guards import FetchStopped
from avstore.pipelines.fetch.open_source import open_source
from avstore.pipelines.fetch.outcomes import record_outcomes
from avstore.pipelines.fetch.requests import select_requests
from avstore.pipelines.fetch.retry import pending_result
from avstore.pipelines.fetch.source import FetchOptions, MediaRequest, MediaSource

if TYPE_CHECKING:
    from distributed import Client

_LOG = logging.getLogger("avstore")
_SHARDS_PER_PAUSE = 8  # of fetching from a slow source, to extract what has arrived


@dataclass(frozen=True)
class BuildOptions:
    """The options of a build.

    Attributes:
        store: Folder of the store; created if missing.
        source: Where media come from: a folder, an archive, an address, or 'youtube'.
        annotations: The dataset's annotation files; none for those in the store.
        shard_clips: Clips per shard (default: the dataset's).
        workers: Processes of the local cluster (default: one per core).
        scheduler: Address of a running Dask scheduler (default: start a local cluster).
        wait_s: Seconds to wait for another writer; -1 waits for ever.
        limit: Request at most this many clips.
        annotations_only: Take the annotations and task streams, and look for no clip.
        fetch: Options of the source.
        arguments: Words of the command without --store, with which `avstore` builds this again.
    """

    store: Path
    source: str
    annotations: tuple[Path, ...]
    shard_clips: int | None = None
    workers: int | None = None
    scheduler: str | None = None
    wait_s: float = 0.0
    limit: int | None = None
    annotations_only: bool = False
    fetch: FetchOptions = field(default_factory=FetchOptions)
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildResult:
    """The result of a build.

    Attributes:
        stage: The extraction stage, `<recipe>-<fp8>`.
        accounts: The summary of every stage: each published clip is counted exactly once.
        shards: Number of shards built by this run.
        bad_rows: Number of annotation rows that could not be used.
        unmatched_files: Media files of a source folder that match no published clip.
    """

    stage: str
    accounts: list[Account]
    shards: int
    bad_rows: int
    unmatched_files: list[str]


def build(
    spec: DatasetSpec, recipe: Recipe, options: BuildOptions, progress: Progress = no_progress
) -> BuildResult:
    """Bring a dataset's shards and manifest up to date.

    Args:
        spec: The dataset.
        recipe: How clips are extracted.
        options: Store, source and limits.
        progress: Shows the progress of fetching and extracting.

    Raises:
        StoreError: The store or the call is wrong; what was committed before stays.
        MachineError: The disk, a permission or the cluster failed.
        AnnotationError: The annotation files cannot be used.
    """
    if options.scheduler:
        check_scheduler(options.scheduler)
    store = create_store(options.store)
    run = ledger.new_run(f"build {spec.name}", _config(recipe, options))
    with writing(store, options.wait_s), open_write(store) as writer:
        if is_new(store):
            writer.publish()
        recover(writer, store)
        shown = PublishedProgress(store, spec.name, progress)
        with (
            recorded_run(writer, store, run, shown) as recorded,
            closing(AttemptLog(store.root, recorded.run_id)) as log,
        ):
            run_id, sequence = recorded.run_id, numbers(writer.con)
            driver = _Driver(store, writer, spec, recipe, options, shown, run_id, log, sequence)
            try:
                result = driver.run()
            except KeyboardInterrupt:
                commit_finished(writer.con, store)
                raise
    return result


def _config(recipe: Recipe, options: BuildOptions) -> dict[str, object]:
    return {
        "source": path_text(options.source),
        "annotations": [path_text(path) for path in options.annotations],
        "recipe": recipe.name,
        "fingerprint": recipe.fingerprint,
        "shard_clips": options.shard_clips,
        "limit": options.limit,
        "arguments": [path_text(word) for word in options.arguments],
    }


@dataclass(frozen=True)
class _Driver:
    """The parts that every step of one build shares."""

    store: Store
    writer: Writer
    spec: DatasetSpec
    recipe: Recipe
    options: BuildOptions
    progress: Progress
    run_id: str
    log: AttemptLog
    sequence: Iterator[int]
    postponed: set[str] = field(default_factory=set)  # paths of shards to build alone at the end

    @property
    def stage(self) -> str:
        """The extraction stage, `<recipe>-<fp8>`."""
        return f"{self.recipe.name}-{self.recipe.fp8}"

    def run(self) -> BuildResult:
        """Run every step of the build, in order."""
        if self.options.annotations_only:
            bad_rows = self.begin()
            accounts = check_accounts(self.writer.con, self.spec.name)
            return BuildResult(self.stage, accounts, 0, bad_rows, [])
        fetch = self.options.fetch
        source = open_source(
            self.options.source,
            replace(fetch, format=fetch.format or self.spec.ytdlp_format),
            self.store.raw(self.spec.name),
            listed=self.spec.own_data is not None,
        )
        _LOG.info("source %s: %s", redact(self.options.source), source.tool)
        refuse_lost_shards(self.writer.con, self.store, self.spec.name)
        bad_rows = self.begin()
        self.request_lost_media()
        wanted = select_requests(
            self.writer.con, self.spec, source.rechecks, source.tool, self.options.limit
        )
        _LOG.info("%s: %s to fetch", self.spec.name, plural(len(wanted), "clip"))
        shards = sum(self.fetch_and_extract(source, wanted))
        self.writer.publish()
        accounts = check_accounts(self.writer.con, self.spec.name)
        unmatched = self.unmatched_files(source, wanted)
        return BuildResult(self.stage, accounts, shards, bad_rows, unmatched)

    def begin(self) -> int:
        """Take the annotations and task streams; return the number of bad rows."""
        bad_rows = self.ingest_annotations()
        self.begin_stage()
        annotations.register_streams(self.writer.con, self.store, self.spec)
        return bad_rows

    def ingest_annotations(self) -> int:
        """Ingest the annotation files if they changed; return the number of bad rows.

        Without files, the annotations in the store are kept.
        """
        con, name = self.writer.con, self.spec.name
        sha256 = annotations.files_sha256(self.options.annotations)
        row = con.execute(
            "SELECT annotation_sha256, version FROM datasets WHERE name = ?", [name]
        ).fetchone()
        stored = row is not None and not self.options.annotations
        if row != (sha256, self.spec.version) and not stored:
            annotations.ingest_annotations(con, self.store, self.spec, self.options.annotations)
            files = ", ".join(map(path_text, self.options.annotations))
            _LOG.info("%s: annotations of %s ingested", name, files)
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

    def fetch_and_extract(
        self, source: MediaSource, wanted: Sequence[MediaRequest]
    ) -> Iterator[int]:
        """Fetch, and extract whole shards as media arrive; yield the numbers of shards built."""
        size = self.options.shard_clips or self.spec.shard_clips
        stopped: FetchStopped | None = None
        try:
            for _ in self.fetch(source, wanted, size * _SHARDS_PER_PAUSE):
                yield self.extract(size, whole_only=True)
        except FetchStopped as stop:
            stopped = stop  # what has arrived is extracted first
        yield self.extract(size, whole_only=False)
        if stopped:
            raise stopped
        con = self.writer.con
        if wanted:
            refuse_nothing_found(con, self.spec, self.options.source, wanted, self.run_id)
        else:
            refuse_nothing_stored(con, self.store, self.spec.name)

    def fetch(
        self, source: MediaSource, wanted: Sequence[MediaRequest], pause: int
    ) -> Iterator[None]:
        """Fetch the clips; yield after every `pause` outcomes of a slow source."""
        if not wanted:
            return
        with self.progress("fetch", len(wanted)) as advance:
            outcomes = record_outcomes(
                self.writer.con,
                self.store,
                self.log,
                self.run_id,
                source.fetch(wanted),
                self.sequence,
            )
            verdicts: dict[str, str | None] = {}
            for number, outcome in enumerate(outcomes, start=1):
                if earlier := verdicts.get(outcome.clip_id):
                    advance.fail(earlier, -1)
                if outcome.status != "stored" and outcome.verdict:
                    advance.fail(outcome.verdict)
                advance(outcome.clip_id not in verdicts)
                verdicts[outcome.clip_id] = outcome.verdict if outcome.status != "stored" else None
                if not source.rechecks:
                    self.writer.publish(force=False)
                    if number % pause == 0:
                        yield

    def extract(self, size: int, whole_only: bool) -> int:
        """Plan the stored media, build every planned shard and return how many were built."""
        con, name = self.writer.con, self.spec.name
        plan = planner.plan_new(con, name, self.stage, size, whole_only)
        if plan.num_rows:
            planner.record_plan(con, self.store, self.run_id, plan)
            _LOG.info("%s: %s planned in new shards", self.stage, plural(plan.num_rows, "clip"))
        shards = planner.outstanding(con, name, self.stage)
        _LOG.info("%s: %s to build", self.stage, plural(len(shards), "shard"))
        together = [shard for shard in shards if shard.path not in self.postponed]
        if not together and (whole_only or not shards):
            return 0
        with connect(self.options.scheduler, self.options.workers) as client:
            built = self.build_shards(client, together) if together else 0
            if not whole_only:
                alone = [shard for shard in shards if shard.path in self.postponed]
                built += sum(self.build_shards(client, [shard], alone=True) for shard in alone)
        return built

    def build_shards(
        self, client: "Client", shards: Sequence[planner.PlannedShard], alone: bool = False
    ) -> int:
        """Build shards and return how many; those that are to be built alone are postponed."""
        jobs = (
            shard_job(
                self.writer.con,
                self.store,
                self.spec.name,
                shard,
                self.recipe,
                self.spec.clip_seconds,
                next(self.sequence),
                alone,
            )
            for shard in shards
        )
        built = 0
        title = "extract alone" if alone else "extract"
        with self.progress(title, sum(len(shard.clip_ids) for shard in shards)) as advance:
            seen: set[str] = set()

            def on_clips(event: ClipEvent) -> None:
                new = [clip_id for clip_id in event.clips if clip_id not in seen]
                seen.update(new)
                if new and event.failure:
                    advance.fail(event.failure)
                advance(len(new), kept=event.kept)

            for shard in run_shards(client, self.writer, jobs, on_clips):
                if isinstance(shard, PostponedShard):
                    self.postponed.add(shard.path)
                    _LOG.info("%s: postponed, to be built alone", shard.path)
                else:
                    built += 1
                    _LOG.info("%s: committed, %s", shard.path, plural(shard.stored, "clip"))
        return built

    def request_lost_media(self) -> None:
        """Ask the source again for clips of planned shards whose file in the store is gone."""
        con = self.writer.con
        lost = planner.lost_media(con, self.store, self.spec.name)
        rows = (pending_result(clip_id, f"{path} is gone") for clip_id, path in lost)
        for _ in record_outcomes(con, self.store, self.log, self.run_id, rows, self.sequence):
            pass
        for clip_id, path in lost:
            _LOG.warning("%s: %s is gone; the source is asked for it again", clip_id, path)

    def unmatched_files(self, source: MediaSource, wanted: Sequence[MediaRequest]) -> list[str]:
        """Return the media files of a source folder that match no published clip."""
        if isinstance(source, FolderSource) and self.options.limit is None:
            return source.unmatched_files(wanted)
        return []
