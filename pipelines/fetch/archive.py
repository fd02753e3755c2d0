"""Fetch clips from archives (zip, tar, compressed, split), local or at any fsspec URL."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.archive_members import (
    DAMAGE_ERRORS,
    ArchiveMember,
    BombError,
    iter_members,
)
from avstore.pipelines.fetch.archive_parts import Archive
from avstore.pipelines.fetch.attempt import Stopwatch, failed_result, stored_result
from avstore.pipelines.fetch.containers import EXTENSIONS
from avstore.pipelines.fetch.download_dir import DownloadDir, DownloadedFile
from avstore.pipelines.fetch.error_classification import AttemptError, classify, error_text
from avstore.pipelines.fetch.file_matching import Decision, FileMatcher, Match
from avstore.pipelines.fetch.guards import DiskGuard, FetchStopped
from avstore.pipelines.fetch.remote_files import NETWORK_ERRORS, ConcatenatedFile, with_ranges
from avstore.pipelines.fetch.source import (
    FetchOptions,
    FetchResult,
    MediaRequest,
    SourceError,
    missing_message,
)


class ArchiveSource:
    """Fetch the clips whose name is that of a member of one of the archives.

    Each archive is read in one pass, which ends as soon as every clip was found; matching members
    are committed to the store.

    Args:
        archives: The archives, searched in order.
        options: How to fetch.
        raw: The folder STORE/raw/<dataset>.
    """

    rechecks = True
    tool = "archive"

    def __init__(self, archives: Sequence[Archive], options: FetchOptions, raw: Path) -> None:
        self.archives = archives
        self.options = options
        self.downloads = DownloadDir(raw)

    def files(self) -> Iterator[str]:
        """Yield the path of each media file in the archives, read from beginning to end."""
        for archive in self.archives:
            with ConcatenatedFile(archive.parts, self.options.wait_scale) as file:
                for member in iter_members(file, archive.label):
                    if member.extension in EXTENSIONS:
                        yield member.path

    def fetch(self, requests: Sequence[MediaRequest]) -> Iterator[FetchResult]:
        """Yield one result per clip.

        Raises:
            SourceError: The only archive cannot be read.
            FetchStopped: The disk is nearly full.
        """
        self.downloads.prepare()
        committed = self.downloads.committed()
        pending: dict[str, MediaRequest] = {}
        for request in requests:
            if file := committed.get(request.key):
                yield self._stored(request, file, "", Stopwatch.start())
            else:
                pending[request.clip_id] = request
        matcher = FileMatcher(requests, self.options.names)
        failures: dict[str, AttemptError] = {}
        damage: list[str] = []
        for archive in self.archives:
            if not pending:
                break
            try:
                yield from self._search(archive, matcher, pending, failures)
            except BombError as error:
                damage.append(f"{archive.label} was given up: {error}")
            except FetchStopped:
                raise
            except SourceError as error:
                if len(self.archives) == 1:
                    raise
                damage.append(str(error))
            except (*DAMAGE_ERRORS, *NETWORK_ERRORS) as error:
                damage.append(f"{archive.label} cannot be read further: {error_text(error)}")
        for request in pending.values():
            yield self._failed(request, failures.get(request.clip_id), damage)

    def _search(
        self,
        archive: Archive,
        matcher: FileMatcher,
        pending: dict[str, MediaRequest],
        failures: dict[str, AttemptError],
    ) -> Iterator[FetchResult]:
        """Yield the clips found in one archive and remove them from `pending`."""
        spool = self.downloads.scratch("archive")
        disk = DiskGuard(self.downloads.raw, self.options.min_free_bytes)
        try:
            parts = with_ranges(archive.parts, spool, lambda _: disk.check())
            with ConcatenatedFile(parts, self.options.wait_scale) as file:
                for member in iter_members(file, archive.label):
                    if member.extension not in EXTENSIONS:
                        continue
                    decision = matcher.decide(member.path)
                    failures.update(_not_guessed(decision, member, pending))
                    found = [m for m in decision.matches if m.request.clip_id in pending]
                    if not found:
                        continue
                    disk.check()
                    for result in self._extract(member, found, archive.label, failures):
                        del pending[result.clip_id]
                        yield result
                    if not pending:
                        return
        finally:
            shutil.rmtree(spool, ignore_errors=True)

    def _extract(
        self,
        member: ArchiveMember,
        matches: Sequence[Match],
        label: str,
        failures: dict[str, AttemptError],
    ) -> Iterator[FetchResult]:
        """Commit a member for every matching clip; all clips after the first link its file."""
        stopwatch = Stopwatch.start()
        first = matches[0]
        note = f"{member.name} in {label}"
        try:
            file = self._commit(member, first)
        except AttemptError as error:
            failure = AttemptError(error.verdict, f"{note}: {error.message}")
            failures.update(dict.fromkeys((m.request.clip_id for m in matches), failure))
            return
        yield self._stored(first.request, file, note, stopwatch)
        for match in matches[1:]:
            linked = self.downloads.link(file, match.request.key)
            yield self._stored(match.request, linked, note, stopwatch)

    def _commit(self, member: ArchiveMember, match: Match) -> DownloadedFile:
        if member.refused:
            raise AttemptError(Verdict.UNDECODABLE, f"refused: {member.refused}")
        if member.size > self.options.max_bytes:
            raise AttemptError(
                Verdict.UNDECODABLE,
                f"refused: its {member.size} bytes exceed max_bytes={self.options.max_bytes}",
            )
        folder = self.downloads.scratch(match.request.key)
        temp = folder / f"media.{member.extension}"
        try:
            with member.open() as source, temp.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            return self.downloads.commit(match.request.key, temp, match.whole)
        except DAMAGE_ERRORS as error:
            raise AttemptError(Verdict.TRUNCATED, f"damaged: {error_text(error)}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _stored(
        self, request: MediaRequest, file: DownloadedFile, note: str, stopwatch: Stopwatch
    ) -> FetchResult:
        return stored_result(request, file, note, self.tool, stopwatch, charged=False)

    def _failed(
        self, request: MediaRequest, failure: AttemptError | None, damage: list[str]
    ) -> FetchResult:
        """Return the result of a clip that was not found or could not be read."""
        if failure is None:
            labels = ", ".join(archive.label for archive in self.archives[:3])
            if len(self.archives) > 3:
                labels += f" and {len(self.archives) - 3} more"
            text = missing_message(request, labels, self.options.names)
            verdict = Verdict.NOT_IN_SOURCE
            if damage:
                # The clip may be in the data that could not be read.
                text = f"{text}; {'; '.join(damage)}"
                verdict = classify(text)
            failure = AttemptError(verdict, text)
        return failed_result(request, failure, self.tool, Stopwatch.start(), charged=False)


def _not_guessed(
    decision: Decision, member: ArchiveMember, pending: Mapping[str, MediaRequest]
) -> dict[str, AttemptError]:
    """Return the failure of each clip that a member may be, where its name does not say which."""
    keys = [match.request.key for match in decision.rejected]
    message = f"{member.name} may be any of {', '.join(keys[:4])}: not used (--names says which)"
    failure = AttemptError(Verdict.NOT_IN_SOURCE, message)
    ids = (match.request.clip_id for match in decision.rejected)
    return {clip_id: failure for clip_id in ids if clip_id in pending}
