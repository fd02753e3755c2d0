"""What a dataset is: one description drives target, command, docs page and contract test."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Clip:
    """One published item of a dataset, the unit of accounting.

    start_s, end_s: seconds in the source video; None where the published file is the clip.
    labels, label_ids: parallel, in the dataset's own vocabulary.
    """

    dataset: str
    key: str
    source_id: str
    start_s: float | None
    end_s: float | None
    split: str
    subsets: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    label_ids: tuple[int, ...] = ()
    category: str | None = None
    captions: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def clip_id(self) -> str:
        return f"{self.dataset}/{self.key}"


@dataclass(frozen=True, slots=True)
class Segment:
    """A label of a part of a clip: seconds within the clip, half-open [onset_s, offset_s)."""

    clip_id: str
    modality: str
    label: str
    label_id: int
    onset_s: float
    offset_s: float


@dataclass(frozen=True, slots=True)
class Label:
    """One entry of a dataset's vocabulary."""

    label_id: int
    label: str
    mid: str | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """An annotation row that could not be used. row: 1-based line number in the file."""

    file: str
    row: int
    reason: str
    text: str


@dataclass(frozen=True)
class Annotations:
    """Everything read from a dataset's annotation files; clips in file order, ids unique.

    table: the same clips as a pyarrow Table with the columns of `clips` in manifests/schema.sql
    (`extra` as JSON text), for datasets of millions; then `clips` is a view of it.
    """

    clips: Sequence[Clip]
    bad_rows: Sequence[BadRow] = ()
    segments: Sequence[Segment] = ()
    table: Any = None


@dataclass(frozen=True)
class MediaName:
    """A file stem under which a clip is passed around; whole_video: cut it at the clip's start."""

    stem: str
    whole_video: bool = False


class AnnotationError(Exception):
    """Annotation files that cannot be used at all: says which, why, and what to do."""


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset. `parse` reads published annotation files, given as paths, into `Annotations`."""

    name: str
    title: str
    version: str
    licence: str
    homepage: str
    annotation_urls: tuple[str, ...]
    parse: Callable[[Sequence[Path]], Annotations]
    vocabulary: Callable[[], Sequence[Label]]
    media_names: Callable[[Clip], tuple[MediaName, ...]]
    clip_seconds: float = 10.0
    recipe: str = "stella"
    shard_clips: int = 256
    streams: tuple[str, ...] = ()


def check_key(key: str) -> str | None:
    """Why `key` cannot be a clip key, or None. Keys are WebDataset keys and file stems."""
    if KEY_PATTERN.fullmatch(key):
        return None
    return f"clip key {key!r} may hold only letters, digits, '-' and '_'"


def by_id(labels: Iterable[Label]) -> dict[int, Label]:
    """The vocabulary keyed by label id."""
    return {label.label_id: label for label in labels}
