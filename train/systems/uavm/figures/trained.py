"""Find trained UAVM models: folders of train/run.py, and released weight files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from avstore.manifests.store import StoreError
from avstore.train.config import Config, load_config, parse_config
from avstore.train.data import SampleList, open_store
from avstore.train.errors import UserError
from avstore.train.experiment import batch_spec
from avstore.train.results import RESULTS, Row, flatten
from avstore.train.runs import RECORD, Run, find_runs
from avstore.train.systems import SYSTEMS
from avstore.train.systems.uavm.model_config import UAVMConfig
from avstore.train.systems.uavm.weights import load_released
from avstore.train.tasks import role_clips

_AUDIOSET_CLASSES = 527


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
        name: What messages call it.
        config: Its configuration.
        weights: File of its weights.
        store: Store of its clips; None if it is not known.
        rows: Losses and scores of its run; empty for a released file.
    """

    name: str
    config: Config
    weights: Path
    store: str | None
    rows: tuple[Row, ...] = ()

    @property
    def key(self) -> str:
        """What the model is known by: runs of several folders may have equal names."""
        return str(self.weights)

    @property
    def shape(self) -> UAVMConfig:
        """The model's shape."""
        shape: object = self.config.model
        if not isinstance(shape, UAVMConfig):
            raise TypeError(f"{self.name} is no UAVM")
        return shape

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration by dotted key."""
        return flatten(self.config.model_dump(mode="json"))

    def score(self, metric: str) -> float | None:
        """Return a score of all evaluation clips, the last one; None if the run has none."""
        found = [r["value"] for r in self.rows if r["task"] == "all" and r["metric"] == metric]
        return float(found[-1]) if found else None


def find_trained(
    places: Sequence[Path], store: str | None = None
) -> tuple[list[Trained], list[str]]:
    """Return the UAVM models below some folders, and a line for each other run.

    Args:
        places: Folders of runs, and released weight files.
        store: Store to read the clips from; None for each run's own.

    Raises:
        StoreError: A folder does not exist or holds no run.
        UserError: A file is no released model.
    """
    folders = [place for place in places if not place.is_file()]
    found: list[Trained] = []
    left_out: list[str] = []
    for run in find_runs(folders) if folders else []:
        trained = _of_run(run, store)
        if isinstance(trained, str):
            left_out.append(f"{run.name}: {trained}")
        else:
            found.append(trained)
    return found + [_released(place, store) for place in places if place.is_file()], left_out


def _of_run(run: Run, store: str | None) -> Trained | str:
    """Return the model of a run, or why there is none."""
    system = run.settings.get("system", "cavmae")
    if system != "uavm":
        return f"of system {system}, not uavm"
    if not run.is_complete:
        return "not finished"
    weights = sorted(run.folder.glob("task-*.pt"))
    if not weights:
        return "has no task-*.pt"
    record = _json(run.folder / RECORD)
    try:
        config = parse_config(_json(run.folder / RESULTS)["config"])
        rows = tuple(run.rows())
    except (ValidationError, StoreError) as error:
        return str(error).splitlines()[0]
    return Trained(run.name, config, weights[-1], store or record.get("store"), rows)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _released(path: Path, store: str | None) -> Trained:
    """Return a released model, with the other settings of the config of its dataset."""
    shape = load_released(path).config
    name = "uavm_as" if shape.classes == _AUDIOSET_CLASSES else "uavm"
    config = load_config(name, {}, []).model_copy(update={"model": shape})
    return Trained(path.name, config, path, store)


def evaluation_clips(trained: Trained) -> SampleList:
    """Return the evaluation clips of all tasks of a model's stream, each once.

    Raises:
        UserError: It is not known which store has them.
        StoreError: The store does not exist, or lacks the clips or their features.
    """
    if trained.store is None:
        raise UserError(f"{trained.name} does not say which store it was trained on; give --store")
    features = batch_spec(trained.config, training=False).features
    return role_clips(
        open_store(trained.store),
        str(trained.config.stream),
        SYSTEMS[trained.config.system].roles,
        features=features,
    )
