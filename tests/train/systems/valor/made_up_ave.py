"""Made-up clips of AVE: an event that is heard and seen at once, and a store of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avstore.datasets.ave import vocabulary
from avstore.datasets.registry import get
from avstore.manifests.store import Store
from avstore.pipelines.interchange.feature_importer import FeatureImportOptions, import_feature
from tests.train.systems.valor.made_up import FOLDERS, TEACHERS, as_stored, shown

LABELS = [label.label for label in vocabulary()]
FEATURES = ("clap-map", "clip-vitl14", "r2plus1d18")


@dataclass(frozen=True)
class AveEvents:
    """Clips with one event each, of 3 to 8 seconds; it is heard before and seen after, too.

    Attributes:
        ids: Names of the clips.
        labels: Class of each clip, [N].
        onsets: First second of each event, [N].
        offsets: Second after its last, [N].
    """

    ids: list[str]
    labels: list[int]
    onsets: list[int]
    offsets: list[int]

    @classmethod
    def drawn(cls, clips: int, seed: int, classes: int = len(LABELS)) -> "AveEvents":
        """Draw the events of some clips, with the first of the classes."""
        draw = np.random.default_rng(seed)
        lengths = draw.integers(3, 9, clips)
        onsets = [int(draw.integers(0, 11 - length)) for length in lengths]
        offsets = [onset + int(length) for onset, length in zip(onsets, lengths, strict=True)]
        labels = [number % classes for number in range(clips)]
        return cls([f"{seed:02d}-{n:08d}" for n in range(clips)], labels, onsets, offsets)

    def active(self, modality: int | None) -> Tensor:
        """Return when each class is heard (0), seen (1) or both (None), 0 or 1, [N, 10, 28]."""
        found = torch.zeros(len(self.ids), 10, len(LABELS))
        for own, label, onset, offset in zip(
            found, self.labels, self.onsets, self.offsets, strict=True
        ):
            first = max(0, onset - 2) if modality == 0 else onset
            last = min(10, offset + 2) if modality == 1 else offset
            own[first:last, label] = 1
        return found

    @property
    def truth(self) -> Tensor:
        """The class of each second, 0 or 1, [N, 10, 29]; the last one is background."""
        events = self.active(None)
        return torch.cat([events, 1 - events.amax(2, keepdim=True)], 2)

    @property
    def weak(self) -> Tensor:
        """The classes of each clip, [N, 29]."""
        events = self.active(None).amax(1)
        return torch.cat([events, torch.zeros(len(events), 1)], 1)

    def rows(self, first: int, last: int) -> str:
        """Return the annotation rows of some clips."""
        rows = zip(self.labels, self.ids, self.onsets, self.offsets, strict=True)
        lines = [f"{LABELS[label]}&{name}&good&{a}&{b}" for label, name, a, b in rows]
        return "\n".join(lines[first:last]) + "\n"


def made_up_store(
    folder: Path, counts: dict[str, int], annotated: AveEvents | None = None, classes: int = 6
) -> Path:
    """Write annotations and features of clips by split, and import them into a store.

    Args:
        folder: Where to write.
        counts: Number of clips of `train`, `val` and `test`.
        annotated: Events as the annotations of training clips have them; by default the real ones.
        classes: How many of the classes there are clips of.
    """
    total = sum(counts.values())
    events = AveEvents.drawn(total, 0, classes)
    lists, first = [], 0
    for split, count in counts.items():
        lists.append(folder / f"{split}Set.txt")
        written = annotated if annotated and split == "train" else events
        lists[-1].write_text(written.rows(first, first + count))
        first += count
    for feature in (*FEATURES, *TEACHERS):
        place = folder / feature
        place.mkdir()
        for name, value in zip(events.ids, _values(feature, events), strict=True):
            np.save(place / f"{name}.npy", value)
        options = FeatureImportOptions(
            feature,
            [str(place)],
            annotations=tuple(lists),
            value=f"int64 10 x {len(LABELS)}" if feature in TEACHERS else None,
        )
        import_feature(Store(folder / "store"), get("ave"), options)
    return folder / "store"


def _values(feature: str, events: AveEvents) -> np.ndarray:
    if feature in TEACHERS:
        return events.active(TEACHERS[feature]).numpy().astype(np.int64)
    modality = int(feature != "clap-map")
    (_, width), _ = FOLDERS[feature]
    return as_stored(feature, shown(events.active(modality), width, modality, len(feature)))
