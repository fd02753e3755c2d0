"""Clips out of archives (zip, tar, compressed, split), local or at any fsspec address."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.archive_members import DAMAGE, BombError, Member, members
from avstore.pipelines.fetch.archive_parts import Archive
from avstore.pipelines.fetch.attempt import Started, failed, stored
from avstore.pipelines.fetch.download_dir import DownloadDir, DownloadedFile
from avstore.pipelines.fetch.folder import EXTENSIONS
from avstore.pipelines.fetch.guards import DiskWatch, FetchStopped
from avstore.pipelines.fetch.options import FetchOptions
from avstore.pipelines.fetch.remote_files import NETWORK_ERRORS, PartedFile, with_ranges
from avstore.pipelines.fetch.source import FetchResult, MediaRequest, SourceError
from avstore.pipelines.fetch.taxonomy import AttemptError, classify

TOOL = "archive"


@dataclass(frozen=True)
class _Claim:
    """A clip that a member of a certain stem would satisfy. whole: it is to be cut from it."""

    clip: MediaRequest
    whole: bool


class ArchiveSource:
    """Every clip that a member of one of the archives is named after. One pass over each archive,
    which ends as soon as nothing is wanted any more; members are committed to `raw`."""

    rechecks = True
    tool = TOOL

    def __init__(self, archives: Sequence[Archive], options: FetchOptions, raw: Path) -> None:
        if not archives:
            raise SourceError("no archive was found; check SOURCE")
        self.archives = archives
        self.options = options
        self.landing = DownloadDir(raw)

    def fetch(self, wanted: Sequence[MediaRequest]) -> Iterator[FetchResult]:
        """One outcome a clip. Raises FetchStopped before the disk is full."""
        self.landing.prepare()
        landed = self.landing.landed()
        pending: dict[str, MediaRequest] = {}
        for clip in wanted:
            if file := landed.get(clip.key):
                yield stored(clip, file, "", TOOL, Started.now(), charged=False)
            else:
                pending[clip.clip_id] = clip
        failures: dict[str, AttemptError] = {}
        damage: list[str] = []
        for archive in self.archives:
            if not pending:
                break
            try:
                yield from self._search(archive, pending, failures)
            except BombError as error:
                damage.append(f"{archive.label} was given up: {error}")
            except FetchStopped:
                raise
            except SourceError as error:
                if len(self.archives) == 1:
                    raise
                damage.append(str(error))
            except (*DAMAGE, *NETWORK_ERRORS) as error:
                damage.append(f"{archive.label} cannot be read further: {_said(error)}")
        for clip in pending.values():
            yield self._missing(clip, failures.get(clip.clip_id), damage)

    def _search(
        self, archive: Archive, pending: dict[str, MediaRequest], failures: dict[str, AttemptError]
    ) -> Iterator[FetchResult]:
        """Outcomes of the clips found in one archive; they leave `pending`."""
        claims = _claims(pending.values())
        spool = self.landing.scratch("archive")
        disk = DiskWatch(self.landing.raw, self.options.min_free_bytes)
        try:
            parts = with_ranges(archive.parts, spool)
            with PartedFile(parts, self.options.wait_scale) as file:
                for member in members(file, archive.label):
                    takers = [c for c in claims.get(member.stem, ()) if c.clip.clip_id in pending]
                    if not takers or member.extension not in EXTENSIONS:
                        continue
                    disk.check()
                    for row in self._take(member, takers, archive.label, failures):
                        del pending[row.clip_id]
                        yield row
                    if not pending:
                        return
        finally:
            shutil.rmtree(spool, ignore_errors=True)

    def _take(
        self,
        member: Member,
        takers: Sequence[_Claim],
        label: str,
        failures: dict[str, AttemptError],
    ) -> Iterator[FetchResult]:
        """Commit a member for every clip that wants it; the second and later share its bytes."""
        started = Started.now()
        first = takers[0]
        note = f"{member.name} in {label}"
        try:
            landed = self._land(member, first)
        except AttemptError as error:
            failure = AttemptError(error.verdict, f"{note}: {error.message}")
            failures.update(dict.fromkeys((t.clip.clip_id for t in takers), failure))
            return
        yield stored(first.clip, landed, note, TOOL, started, charged=False)
        for taker in takers[1:]:
            shared = self.landing.share(landed, taker.clip.key)
            yield stored(taker.clip, shared, note, TOOL, started, charged=False)

    def _land(self, member: Member, taker: _Claim) -> DownloadedFile:
        if member.refused:
            raise AttemptError(Verdict.UNDECODABLE, f"refused: {member.refused}")
        if member.size > self.options.max_bytes:
            raise AttemptError(
                Verdict.UNDECODABLE,
                f"refused: {member.size} bytes, more than max_bytes {self.options.max_bytes}",
            )
        folder = self.landing.scratch(taker.clip.key)
        temp = folder / f"media.{member.extension}"
        try:
            with member.open() as source, temp.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            return self.landing.land(taker.clip.key, temp, taker.whole)
        except DAMAGE as error:
            raise AttemptError(Verdict.TRUNCATED, f"damaged: {_said(error)}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _missing(
        self, clip: MediaRequest, error: AttemptError | None, damage: list[str]
    ) -> FetchResult:
        if error is None:
            stems = " or ".join(f"{name.stem}.*" for name in clip.names)
            labels = ", ".join(archive.label for archive in self.archives[:3])
            if len(self.archives) > 3:
                labels += f" and {len(self.archives) - 3} more"
            text = f"no {stems} in {labels}"
            verdict = Verdict.NOT_FOUND
            if damage:
                # It may lie in what could not be read.
                text = f"{text}; {'; '.join(damage)}"
                verdict = classify(text)
            error = AttemptError(verdict, text)
        return failed(clip, error, TOOL, Started.now(), charged=False)


def _claims(clips: Iterable[MediaRequest]) -> dict[str, list[_Claim]]:
    """Which clips a stem would satisfy."""
    claims: dict[str, list[_Claim]] = {}
    for clip in clips:
        for name in clip.names:
            claims.setdefault(name.stem, []).append(_Claim(clip, name.whole_video))
    return claims


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
