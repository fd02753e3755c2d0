"""Report which files of a source belong to which clips, before anything is built."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from avstore.pipelines.fetch.file_matching import (
    FORMS,
    Assignment,
    FileMatcher,
    assign_files,
    stems,
)
from avstore.pipelines.fetch.source import MediaRequest, MediaSource, SourceError

#: Why a file belongs to no clip, the most telling first.
AMBIGUOUS = "may be one of several clips, so none is chosen; tell them apart with --names"
IN_MS = "start in milliseconds, without an end: add --names '{id}_{start_ms}'"
OTHER_START = "their ids are in the list, but with other starts"
OTHER_NAMES = "their ids are in the list, but --names gives them other names"
UNKNOWN_ID = "no id in their names is in the list"
NO_PLACE = "the list names the file of each clip, and not these"


@dataclass(frozen=True)
class Group:
    """Clips or files that share a form or a cause.

    Attributes:
        name: The form or the cause, in words.
        count: How many there are.
        examples: The first few, as (clip, file) or a file alone.
    """

    name: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class MatchReport:
    """What a build would find.

    Attributes:
        clips: Clips in the list.
        files: Media files in the source.
        found: Clips with a file, by the form of its name.
        missing: Clips without a file, by cause.
        unmatched: Files of no clip, by cause.
        spare: Further files of clips that have one.
        skipped: Folders and files that cannot be used, by path and reason.
    """

    clips: int
    files: int
    found: tuple[Group, ...]
    missing: tuple[Group, ...]
    unmatched: tuple[Group, ...]
    spare: Group
    skipped: Group


def report_matches(
    source: MediaSource, requests: Sequence[MediaRequest], names: str | None, examples: int = 3
) -> MatchReport:
    """Match a source's files to clips; nothing is fetched and nothing is written.

    Args:
        source: A folder or archives.
        requests: The clips.
        names: A pattern of file names, or None.
        examples: Examples of each group.

    Raises:
        SourceError: The source has no files to list.
    """
    files = getattr(source, "files", None)
    if files is None:
        raise SourceError(
            "the clips come from the web, by their addresses: there are no file names to match; "
            "give a folder or an archive as --source"
        )
    matcher = FileMatcher(requests, names)
    paths = list(files())
    assigned = assign_files(matcher, ((path, False) for path in paths))
    found = [
        (file.match.form, f"{clip_id} = {file.path}") for clip_id, file in assigned.clips.items()
    ]
    spares = [("", path) for file in assigned.clips.values() for path in file.spares]
    skipped = getattr(source, "skipped", lambda: ())
    return MatchReport(
        clips=len(requests),
        files=len(paths),
        found=_groups(found, FORMS, examples),
        missing=_groups(_missing(requests, assigned, matcher), None, examples),
        unmatched=_groups(_unmatched(assigned, matcher, names), None, examples),
        spare=_group(spares, examples),
        skipped=_group([("", text) for text in skipped()], examples),
    )


def _unmatched(
    assigned: Assignment, matcher: FileMatcher, names: str | None
) -> Iterator[tuple[str, str]]:
    for path, matches in assigned.ambiguous.items():
        keys = ", ".join(match.request.key for match in matches[:3])
        yield AMBIGUOUS, f"{path} ({keys})"
    for path in assigned.unmatched:
        yield _cause(path, matcher, names), path


def _cause(path: str, matcher: FileMatcher, names: str | None) -> str:
    known = [request for requests in matcher.known_ids(path) for request in requests]
    if not known:
        return UNKNOWN_ID if matcher.searches else NO_PLACE
    if names:
        return OTHER_NAMES
    last = stems(path.rpartition("/")[2])[0].replace("-", "_").rpartition("_")[2]
    in_ms = {str(round(request.start_s * 1000)) for request in known if request.start_s}
    return IN_MS if last.lstrip("0") in in_ms else OTHER_START


def _missing(
    requests: Sequence[MediaRequest], assigned: Assignment, matcher: FileMatcher
) -> Iterator[tuple[str, str]]:
    near = {
        request.clip_id
        for path in assigned.unmatched
        for known in matcher.known_ids(path)
        for request in known
    }
    for request in requests:
        if request.clip_id in assigned.clips:
            continue
        if request.clip_id in assigned.doubtful:
            yield "a file may be this clip or another", request.clip_id
        elif request.file is not None:
            yield "the file that the list names is absent", f"{request.clip_id} ({request.file})"
        elif request.clip_id in near:
            yield "a file has the id, but another start or form", request.clip_id
        else:
            yield "no file has the id", request.clip_id


def _group(items: list[tuple[str, str]], examples: int) -> Group:
    """Return all items as one group without a name."""
    return next(iter(_groups(items, None, examples)), Group("", 0, ()))


def _groups(
    items: Iterator[tuple[str, str]] | list[tuple[str, str]],
    order: Sequence[str] | None,
    examples: int,
) -> tuple[Group, ...]:
    """Group (name, example) pairs, in the given order or by count."""
    counts: dict[str, int] = {}
    shown: dict[str, list[str]] = {}
    for name, example in items:
        counts[name] = counts.get(name, 0) + 1
        if counts[name] <= examples:
            shown.setdefault(name, []).append(example)
    names = [n for n in order if n in counts] if order else sorted(counts, key=lambda n: -counts[n])
    return tuple(Group(name, counts[name], tuple(shown.get(name, ()))) for name in names)
