"""Decide which clip a media file belongs to, from its path and the list of clips."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from avstore.pipelines.fetch.containers import extension_rank
from avstore.pipelines.fetch.name_pattern import NamePattern, parse_pattern
from avstore.pipelines.fetch.source import MediaRequest

_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,9})?"
_TIMES = re.compile(rf"(?:[_-]{_NUMBER}){{0,2}}")
_TIMED = re.compile(rf"(?P<id>.+)[_-](?P<number>{_NUMBER})")

#: The forms of file names, best first; a clip's file is the first by form.
FILE_COLUMN, PATTERN, OWN_NAME, START_END, START, START_END_MS, WHOLE = FORMS = (
    "column 'file'",
    "--names",
    "the dataset's own name",
    "ID_START_END in seconds",
    "ID_START in seconds",
    "ID_START_END in milliseconds",
    "ID, the whole video",
)
_RANKS = {form: rank for rank, form in enumerate(FORMS)}


@dataclass(frozen=True, slots=True)
class Match:
    """A clip that a file belongs to.

    Attributes:
        request: The clip.
        form: Which of FORMS the file's name has.
        whole: The file is the whole video and is cut at the clip's start.
        position: Preference among the dataset's own names (0 first).
    """

    request: MediaRequest
    form: str
    whole: bool = False
    position: int = 0

    @property
    def rank(self) -> tuple[int, int]:
        """The order of preference among the files of one clip, smallest first."""
        return _RANKS[self.form], self.position


@dataclass(frozen=True, slots=True)
class Decision:
    """The result for one file.

    Attributes:
        matches: The clips that the file belongs to.
        rejected: The clips that it may belong to, where the name does not say which.
    """

    matches: tuple[Match, ...] = ()
    rejected: tuple[Match, ...] = ()


_NONE = Decision()


class FileMatcher:
    """Match the files of a source to clips; see "File names" in docs/fetching.md for the rules.

    Args:
        requests: The clips.
        names: A pattern of file names, which replaces the automatic forms; None for those.
        split_name: Returns the stems of a file name; None for those of media files.

    Raises:
        SourceError: The pattern is wrong.
    """

    def __init__(
        self,
        requests: Sequence[MediaRequest],
        names: str | None = None,
        split_name: Callable[[str], tuple[str, ...]] | None = None,
    ) -> None:
        self._stems = split_name or stems
        self._pattern = parse_pattern(names) if names else None
        self._by_path: dict[str, list[Match]] = {}
        self._by_id: dict[str, list[MediaRequest]] = {}
        self._by_stem: dict[str, list[MediaRequest]] = {}
        self._depths: set[int] = set()
        for request in requests:
            if request.file is not None:
                match = Match(request, FILE_COLUMN, _named_whole(request))
                self._by_path.setdefault(request.file, []).append(match)
            elif self._pattern:
                self._add_pattern(self._pattern, request)
            else:
                self._add_names(request)

    @property
    def searches(self) -> bool:
        """Whether any clip is found by its name instead of the column `file`."""
        return bool(self._by_id)

    def decide(self, path: str) -> Decision:
        """Return the clips that a file belongs to.

        Args:
            path: The file's path in the source, with forward slashes.
        """
        if found := self._by_path.get(path):
            return _decide(found)
        if self._depths:
            return self._decide_pattern(path)
        for stem in self._stems(path.rpartition("/")[2]):
            if found := list(self._readings(stem)):
                return _decide(found)
        return _NONE

    def known_ids(self, path: str) -> Iterator[list[MediaRequest]]:
        """Yield the clips of each id that the file's name may hold."""
        for stem in self._stems(path.rpartition("/")[2]):
            for source_id, *_ in _split(stem):
                if requests := self._by_id.get(source_id):
                    yield requests

    def _add_names(self, request: MediaRequest) -> None:
        self._by_id.setdefault(request.source_id, []).append(request)
        names = {request.key, *(name.stem for name in request.names)}
        for stem in names:
            if not _has_id_form(stem, request.source_id):
                self._by_stem.setdefault(stem, []).append(request)

    def _add_pattern(self, pattern: NamePattern, request: MediaRequest) -> None:
        whole = _pattern_whole(pattern, request)
        self._by_id.setdefault(request.source_id, []).append(request)
        for name in pattern.names(request):
            self._depths.add(name.count("/"))
            self._by_path.setdefault(f"*/{name}", []).append(Match(request, PATTERN, whole))

    def _decide_pattern(self, path: str) -> Decision:
        folders, _, name = path.rpartition("/")
        parents = folders.split("/") if folders else []
        for depth in self._depths:
            if depth > len(parents):
                continue
            tail = "/".join(parents[len(parents) - depth :])
            for last in (name, *self._stems(name)):
                key = f"*/{tail}/{last}" if tail else f"*/{last}"
                if found := self._by_path.get(key):
                    return _decide(found)
        return _NONE

    def _readings(self, stem: str) -> Iterator[Match]:
        """Yield every clip that a stem can be read as, at most once."""
        seen: set[str] = set()
        for request in self._by_stem.get(stem, ()):
            if match := _own_name(stem, request):
                seen.add(request.clip_id)
                yield match
        for source_id, start, end in _split(stem):
            for request in self._by_id.get(source_id, ()):
                if request.clip_id in seen:
                    continue
                match = _own_name(stem, request) or _timed(request, start, end)
                if match:
                    seen.add(request.clip_id)
                    yield match


@dataclass(frozen=True, slots=True)
class ClipFile:
    """The file of a clip.

    Attributes:
        path: The file's path in the source.
        match: How its name fits the clip.
        spares: Other files of the clip, in order of preference.
    """

    path: str
    match: Match
    spares: tuple[str, ...] = ()


@dataclass(frozen=True)
class Assignment:
    """The files of a source and the clips that they belong to.

    Attributes:
        clips: The file of each clip that has one, by clip id.
        unmatched: Files that belong to no clip.
        ambiguous: Files that may belong to several clips, with those clips.
        doubtful: The first ambiguous file of each such clip, by clip id.
    """

    clips: dict[str, ClipFile]
    unmatched: list[str]
    ambiguous: dict[str, tuple[Match, ...]]
    doubtful: dict[str, str]

    def missing_note(self, request: MediaRequest) -> str:
        """Return which ambiguous file may be the clip's, or ''."""
        if not (path := self.doubtful.get(request.clip_id)):
            return ""
        others = (match.request.key for match in self.ambiguous[path])
        other = next(key for key in others if key != request.key)
        return f" ({path} may be this clip or {other}: not used)"


def assign_files(matcher: FileMatcher, files: Iterable[tuple[str, bool]]) -> Assignment:
    """Match all files of a source, and choose one file a clip.

    Args:
        matcher: The clips.
        files: (path in the source, whether the file is empty) of each media file. Of several files
            of a clip, the first is chosen: not empty, by form, by extension, by path.
    """
    candidates: dict[str, list[tuple[bool, tuple[int, int], int, str, Match]]] = {}
    unmatched: list[str] = []
    ambiguous: dict[str, tuple[Match, ...]] = {}
    for path, empty in files:
        decision = matcher.decide(path)
        for match in decision.matches:
            order = (empty, match.rank, extension_rank(path) or 0, path, match)
            candidates.setdefault(match.request.clip_id, []).append(order)
        if decision.rejected:
            ambiguous[path] = decision.rejected
        elif not decision.matches:
            unmatched.append(path)
    clips = {}
    for clip_id, found in candidates.items():
        if len(found) > 1:
            found.sort(key=lambda order: order[:4])
        (*_, path, match), spares = found[0], tuple(order[3] for order in found[1:])
        clips[clip_id] = ClipFile(path, match, spares)
    doubtful: dict[str, str] = {}
    for path, matches in ambiguous.items():
        for match in matches:
            doubtful.setdefault(match.request.clip_id, path)
    return Assignment(clips, unmatched, ambiguous, doubtful)


def stems(name: str) -> tuple[str, ...]:
    """Return a file name without its container extension, and without a second one (a.mp4.mkv)."""
    if extension_rank(name) is None:
        return ()
    stem = name.rpartition(".")[0]
    if extension_rank(stem) is None:
        return (stem,)
    return stem, stem.rpartition(".")[0]


def _spans_differ(matches: Iterable[Match]) -> bool:
    """Return whether clips are of different videos or seconds; one without times has no seconds."""
    requests = [match.request for match in matches]
    times = {(x.start_s, x.end_s) for x in requests if x.start_s is not None}
    return len(times) > 1 or len({x.source_id for x in requests}) > 1


def _decide(found: Sequence[Match]) -> Decision:
    """Keep the matches if they are of the same seconds, or of one whole video; else reject all."""
    own = [match for match in found if match.form == OWN_NAME and not match.whole]
    kept = own or list(found)
    if len(kept) > 1 and _spans_differ(kept):
        videos = {m.request.source_id if m.form == PATTERN else "" for m in kept}
        if all(match.whole for match in kept) and len(videos) == 1:
            return Decision(tuple(kept))
        # A dataset's name may leave out fractions of a second: an exact time decides.
        exact = [match for match in own if match.position < 0]
        if not exact or _spans_differ(exact):
            return Decision(rejected=tuple(kept))
        kept = exact
    return Decision(tuple(kept))


def _split(stem: str) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield a stem as (id, start, end), (id, start, None) and (id, None, None)."""
    yield stem, None, None
    if last := _TIMED.fullmatch(stem):
        yield last["id"], last["number"], None
        if first := _TIMED.fullmatch(last["id"]):
            yield first["id"], first["number"], last["number"]


def _own_name(stem: str, request: MediaRequest) -> Match | None:
    """Match a name that the dataset uses; position -1 if it is a cut clip's with exact times."""
    for position, name in enumerate(request.names):
        if name.stem != stem:
            continue
        if name.whole_video:
            return Match(request, WHOLE, request.start_s is not None)
        exact = any(
            source_id == request.source_id and start and _timed(request, start, end)
            for source_id, start, end in _split(stem)
        )
        return Match(request, OWN_NAME, False, -1 if exact else position)
    return Match(request, OWN_NAME, False, len(request.names)) if stem == request.key else None


def _timed(request: MediaRequest, start: str | None, end: str | None) -> Match | None:
    """Match the times in a name with those of a clip; without times, the whole video."""
    if start is None:
        return Match(request, WHOLE, request.start_s is not None)
    if request.start_s is None:
        return None
    start_ms = round(request.start_s * 1000)
    if end is None:
        return Match(request, START) if _ms(start) == start_ms else None
    times = start_ms, None if request.end_s is None else round(request.end_s * 1000)
    if (_ms(start), _ms(end)) == times:
        return Match(request, START_END)
    in_ms = "." not in start + end and (int(start), int(end)) == times
    return Match(request, START_END_MS) if in_ms else None


def _ms(seconds: str) -> int:
    return round(float(seconds) * 1000)


def _has_id_form(stem: str, source_id: str) -> bool:
    """Return whether `_split` finds the id in the stem."""
    return stem.startswith(source_id) and bool(_TIMES.fullmatch(stem, len(source_id)))


def _named_whole(request: MediaRequest) -> bool:
    """Return whether the file in the column `file` has the name of the whole video."""
    stem = (stems((request.file or "").rpartition("/")[2]) or ("",))[0]
    return any(name.whole_video and name.stem == stem for name in request.names)


def _pattern_whole(pattern: NamePattern, request: MediaRequest) -> bool:
    """Return whether files of the pattern are whole videos, by its prefix or its fields."""
    if request.start_s is None:
        return False
    if pattern.whole is not None:
        return pattern.whole
    cut = {name.stem for name in request.names if not name.whole_video}
    return not pattern.names_clip and request.source_id not in cut
