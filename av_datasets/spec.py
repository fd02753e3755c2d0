"""The description of a dataset and the records that its parser returns."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Clip:
    """One published item of a dataset, the unit of accounting.

    Attributes:
        dataset: Name of the dataset.
        key: The clip's name in the dataset; its WebDataset `__key__`.
        source_id: YouTube id, or the dataset's own name of the video.
        start_s: First second in the source video; None if the published file is the clip.
        end_s: End in the source video in seconds, exclusive; None as above.
        split: train, val, test, or the dataset's own name.
        subsets: Published lists that contain the clip.
        labels: Label names.
        label_ids: Label ids in the dataset's vocabulary, parallel to `labels`.
        category: The category that all labels share, if any.
        captions: Sentences that describe the clip.
        extra: Further facts, as JSON values.
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
        """The id of the clip across datasets, `<dataset>/<key>`."""
        return f"{self.dataset}/{self.key}"


@dataclass(frozen=True, slots=True)
class Segment:
    """A label of a part of a clip.

    Attributes:
        clip_id: The clip.
        modality: audio, visual or both.
        label: Label name.
        label_id: Label id in the dataset's vocabulary.
        onset_s: First second, within the clip.
        offset_s: End in seconds, within the clip, exclusive.
    """

    clip_id: str
    modality: str
    label: str
    label_id: int
    onset_s: float
    offset_s: float


@dataclass(frozen=True, slots=True)
class ClipLabel:
    """A label of a further label set, beside the dataset's own labels.

    Attributes:
        clip_id: The clip.
        label_set: Name of the label set.
        modality: audio, visual or both: where the class can be perceived.
        label: Label name.
        label_id: Label id in the dataset's vocabulary.
        extra: Further facts, as JSON values.
    """

    clip_id: str
    label_set: str
    modality: str
    label: str
    label_id: int
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Label:
    """One entry of a dataset's vocabulary.

    Attributes:
        label_id: Number of the label.
        label: Name of the label.
        mid: Machine id, such as /m/09x0r in AudioSet or vgg_0 in VGGSound.
        category: Group of labels that it belongs to.
    """

    label_id: int
    label: str
    mid: str | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """An annotation row that could not be used.

    Attributes:
        file: The annotation file.
        row: Line number in the file, from 1.
        reason: Why the row could not be used.
        text: The start of the row.
    """

    file: str
    row: int
    reason: str
    text: str


@dataclass(frozen=True)
class Annotations:
    """Everything read from a dataset's annotation files.

    Attributes:
        clips: The clips in file order; their ids are unique.
        bad_rows: The rows that could not be used.
        segments: Labels of parts of clips.
        table: For datasets of millions of clips, the same clips as a pyarrow Table with the
            columns of the manifest table `clips` (`extra` as JSON text); `clips` is then a view
            of it.
        clip_labels: Labels of further label sets.
    """

    clips: Sequence[Clip]
    bad_rows: Sequence[BadRow] = ()
    segments: Sequence[Segment] = ()
    table: Any = None
    clip_labels: Sequence[ClipLabel] = ()


@dataclass(frozen=True)
class MediaName:
    """A file stem in use for a clip's media.

    Attributes:
        stem: File name without extension.
        whole_video: The file is the whole source video and is cut at the clip's start.
    """

    stem: str
    whole_video: bool = False


class AnnotationError(Exception):
    """Annotation files that cannot be used; the message says which, why, and what to do."""


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset: one description for the CLI, the Makefile target, the docs page and the tests.

    Attributes:
        name: Name on the command line and in the store.
        title: Name in prose.
        version: Version of the annotations.
        licence: Licence of annotations and media.
        homepage: Web page of the dataset.
        annotation_urls: Addresses of the annotation files, if they can be fetched.
        parse: Reads published annotation files.
        vocabulary: Returns the labels.
        media_names: Returns the file stems in use for a clip, the best first.
        clip_seconds: Length of a clip that has no start and end, in seconds; 0 for the rest of
            its file.
        recipe: The default recipe.
        shard_clips: The default number of clips per shard.
        streams: The task streams shipped for the dataset.
        label_sets: Further label sets that its annotation files may hold.
        ytdlp_format: yt-dlp's format selection for its videos; '' for the usual one, which is in
            `pipelines/fetch/source.py`.
        training: The training config that commands to copy name; '' for the default one.
        own_data: For a user's own data, what the ledger keeps to build it again without the list:
            `source` and `list`. None for a published dataset.
    """

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
    label_sets: tuple[str, ...] = ()
    ytdlp_format: str = ""
    training: str = ""
    own_data: Mapping[str, Any] | None = None


def check_key(key: str) -> str | None:
    """Return why `key` cannot be a clip key, or None; keys are WebDataset keys and file stems."""
    if KEY_PATTERN.fullmatch(key):
        return None
    return f"clip key {key!r} may contain only letters, digits, '-' and '_'"


def by_id(labels: Iterable[Label]) -> dict[int, Label]:
    """Return the vocabulary keyed by label id."""
    return {label.label_id: label for label in labels}
