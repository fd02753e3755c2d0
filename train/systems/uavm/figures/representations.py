"""Compute what a model makes of the evaluation clips, layer by layer, in files on disk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avstore.train.data import Batch, Loader, SampleList
from avstore.train.experiment import batch_spec, build_objective
from avstore.train.objective import eval_mode
from avstore.train.systems.uavm.figures.layer_scores import attention_difference, attention_profile
from avstore.train.systems.uavm.figures.trained import Trained
from avstore.train.systems.uavm.layers import Maps, Trace
from avstore.train.systems.uavm.objective import UAVMObjective

Layers = tuple[NDArray[np.float32], ...]


@dataclass
class Representations:
    """What a model makes of clips.

    Attributes:
        layers: Mean over time of each layer, then the logits, float32 [clips, D], by modality;
            mapped files, so that one layer at a time is in memory. Empty for "cross_attention".
        difference: Sum over clips of the attention difference of the last block.
        profiles: Attention profile [heads, rows] of the first clip in the last block, by view.
    """

    layers: dict[str, Layers] = field(default_factory=dict)
    difference: float = 0.0
    profiles: dict[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """How clips are read and models run.

    Attributes:
        published: Follow the released scripts: features are not normalised, and attention maps
            leave out each block's first norm.
        device: Where models run.
        workers: Loader processes.
    """

    published: bool = False
    device: str = "cpu"
    workers: int = 0

    @property
    def maps(self) -> Maps:
        """Which attention maps to take."""
        return "published" if self.published else "used"


def represent(
    trained: Trained,
    samples: SampleList,
    folder: Path,
    reading: Reading,
    done: Callable[[int], object] = lambda _clips: None,
) -> Representations:
    """Return what a model makes of clips; memory holds one batch, files in the folder the rest.

    Args:
        trained: The model.
        samples: The clips.
        folder: Folder for the files: clips x (layers x width + classes) x 8 bytes.
        reading: How to read and run.
        done: Called with the number of clips after each batch.
    """
    objective = _model(trained, reading.device)
    spec = batch_spec(trained.config, training=False)
    if reading.published:
        spec = replace(spec, feature_norm=False)
    found = Representations()
    with torch.no_grad(), eval_mode(objective):
        for batch in Loader(samples, spec, workers=reading.workers):
            traces = _traces(objective, batch.to(reading.device), reading.maps)
            if not found.profiles:
                found.profiles = {view: _profile(t) for view, t in traces.items()}
                found.layers = _files(traces, len(samples), folder)
            _keep(found, traces, batch.indices.numpy())
            done(len(batch))
    return found


def _model(trained: Trained, device: str) -> UAVMObjective:
    objective = build_objective(trained.config)
    if not isinstance(objective, UAVMObjective):
        raise TypeError(f"{trained.name} is no UAVM")
    objective.load(trained.weights)
    return objective.to(device)


def _traces(objective: UAVMObjective, batch: Batch, maps: Maps) -> dict[str, Trace]:
    """Return what the model computes of a batch, with attention maps, by view."""
    audio, video = objective.features(batch)
    if objective.crosses:
        return {"both": objective.model.trace(audio, video, maps)}
    return {
        "audio": objective.model.trace(audio=audio, maps=maps),
        "video": objective.model.trace(video=video, maps=maps),
    }


def _profile(trace: Trace) -> NDArray[np.float32]:
    return _array(attention_profile(trace.maps[-1][0]))


def _files(traces: Mapping[str, Trace], clips: int, folder: Path) -> dict[str, Layers]:
    """Return mapped files for the layers of each modality."""
    return {
        view: tuple(
            np.lib.format.open_memmap(
                folder / f"{view}-{number}.npy", "w+", np.float32, (clips, layer.shape[1])
            )
            for number, layer in enumerate(trace.embeddings)
        )
        for view, trace in traces.items()
        if view != "both"
    }


def _keep(found: Representations, traces: Mapping[str, Trace], rows: NDArray[np.int64]) -> None:
    """Add a batch."""
    for view, files in found.layers.items():
        for file, layer in zip(files, traces[view].embeddings, strict=True):
            file[rows] = _array(layer)
    if found.layers:
        last = [traces[view].maps[-1] for view in ("audio", "video")]
        found.difference += float(attention_difference(*last).double().sum())


def _array(x: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = x.float().cpu().numpy()
    return array
