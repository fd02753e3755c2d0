"""Find the clip of each array of a source, and read and check the arrays."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from avstore.manifests.path_text import valid_text
from avstore.pipelines.build.meter import Meter
from avstore.pipelines.fetch.containers import extension_rank
from avstore.pipelines.fetch.file_matching import FileMatcher
from avstore.pipelines.fetch.source import MediaRequest
from avstore.pipelines.interchange.array_source import ArrayFile, OpenArrays, map_in_order
from avstore.pipelines.interchange.feature_layouts import (
    ValueSpec,
    declared_values,
    layouts_of_folder,
)
from avstore.pipelines.interchange.feature_lineage import Problem
from avstore.pipelines.interchange.feature_shards import ImportedValue
from avstore.pipelines.interchange.feature_values import (
    BadValueError,
    Value,
    check_value,
    read_value,
)
from avstore.pipelines.interchange.label_folders import (
    has_label_maps,
    require_label_maps,
)

_GAPS = "missing_maps"


@dataclass
class SourceCounts:
    """What one folder or archive held.

    Attributes:
        name: Its file name.
        within: Name of what holds the folders of its files.
        new: Values stored by this import.
        known: Arrays of clips that have this value already.
        problems: Arrays that were not stored, and stored ones that lack a part.
        other_features: Arrays in the published folder of another feature, by that feature's name.
        other_files: Files that are no arrays.
        damage: Why it could not be read to its end.
    """

    name: str
    within: str = ""
    new: int = 0
    known: int = 0
    problems: list[Problem] = field(default_factory=list)
    other_features: dict[str, int] = field(default_factory=dict)
    other_files: int = 0
    damage: str | None = None

    @property
    def unused(self) -> int:
        """Number of arrays that were not stored."""
        return sum(problem["reason"] != _GAPS for problem in self.problems)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An array of a clip; `known`: the clip has a value, with which its file is to be compared."""

    file: ArrayFile
    request: MediaRequest
    known: bool


@dataclass(frozen=True, slots=True)
class _Loaded:
    """Size and CRC-32 of a candidate's file, and its value; None if the clip has one."""

    member: tuple[int, int]
    value: Value | None


class ClipArrays:
    """The clips of a dataset, to which the arrays of a source are matched by their names.

    Args:
        dataset: The dataset.
        feature: Name of the feature.
        requests: The clips.
        names: A pattern of file names; None for the usual forms.
    """

    def __init__(
        self, dataset: str, feature: str, requests: Sequence[MediaRequest], names: str | None
    ) -> None:
        self._dataset, self._feature = dataset, feature
        self._has_maps = has_label_maps(feature)
        self._is_published = declared_values(feature) is not None
        self._matcher = FileMatcher(requests, names, _stems)

    def values(
        self,
        opened: OpenArrays,
        counts: SourceCounts,
        spec: ValueSpec,
        stored: dict[str, tuple[int, int]],
        advance: Meter,
    ) -> Iterator[ImportedValue]:
        """Yield the values to store, in the order of the files; count the others."""
        for candidate, found in map_in_order(
            self._candidates(opened, counts, stored, advance),
            lambda each: _load(each, spec, self._has_maps),
            opened.threads,
            lambda each: each.file.size,
        ):
            file, request, clip_id = candidate.file, candidate.request, candidate.request.clip_id
            loaded = _compared(found, stored.get(clip_id))
            if isinstance(loaded, BadValueError):
                reason, detail = loaded.reason, loaded.detail
                counts.problems.append(self._problem(file, counts, reason, detail, clip_id))
                continue
            self._note_gaps(file, counts, clip_id)
            if loaded.value is None:
                counts.known += 1
                advance(1, kept=True)
                continue
            stored[clip_id] = loaded.member
            counts.new += 1
            advance(1)
            member = valid_text(file.path)
            yield ImportedValue(
                clip_id, request.split, loaded.value, counts.name, member, *loaded.member
            )

    def _candidates(
        self,
        opened: OpenArrays,
        counts: SourceCounts,
        stored: Mapping[str, tuple[int, int]],
        advance: Meter,
    ) -> "Iterator[_Candidate]":
        """Yield the arrays of clips, but for those that are stored, by the archive's CRC-32."""
        for file in opened.files:
            if (request := self.clip_of(file, counts)) is None:
                continue
            known = stored.get(request.clip_id)
            if known and known == (file.size, file.crc32):
                self._note_gaps(file, counts, request.clip_id)
                counts.known += 1
                advance(1, kept=True)
                continue
            yield _Candidate(file, request, known is not None)

    def clip_of(self, file: ArrayFile, counts: SourceCounts) -> MediaRequest | None:
        """Return the clip of a file, if it is an array of this feature and of one clip."""
        if not file.is_array:
            counts.other_files += 1
            return None
        if other := self._other_feature(file, counts.within):
            counts.other_features[other] = counts.other_features.get(other, 0) + 1
            return None
        decision = self._matcher.decide(file.array_path)
        matches = decision.matches or decision.rejected
        if len(matches) == 1 and not decision.rejected:
            return matches[0].request
        keys = ", ".join(match.request.key for match in matches[:3])
        found = ("ambiguous", f"may be any of {keys}") if matches else ("extra", None)
        counts.problems.append(self._problem(file, counts, *found))
        return None

    def _other_feature(self, file: ArrayFile, within: str) -> str:
        """Return the feature to whose published folder a file belongs, '' if to this one."""
        names = [layout.feature for layout in layouts_of_folder(file.folder, within)]
        own = not names or not self._is_published or self._feature in names
        return "" if own else " or ".join(names)

    def _note_gaps(self, file: ArrayFile, counts: SourceCounts, clip_id: str) -> None:
        """List what a clip's value lacks."""
        if file.gaps:
            counts.problems.append(self._problem(file, counts, _GAPS, file.gaps, clip_id))

    def _problem(
        self,
        file: ArrayFile,
        counts: SourceCounts,
        reason: str,
        detail: str | None,
        clip_id: str | None = None,
    ) -> Problem:
        return {
            "dataset": self._dataset,
            "clip_id": clip_id,
            "source": counts.name,
            "member": valid_text(file.path),
            "reason": reason,
            "detail": None if detail is None else valid_text(detail)[:500],
        }


def _stems(name: str) -> tuple[str, ...]:
    """Return the stems of an array's file name: 'a' of a.npy, 'a.mp4' and 'a' of a.mp4.npy."""
    stem = name.rpartition(".")[0]
    return (stem,) if extension_rank(stem) is None else (stem, stem.rpartition(".")[0])


def _load(candidate: _Candidate, spec: ValueSpec, maps: bool) -> _Loaded | BadValueError:
    """Read and check a candidate; it may run in a thread."""
    file = candidate.file
    try:
        content = file.read()
        crc32 = zlib.crc32(content) if file.crc32 is None else file.crc32
        size = file.size if file.whole else len(content)
        if candidate.known:
            return _Loaded((size, crc32), None)
        value = read_value(file.array_path, content, None if file.whole else crc32)
        check_value(value, spec)
        if maps:
            require_label_maps(value.array)
    except BadValueError as error:
        return error
    return _Loaded((size, crc32), value)


def _compared(
    loaded: _Loaded | BadValueError, stored: tuple[int, int] | None
) -> _Loaded | BadValueError:
    """Compare a file with that of its clip's stored value, which is kept."""
    if isinstance(loaded, BadValueError) or stored is None:
        return loaded
    if stored == loaded.member:
        return replace(loaded, value=None)
    found = f"({stored[0]} bytes, this one {loaded.member[0]})"
    return BadValueError("differs", f"the stored value is of another file {found}; it is kept")
