"""The one model of a worker process: loaded with the first task, kept for the next."""

import importlib.util
import json
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features.extractor import Batch, Extractor, FeatureError
from avstore.pipelines.features.registry import make
from avstore.pipelines.features.weights import Weights


@dataclass(frozen=True)
class ModelKey:
    """What makes two tasks share a model. parameters: JSON. device: 'auto', 'cpu', 'cuda:1'."""

    reference: str
    parameters: str
    weights: Weights
    device: str


_lock = threading.Lock()
_current: list[tuple[ModelKey, Extractor, Batch]] = []


def loaded(key: ModelKey) -> tuple[Extractor, Batch]:
    """The extractor and its loaded model; the model of another key is let go first.

    Raises WeightsError and FeatureError, and what the model's library raises.
    """
    with _lock:
        if not _current or _current[0][0] != key:
            _current.clear()
            extractor = make(key.reference, json.loads(key.parameters))
            key.weights.check()
            run = _one_at_a_time(extractor.load(key.weights, choose_device(key.device)))
            _current.append((key, extractor, run))
        return _current[0][1], _current[0][2]


def _one_at_a_time(run: Batch) -> Batch:
    """One batch at a time, where a worker process has several threads."""
    lock = threading.Lock()

    def guarded(items: NDArray[Any]) -> NDArray[Any]:
        with lock:
            return np.asarray(run(items))

    return guarded


def choose_device(wanted: str) -> str:
    """'auto' is a CUDA device where there is one (another for each worker), else the CPU."""
    if wanted != "auto":
        if wanted.startswith("cuda") and not gpus():
            raise FeatureError(f"--device {wanted}: this machine has no CUDA device; use cpu")
        return wanted
    count = gpus()
    return f"cuda:{_worker_number() % count}" if count else "cpu"


def gpus() -> int:
    """CUDA devices that torch can use here; 0 without torch."""
    if importlib.util.find_spec("torch") is None:
        return 0
    import torch  # noqa: PLC0415 -- heavy

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def _worker_number() -> int:
    """This Dask worker's number on its cluster; 0 outside one."""
    from distributed import get_worker  # noqa: PLC0415 -- outside a worker there is none

    try:
        name = str(get_worker().name)
    except ValueError:
        return 0
    return int(name) if name.isdigit() else sum(name.encode())
