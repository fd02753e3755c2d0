"""Import a released feature, one array a clip, into a store that need not have the videos."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from avstore.datasets.clips import ArrowClips
from avstore.datasets.spec import DatasetSpec
from avstore.manifests import ledger
from avstore.manifests.catalogue import Writer, open_write
from avstore.manifests.ingest import ingest_features, transaction
from avstore.manifests.lock import writing
from avstore.manifests.path_text import path_text
from avstore.manifests.store import Store
from avstore.pipelines.build import annotations
from avstore.pipelines.build.meter import Meter, Progress, no_progress
from avstore.pipelines.build.progress import PublishedProgress
from avstore.pipelines.build.recorded_run import recorded_run
from avstore.pipelines.build.recovery import recover
from avstore.pipelines.features.lineage import Lineage, record_lineage
from avstore.pipelines.features.registry import check_feature_name
from avstore.pipelines.fetch.guards import DiskGuard
from avstore.pipelines.fetch.requests import clip_request
from avstore.pipelines.fetch.source import MachineError, SourceError
from avstore.pipelines.interchange import feature_lineage
from avstore.pipelines.interchange.array_source import (
    ArraySource,
    open_sources,
)
from avstore.pipelines.interchange.clip_arrays import ClipArrays, SourceCounts
from avstore.pipelines.interchange.feature_layouts import (
    ValueSpec,
    declared_values,
    layouts_of_folder,
)
from avstore.pipelines.interchange.feature_lineage import FeatureAccount
from avstore.pipelines.interchange.feature_shards import FeatureShards
from avstore.pipelines.interchange.feature_values import (
    ARRAY_SUFFIXES,
    BadValueError,
    most_common_values,
    read_value,
)
from avstore.pipelines.interchange.label_folders import SUFFIXES, has_label_maps, joined

SHARD_CLIPS = 1000
_PEEKED_ARRAYS = 64
_MIN_FREE_BYTES = 1 << 30


@dataclass(frozen=True)
class FeatureImportOptions:
    """Define an import.

    Attributes:
        feature: Name of the feature.
        sources: Folders, archives, or addresses of archives.
        annotations: The dataset's annotation files; not needed if the store has its clips.
        names: A pattern of file names; None for the usual forms.
        value: Type and shape of the arrays, such as 'float32 n x 1024'; None takes what the
            published layout or the extractor of this name declares, otherwise the most common.
        shard_clips: Clips per shard.
        wait_s: Seconds to wait for another writer; -1 waits for ever.
        arguments: Words of the command without --store, to import this again.
    """

    feature: str
    sources: Sequence[str]
    annotations: Sequence[Path] = ()
    names: str | None = None
    value: str | None = None
    shard_clips: int = SHARD_CLIPS
    wait_s: float = 0.0
    arguments: Sequence[str] = ()


@dataclass(frozen=True)
class FeatureImportResult:
    """Report how an import ended.

    Attributes:
        lineage: The feature's lineage, with its archives.
        sources: What each folder or archive held.
        account: The closed summary of the dataset's clips.
        reasons: (reason, arrays, example) of all arrays that were not stored.
    """

    lineage: Lineage
    sources: tuple[SourceCounts, ...]
    account: FeatureAccount
    reasons: tuple[tuple[str, int, str], ...]


def import_feature(
    store: Store,
    spec: DatasetSpec,
    options: FeatureImportOptions,
    progress: Progress = no_progress,
) -> FeatureImportResult:
    """Store a feature's arrays, and count every published clip.

    A second import of the same archive stores nothing. An import that was killed continues.

    Args:
        store: The store; created if missing.
        spec: The dataset that the clips belong to.
        options: What to import.
        progress: Opens a progress display of the dataset's clips.

    Raises:
        StoreError: The feature's name or value is invalid, or the store has no clip of the dataset.
        SourceError: A source cannot be read, or has no array of a clip.
        AnnotationError: The annotation files cannot be used.
    """
    check_feature_name(options.feature)
    scratch = store.root / "raw" / spec.name / f".features-{options.feature}"
    suffixes = SUFFIXES if has_label_maps(options.feature) else ARRAY_SUFFIXES
    sources = [each for text in options.sources for each in open_sources(text, scratch, suffixes)]
    store.root.mkdir(parents=True, exist_ok=True)
    config: dict[str, object] = {
        "dataset": spec.name,
        "annotations": [path_text(path) for path in options.annotations],
        "arguments": [path_text(word) for word in options.arguments],
    }
    run = ledger.new_run(f"features import {options.feature}", config)
    with writing(store, options.wait_s), open_write(store) as writer:
        recover(writer, store)
        annotations.ensure_annotations(writer.con, store, spec, options.annotations)
        shown = PublishedProgress(store, spec.name, progress)
        with recorded_run(writer, store, run, shown) as recorded:
            result = _Import(store, writer, spec, options, shown).run(sources)
            recorded.failed = any(each.damage for each in result.sources)
    return result


class _Import:
    """The parts that every step of one import shares."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        spec: DatasetSpec,
        options: FeatureImportOptions,
        progress: Progress,
    ) -> None:
        self._store, self._writer, self._con = store, writer, writer.con
        self._dataset, self._options, self._progress = spec.name, options, progress
        table = self._con.sql(
            "SELECT * FROM clips WHERE dataset = ? ORDER BY position", params=[spec.name]
        ).to_arrow_table()
        # A list's column `file` names the video, not the array.
        requests = [replace(clip_request(spec, clip), file=None) for clip in ArrowClips(table)]
        self._arrays = ClipArrays(spec.name, options.feature, requests, options.names)
        self._clips = len(requests)

    def run(self, sources: Sequence[ArraySource]) -> FeatureImportResult:
        """Import all sources; record each as soon as it is read."""
        lineage = self._lineage(sources)
        spec = ValueSpec.parse(str(lineage.parameters["value"]))
        stored = feature_lineage.stored_members(self._con, self._store, lineage)
        if not stored:
            record_lineage(self._con, self._store, lineage)
        counts = []
        with self._progress(f"import {lineage.feature}", self._clips) as advance:
            for source in sources:
                found, lineage = self._source(source, lineage, spec, stored, advance)
                counts.append(found)
        if not stored:
            self._refuse_empty(lineage, counts)
        account = feature_lineage.account_of(self._con, lineage)
        reasons = feature_lineage.problem_counts(self._con, lineage)
        return FeatureImportResult(lineage, tuple(counts), account, tuple(reasons))

    def _source(
        self,
        source: ArraySource,
        lineage: Lineage,
        spec: ValueSpec,
        stored: dict[str, tuple[int, int]],
        advance: Meter,
    ) -> tuple[SourceCounts, Lineage]:
        """Import one source; return what it held, and the lineage with it."""
        counts, size, sha256 = SourceCounts(source.name, source.within), None, None
        name, dataset = lineage.feature, self._dataset
        numbers = feature_lineage.next_numbers(self._con, self._store, dataset, name, lineage.fp8)
        disk = DiskGuard(self._store.root, _MIN_FREE_BYTES)
        with FeatureShards(
            self._store, dataset, name, lineage.fingerprint, numbers, self._options.shard_clips
        ) as shards:
            try:
                with source.open() as opened:
                    size = opened.bytes
                    if has_label_maps(name):
                        opened.files = joined(opened.files, at_once=not opened.threads)
                    for value in self._arrays.values(opened, counts, spec, stored, advance):
                        shards.add(value)
                        if self._commit(shards.finished()):
                            disk.check()
                    sha256 = opened.sha256()
            except MachineError:
                raise
            except SourceError as error:
                counts.damage = str(error)
        self._commit(shards.finished())
        facts: dict[str, object] = {
            "name": source.name,
            "bytes": size,
            "sha256": sha256,
            "values": counts.new,
        }
        lineage = _with_facts(lineage, facts)
        feature_lineage.save_source(self._con, self._store, lineage, source.name, counts.problems)
        return counts, lineage

    def _commit(self, sidecars: Iterator[Path]) -> bool:
        """Record committed shards; return whether there were any."""
        found = list(sidecars)
        for sidecar in found:
            with transaction(self._con):
                ingest_features(self._con, [sidecar])
        if found:
            self._writer.publish(force=False)
        return bool(found)

    def _lineage(self, sources: Sequence[ArraySource]) -> Lineage:
        """Return the lineage of an earlier import, or the one that the values have."""
        name = self._options.feature
        recorded = None
        if self._options.value is None:
            recorded = feature_lineage.find_imported(self._con, name, self._dataset)
        if recorded:
            return recorded
        spec = ValueSpec.parse(self._options.value) if self._options.value else None
        spec = spec or declared_values(name) or self._peek(sources)
        new = feature_lineage.imported_lineage(name, self._dataset, spec)
        known = feature_lineage.recorded(self._con, new)
        return known or new

    def _peek(self, sources: Sequence[ArraySource]) -> ValueSpec:
        """Return the values that the first arrays have: those of their folder, or the most."""
        counts, values = SourceCounts(""), []
        for source in sources:
            with source.open() as opened:
                of_clips = (x for x in opened.files if self._arrays.clip_of(x, counts))
                for file in islice(of_clips, _PEEKED_ARRAYS):
                    layouts = layouts_of_folder(file.folder)
                    if len(layouts) == 1 and (spec := declared_values(layouts[0].feature)):
                        return spec
                    try:
                        values.append(read_value(file.path, file.read(), file.crc32))
                    except BadValueError:
                        continue  # the import itself counts it
            if spec := most_common_values(values):
                return spec
        raise _nothing(sources[0].place, counts, self._dataset)

    def _refuse_empty(self, lineage: Lineage, counts: Sequence[SourceCounts]) -> None:
        """Raise SourceError if no source had an array of a clip; otherwise all were unreadable."""
        if any(problem["clip_id"] for each in counts for problem in each.problems):
            return
        feature_lineage.forget(self._con, self._store, lineage)
        if damage := next((each.damage for each in counts if each.damage), None):
            raise SourceError(damage)
        raise _nothing(counts[0].name, counts[0], self._dataset)


def _with_facts(lineage: Lineage, facts: dict[str, object]) -> Lineage:
    """Return the lineage with a source; a sha256 and a number of values that are known stay."""
    for known in feature_lineage.sources_of(lineage):
        if (known["name"], known["bytes"]) == (facts["name"], facts["bytes"]):
            facts["sha256"] = facts["sha256"] or known["sha256"]
            facts["values"] = int(known["values"]) + int(str(facts["values"]))
    return feature_lineage.with_source(lineage, facts)


def _nothing(place: str, counts: SourceCounts, dataset: str) -> SourceError:
    """Return the error for a source without an array of a clip."""
    if counts.other_features and not counts.problems:
        found = [f"{number} of {name}" for name, number in counts.other_features.items()]
        return SourceError(
            f"{place} has arrays of other features, by their folders: {', '.join(found)}; "
            "import them by those names"
        )
    if counts.problems:
        member, count = counts.problems[0]["member"], len(counts.problems)
        return SourceError(
            f"none of the {count} arrays in {place} belongs to a clip of {dataset}, such as "
            f"{member}; say how they are named with --names, such as '{{key}}'"
        )
    return SourceError(
        f"{place} has no array of a clip (.npy, .npz, or for label maps a folder <clip> with "
        "things-0000.png and stuff-0000.png); check the source"
    )
