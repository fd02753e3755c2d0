"""Made-up clips of LLP: features in which events can be found, and a store of them."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avstore.datasets.llp import vocabulary
from avstore.datasets.registry import get
from avstore.manifests.store import Store
from avstore.pipelines.interchange.feature_importer import FeatureImportOptions, import_feature

LABELS = [label.label for label in vocabulary()]
FOLDERS = {
    "vggish": ((10, 128), "float32"),
    "resnet152": ((80, 2048), "float32"),
    "r2plus1d18": ((10, 512), "float32"),
    "clap-map": ((64, 768), "float32"),
    "clip-vitl14": ((10, 768), "float32"),
}
TEACHERS = {"valor-clap-labels": 0, "valor-clip-labels": 1}


@dataclass(frozen=True)
class Events:
    """Clips with one or two classes, each in 3 to 5 seconds of the sound and of the picture.

    Attributes:
        truth: 0 or 1, [N, 10, 2, 25].
        weak: Classes of each clip, [N, 25].
    """

    truth: Tensor
    weak: Tensor

    @classmethod
    def drawn(cls, clips: int, seed: int) -> "Events":
        """Draw the events of some clips."""
        draw = np.random.default_rng(seed)
        truth = np.zeros((clips, 10, 2, len(LABELS)), np.float32)
        for own in truth:
            for label in draw.choice(len(LABELS), draw.integers(1, 3), replace=False):
                for modality in range(2):
                    length = int(draw.integers(3, 6))
                    start = int(draw.integers(0, 11 - length))
                    own[start : start + length, modality, label] = 1
        found = torch.from_numpy(truth)
        return cls(found, found.amax((1, 2)))

    def features(self, width: int, modality: int, seed: int, noise: float = 0.5) -> Tensor:
        """Return a feature [N, 10, width] of the sound or of the picture."""
        return shown(self.truth[:, :, modality], width, modality, seed, noise)


def shown(active: Tensor, width: int, modality: int, seed: int, noise: float = 0.5) -> Tensor:
    """Return a feature [N, 10, width] of the classes in each second, with noise.

    Each class has a direction of its own in each modality.
    """
    directions = torch.randn(
        active.shape[2], width, generator=torch.Generator().manual_seed(100 + modality)
    )
    draw = torch.Generator().manual_seed(seed)
    values = active @ directions
    return values + noise * torch.randn(*values.shape, generator=draw)


def as_stored(feature: str, values: Tensor) -> NDArray[np.generic]:
    """Return a feature with the rows and the type that it is stored with."""
    (rows, _), dtype = FOLDERS[feature]
    if rows == 64:  # two bands of 32 times
        times = torch.arange(32) * 10 // 32
        values = values[:, times].repeat(1, 2, 1)
    else:
        values = values.repeat_interleave(rows // 10, dim=1)
    return values.numpy().astype(dtype)


def made_up_store(
    folder: Path,
    counts: dict[str, int],
    seed: int = 0,
    lacking: Collection[int] = (),
    feature: str = "resnet152",
) -> Path:
    """Write annotations and features of clips by split, and import them into a store.

    Args:
        folder: Where to write.
        counts: Number of clips of `train`, `val` and `test`.
        seed: Of the events.
        lacking: Numbers of the clips that lack a feature.
        feature: The feature that they lack.
    """
    events = Events.drawn(sum(counts.values()), seed)
    names = [f"{number:011d}_{number % 9}0_{number % 9 + 1}0" for number in range(len(events.weak))]
    lists = _annotations(folder, counts, names, events)
    for name in (*FOLDERS, *TEACHERS):
        place = folder / name
        place.mkdir()
        for number, value in enumerate(_values(name, events)):
            if name != feature or number not in lacking:
                np.save(place / f"{names[number]}.npy", value)
        options = FeatureImportOptions(name, [str(place)], annotations=lists)
        import_feature(Store(folder / "store"), get("llp"), options)
    return folder / "store"


def _values(feature: str, events: Events) -> NDArray[np.generic]:
    if feature in TEACHERS:
        return events.truth[:, :, TEACHERS[feature]].numpy().astype(np.int64)
    (_, width), _ = FOLDERS[feature]
    modality = int(not feature.startswith(("vgg", "clap")))
    return as_stored(feature, events.features(width, modality, len(feature)))


def _annotations(
    folder: Path, counts: dict[str, int], names: list[str], events: Events
) -> tuple[Path, ...]:
    rest = iter(range(len(names)))
    files = []
    for split, count in counts.items():
        path = folder / f"AVVP_{split}.csv"
        own = [next(rest) for _ in range(count)]
        lines = [f"{names[n]}\t{','.join(_labels(events.weak[n]))}" for n in own]
        path.write_text("filename\tevent_labels\n" + "\n".join(lines) + "\n")
        files.append(path)
    for modality, word in enumerate(("audio", "visual")):
        path = folder / f"AVVP_eval_{word}.csv"
        lines = ["filename\tonset\toffset\tevent_labels"]
        for n in range(counts["train"], len(names)):
            for second, label in events.truth[n, :, modality].nonzero().tolist():
                lines.append(f"{names[n]}\t{second}\t{second + 1}\t{LABELS[label]}")
        path.write_text("\n".join(lines) + "\n")
        files.append(path)
    return tuple(files)


def _labels(weak: Tensor) -> list[str]:
    return [LABELS[label] for label in weak.nonzero().flatten().tolist()]
