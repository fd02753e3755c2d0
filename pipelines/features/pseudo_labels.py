"""Report pseudo labels by class: how often the teachers say yes, and how often they differ."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.library import OpenStore
from avstore.manifests.store import StoreError

_BATCH_CLIPS = 1000
_EXAMPLES = 3


@dataclass(frozen=True)
class ClassReport:
    """Summarise the pseudo labels of one class, over the clips that have it as a weak label.

    Attributes:
        label_id: Number of the class.
        label: Its name.
        clips: Clips with the weak label and both features.
        audio: Share of their segments that the audio teacher calls positive; None
            without a clip.
        visual: The same of the visual teacher.
        audio_none: Clips without a positive segment of the audio teacher.
        visual_none: The same of the visual teacher.
        neither: Clips without a positive segment of either.
        disagreement: Share of segments where one says yes and the other no.
        examples: Ids of the clips with the most such segments.
    """

    label_id: int
    label: str
    clips: int
    audio: float | None
    visual: float | None
    audio_none: int
    visual_none: int
    neither: int
    disagreement: float | None
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Violation:
    """Name a pseudo label that no clip, or not this one, can have.

    Attributes:
        clip_id: The clip.
        feature: The feature.
        problem: A label that is not one of the clip's weak labels, or a value but 0 and 1.
    """

    clip_id: str
    feature: str
    problem: str


@dataclass(frozen=True)
class PseudoLabelReport:
    """Summarise two features of pseudo labels.

    Attributes:
        classes: One row a class, in order of its number.
        both: Clips that have both features.
        audio_only: Clips that have the audio feature alone.
        visual_only: Clips that have the visual feature alone.
        neither: Clips that have none.
        violations: Pseudo labels that no clip can have.
    """

    classes: tuple[ClassReport, ...]
    both: int
    audio_only: int
    visual_only: int
    neither: int
    violations: tuple[Violation, ...]


@dataclass
class _Class:
    """Sums over the clips of one class."""

    clips: int = 0
    segments: int = 0
    positive: list[int] = field(default_factory=lambda: [0, 0])
    none: list[int] = field(default_factory=lambda: [0, 0])
    neither: int = 0
    differing: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)

    def add(self, clip_id: str, audio: NDArray[Any], visual: NDArray[Any]) -> None:
        """Add the segments of a clip, each [segments]."""
        self.clips += 1
        self.segments += len(audio)
        for modality, own in enumerate((audio, visual)):
            self.positive[modality] += int(own.sum())
            self.none[modality] += not own.any()
        self.neither += not (audio.any() or visual.any())
        differing = int((audio != visual).sum())
        self.differing += differing
        if differing:
            self.examples = heapq.nsmallest(_EXAMPLES, [*self.examples, (-differing, clip_id)])

    def report(self, label_id: int, label: str) -> ClassReport:
        """Return the shares; None for a class without a clip."""
        counts = (*self.positive, self.differing)
        audio, visual, differing = (n / self.segments if self.segments else None for n in counts)
        return ClassReport(
            label_id,
            label,
            self.clips,
            audio,
            visual,
            self.none[0],
            self.none[1],
            self.neither,
            differing,
            tuple(clip_id for _, clip_id in self.examples),
        )


def pseudo_label_report(
    store: OpenStore, dataset: str, audio: str, visual: str, split: str | None = None
) -> PseudoLabelReport:
    """Compare two features of pseudo labels with each other and with the clips' weak labels.

    Args:
        store: The store.
        dataset: The dataset.
        audio: Feature of the audio teacher, [segments, classes] integers, `<name>` or
            `<name>-<fp8>`.
        visual: That of the visual teacher.
        split: The split (default: all).

    Raises:
        StoreError: The store lacks a feature, or its values are no pseudo labels of the classes.
    """
    labels = dict(
        tuple(row.values())
        for row in store.query(
            "SELECT label_id, label FROM labels WHERE dataset = ? ORDER BY label_id", [dataset]
        ).rows()
    )
    clips = _clips(store, dataset, split)
    held = [_clips_with(store, dataset, name) for name in (audio, visual)]
    both = [clip_id for clip_id in clips if clip_id in held[0] and clip_id in held[1]]
    if not both:
        where = f" of split {split}" if split else ""
        raise StoreError(f"no clip of {dataset}{where} has both {audio} and {visual}")
    sums: dict[int, _Class] = {number: _Class() for number in labels}
    violations: list[Violation] = []
    for start in range(0, len(both), _BATCH_CLIPS):
        ids = both[start : start + _BATCH_CLIPS]
        values = [store.read(name, ids) for name in (audio, visual)]
        for clip_id in ids:
            pair = [each[clip_id] for each in values]
            for name, value in zip((audio, visual), pair, strict=True):
                _require_labels(name, clip_id, value, len(labels))
                violations += _violations(clip_id, name, value, clips[clip_id], labels)
            _require_same_segments(clip_id, pair, (audio, visual))
            for number in clips[clip_id]:
                sums[number].add(clip_id, pair[0][:, number] > 0, pair[1][:, number] > 0)
    audio_only, visual_only = (
        sum(i in own and i not in other for i in clips) for own, other in (held, held[::-1])
    )
    return PseudoLabelReport(
        tuple(sums[number].report(number, label) for number, label in labels.items()),
        len(both),
        audio_only,
        visual_only,
        len(clips) - len(both) - audio_only - visual_only,
        tuple(violations),
    )


def _clips(store: OpenStore, dataset: str, split: str | None) -> dict[str, list[int]]:
    """Return the label numbers of each clip, in published order."""
    rows = store.query(
        "SELECT clip_id, label_ids FROM clips WHERE dataset = $d AND ($s IS NULL OR split = $s) "
        "ORDER BY position",
        {"d": dataset, "s": split},
    ).rows()
    if not rows:
        where = f"{dataset} of split {split}" if split else dataset
        raise StoreError(f"the store has no clip of {where}")
    return {row["clip_id"]: list(row["label_ids"] or ()) for row in rows}


def _clips_with(store: OpenStore, dataset: str, feature: str) -> set[str]:
    """Return the clips that have a feature.

    Raises:
        StoreError: There are none.
    """
    rows = store.query(
        "SELECT DISTINCT clip_id FROM feature_samples WHERE starts_with(shard, $folder) "
        "AND $name IN (feature, feature || '-' || left(fingerprint, 8))",
        {"folder": f"shards/{dataset}/", "name": feature},
    ).rows()
    if not rows:
        raise StoreError(
            f"{dataset} has no feature {feature} in this store; build it, import it, or name "
            "others by --audio and --visual"
        )
    return {row["clip_id"] for row in rows}


def _require_labels(feature: str, clip_id: str, value: NDArray[Any], classes: int) -> None:
    """Raise StoreError unless a value is integers [segments, classes]."""
    if value.ndim != 2 or value.shape[1] != classes or not np.issubdtype(value.dtype, np.integer):
        raise StoreError(
            f"{feature} of {clip_id} is {value.dtype} {value.shape}; pseudo labels are integers "
            f"(segments, {classes}), one column a class"
        )


def _require_same_segments(clip_id: str, pair: Sequence[Any], names: Sequence[str]) -> None:
    if len(pair[0]) != len(pair[1]):
        raise StoreError(
            f"{clip_id} has {len(pair[0])} segments in {names[0]} and {len(pair[1])} in {names[1]}"
        )


def _violations(
    clip_id: str, feature: str, value: NDArray[Any], own: Sequence[int], labels: dict[int, str]
) -> Iterator[Violation]:
    """Yield what is wrong with a clip's pseudo labels, one line a class."""
    for number in np.flatnonzero((value != 0).any(0)):
        if number not in own:
            problem = f"{labels[int(number)]} is not one of the clip's labels"
            yield Violation(clip_id, feature, problem)
    if bad := sorted({int(each) for each in np.unique(value)} - {0, 1}):
        yield Violation(clip_id, feature, f"{bad[0]} is neither 0 nor 1")
