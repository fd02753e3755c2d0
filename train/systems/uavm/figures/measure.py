"""Compute the numbers of the figures for one model, and keep them on disk."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from avstore.manifests.store import committing
from avstore.train.data import SampleList
from avstore.train.evaluation.retrieval import Ties
from avstore.train.systems.uavm.figures.layer_scores import recall_by_layer
from avstore.train.systems.uavm.figures.probing import modality_probe, tsne
from avstore.train.systems.uavm.figures.representations import Reading, Representations, represent
from avstore.train.systems.uavm.figures.trained import Trained

VERSION = 1
"""Raise this when the code gives other numbers for the same model and clips."""

Part = Literal["probe", "tsne", "recall", "attention"]
Arrays = Mapping[str, NDArray[np.floating]]
Parts = dict[Part, Arrays]
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""Shows the progress of so many clips, by name; what it gives is called with the new ones."""

EVERY = 5  # t-SNE takes every such clip
PERPLEXITY = 5


class MissingError(Exception):
    """A figure that a set of models or clips cannot give; the message says why."""


@dataclass(frozen=True)
class Settings:
    """What decides the numbers beside model and clips.

    Attributes:
        published: Follow the released scripts instead of correcting them.
        per_class: Clips of each class in the retrieval list.
        iterations: Iterations of t-SNE.
    """

    published: bool = False
    per_class: int = 5
    iterations: int = 5000

    @property
    def ties(self) -> Ties:
        """How equal similarities rank."""
        return "published" if self.published else "worst"

    def of(self, part: Part) -> dict[str, int | bool]:
        """Return the settings that a part depends on."""
        own = {"recall": {"per_class": self.per_class}, "tsne": {"iterations": self.iterations}}
        return {"published": self.published, **own.get(part, {})}


def retrieval_list(samples: SampleList, per_class: int, seed: int = 0) -> NDArray[np.int64]:
    """Return the rows of the retrieval list, ascending: so many clips of each class.

    The published list was never released; this one is drawn with a fixed seed. A clip with several
    labels counts for the first.

    Raises:
        MissingError: A class has fewer clips.
    """
    rows: dict[int, list[int]] = {}
    for row in range(len(samples)):
        rows.setdefault((samples.label_ids(row) or [-1])[0], []).append(row)
    fewest = min(map(len, rows.values()))
    if fewest < per_class:
        raise MissingError(
            f"a class has {fewest} evaluation clip(s) and the retrieval list takes {per_class} of "
            f"each; --per-class {fewest} draws it from fewer"
        )
    draw = np.random.default_rng(seed)
    return np.sort(
        np.concatenate([draw.choice(rows[label], per_class, False) for label in sorted(rows)])
    )


def measure(
    trained: Trained,
    samples: SampleList,
    parts: Iterable[Part],
    settings: Settings,
    reading: Reading,
    folder: Path,
    progress: Progress,
) -> tuple[Parts, dict[Part, str]]:
    """Return the numbers of a model by part, and why a part is missing.

    Args:
        trained: The model.
        samples: Its evaluation clips.
        parts: The parts.
        settings: What decides the numbers.
        reading: How clips are read and the model runs.
        folder: Folder that keeps the numbers: what was computed before is read from it. The
            model's representations are in a temporary folder inside it, for the time of the call.
        progress: Shows how many clips the model has seen; not called if all numbers are kept.
    """
    found: Parts = {}
    missing: dict[Part, str] = {}
    key = _key(trained, samples)
    files = {part: folder / f"{part}-{key}-{_digest(settings.of(part))}.npz" for part in parts}
    for part, file in files.items():
        if file.is_file():
            with np.load(file) as kept:
                found[part] = dict(kept)
    if found.keys() == files.keys():
        return found, missing
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".layers-") as place:
        with progress(trained.name, len(samples)) as done:
            made = represent(trained, samples, Path(place), reading, done)
        for part in files.keys() - found.keys():
            try:
                found[part] = _COMPUTE[part](made, samples, settings)
            except MissingError as error:
                missing[part] = str(error)
            else:
                _write(files[part], found[part])
    return found, missing


def _probe(made: Representations, samples: SampleList, settings: Settings) -> Arrays:
    if len(samples) < 2:
        raise MissingError("the modality classifier needs two evaluation clips or more")
    order = None
    if settings.published:  # The released code shuffles the rows, without a seed.
        order = np.random.default_rng().permutation(2 * (len(samples) // 2))
    pairs = zip(made.layers["audio"][:-1], made.layers["video"][:-1], strict=True)
    probes = [modality_probe(audio, video, order) for audio, video in pairs]
    return {
        "accuracy": np.array([100 * probe.accuracy for probe in probes]),
        "coefficients": probes[-1].coefficients,
    }


def _tsne(made: Representations, samples: SampleList, settings: Settings) -> Arrays:
    points = 2 * len(range(0, len(samples), EVERY))
    if points <= PERPLEXITY:
        raise MissingError(
            f"{len(samples)} evaluation clip(s) give {points} points, and t-SNE with perplexity "
            f"{PERPLEXITY} needs more than {PERPLEXITY}"
        )
    seed = None if settings.published else 0
    pairs = zip(made.layers["audio"][:-1], made.layers["video"][:-1], strict=True)
    found = [tsne(a, v, EVERY, iterations=settings.iterations, seed=seed) for a, v in pairs]
    return {"points": np.array([[plane.audio, plane.video] for plane in found])}


def _recall(made: Representations, samples: SampleList, settings: Settings) -> Arrays:
    rows = retrieval_list(samples, settings.per_class)
    audio, video = (
        [torch.from_numpy(layer[rows]) for layer in made.layers[view]] for view in made.layers
    )
    found = recall_by_layer(audio, video, settings.ties)
    return {name: np.array(values) for name, values in found.items()}


def _attention(made: Representations, samples: SampleList, _settings: Settings) -> Arrays:
    profiles: dict[str, NDArray[np.floating]] = {
        f"profile_{view}": profile for view, profile in made.profiles.items()
    }
    if made.layers:
        profiles["difference"] = np.array(made.difference / len(samples))
    return profiles


_COMPUTE: dict[Part, Callable[[Representations, SampleList, Settings], Arrays]] = {
    "probe": _probe,
    "tsne": _tsne,
    "recall": _recall,
    "attention": _attention,
}


def _key(trained: Trained, samples: SampleList) -> str:
    """Return a digest of a model and its clips."""
    with trained.weights.open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    own = trained.config.model_dump(mode="json", include={"model", "objective", "data"})
    return _digest([VERSION, weights, samples.fingerprint, own])


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _write(path: Path, arrays: Arrays) -> None:
    with committing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
