"""Keep one loaded model per worker process, from task to task."""

import importlib.util
import json
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features.extractor import BatchFunction, Extractor, FeatureError
from avstore.pipelines.features.registry import make_extractor
from avstore.pipelines.features.weights import Weights


@dataclass(frozen=True)
class ModelKey:
    """Identify a loaded model; tasks with equal keys share one.

    Attributes:
        reference: Name of the extractor, or `module:name`.
        parameters: The extractor's parameters as JSON.
        weights: The model's weights.
        device: `auto`, `cpu`, `cuda` or `cuda:<n>`.
    """

    reference: str
    parameters: str
    weights: Weights
    device: str


_lock = threading.Lock()
_current: list[tuple[ModelKey, Extractor, BatchFunction]] = []


def loaded_model(key: ModelKey) -> tuple[Extractor, BatchFunction]:
    """Return the extractor and its loaded model; the model of another key is freed first.

    Raises:
        WeightsError: The weights changed or are missing.
        FeatureError: No such extractor or device.
    """
    with _lock:
        if not _current or _current[0][0] != key:
            _current.clear()
            extractor = make_extractor(key.reference, json.loads(key.parameters))
            key.weights.check()
            run = _one_at_a_time(extractor.load(key.weights, choose_device(key.device)))
            _current.append((key, extractor, run))
        return _current[0][1], _current[0][2]


def _one_at_a_time(run: BatchFunction) -> BatchFunction:
    """Serialise calls from a worker process with several threads."""
    lock = threading.Lock()

    def guarded(items: NDArray[Any]) -> NDArray[Any]:
        with lock:
            return np.asarray(run(items))

    return guarded


def choose_device(wanted: str) -> str:
    """Return the device to use; `auto` spreads workers over the CUDA devices, or takes the CPU.

    Raises:
        FeatureError: A CUDA device is requested and the machine has none.
    """
    if wanted != "auto":
        if wanted.startswith("cuda") and not gpu_count():
            raise FeatureError(f"--device {wanted}: this machine has no CUDA device; use cpu")
        return wanted
    count = gpu_count()
    return f"cuda:{_worker_number() % count}" if count else "cpu"


def gpu_count() -> int:
    """Return the number of CUDA devices that torch can use; 0 without torch."""
    if importlib.util.find_spec("torch") is None:
        return 0
    import torch  # noqa: PLC0415 -- heavy

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def _worker_number() -> int:
    """Return this Dask worker's number on its cluster; 0 outside a worker."""
    from distributed import get_worker  # noqa: PLC0415 -- heavy

    try:
        name = str(get_worker().name)
    except ValueError:
        return 0
    return int(name) if name.isdigit() else sum(name.encode())
