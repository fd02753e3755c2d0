"""What a trained parsing network says of the clips that its run reports on."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.manifests.store import StoreError
from avstore.train.config import Config, parse_config
from avstore.train.data import OpenStore, open_store
from avstore.train.errors import UserError
from avstore.train.experiment import build_objective, wanted_of
from avstore.train.objective import eval_mode
from avstore.train.results import RESULTS
from avstore.train.runs import RECORD, read_run
from avstore.train.scoring import Scoring
from avstore.train.systems.valor.base import ParsingObjective
from avstore.train.systems.valor.events import (
    EventObjective,
    both_teachers,
    localise,
    seconds_of,
)
from avstore.train.systems.valor.objective import truth_of
from avstore.train.tasks import load_tasks

_SYSTEMS = ("valor", "valor_events")


@dataclass(frozen=True)
class Predictions:
    """Probabilities and truths of clips, by M modalities.

    Attributes:
        clip_ids: The clips, N.
        labels: Names of the classes, C.
        seconds: Probability of each class in each second, [N, 10, M, C].
        video: Probability of each class in the clip, [N, C].
        truth: 0 or 1, [N, 10, M, C].
        teachers: Pseudo labels, [N, 10, M, C]; None if the network has not learnt from any.
        modalities: Names of the modalities, M.
        one_class: Whether each second has one class, background included, as on AVE.
    """

    clip_ids: list[str]
    labels: list[str]
    seconds: Tensor
    video: Tensor
    truth: Tensor
    teachers: Tensor | None
    modalities: tuple[str, ...] = ("heard", "seen")
    one_class: bool = False

    def events(self, threshold: float) -> Tensor:
        """Return which classes are in each second, bool [N, 10, M, C].

        Args:
            threshold: Probability from which a class is in a clip, and in a second of it; with one
                class a second it is the one with the highest probability.
        """
        if self.one_class:
            return F.one_hot(self.seconds.argmax(-1), len(self.labels)).bool()
        return (self.seconds >= threshold) & (self.video >= threshold)[:, None, None]

    @property
    def annotated(self) -> Tensor:
        """Which clips have a dense annotation, bool [N]."""
        return self.truth.flatten(1).any(1)  # with one class a second, all


def load_run(folder: Path) -> Config:
    """Return the configuration of a finished run of HAN's and VALOR's network.

    Raises:
        StoreError: The folder holds no run.
        UserError: The run is of another system, or not finished.
    """
    run = read_run(folder, folder.name)
    if (system := run.settings.get("system", "cavmae")) not in _SYSTEMS:
        raise UserError(f"{folder} is a run of system {system}, not {' or '.join(_SYSTEMS)}")
    if not run.is_complete:
        raise UserError(f"{folder} is not finished; run the same command again to finish it")
    return parse_config(json.loads((folder / RESULTS).read_text())["config"])


def predict(
    folder: Path, store: str | None = None, device: torch.device | None = None
) -> Predictions:
    """Return what the last weights of a run say of its evaluation clips.

    Args:
        folder: The run's folder.
        store: Where the store is now; by default where it was.
        device: Where to compute; by default the CPU.

    Raises:
        StoreError: The run or its store does not exist.
        UserError: The run is of another system, or not finished.
    """
    config, device = load_run(folder), device or torch.device("cpu")
    place = store or _store_of(folder)
    opened = open_store(place)
    stream = load_tasks(opened, config.stream, wanted_of(config))
    objective = build_objective(config)
    if not isinstance(objective, ParsingObjective):
        raise UserError(f"{folder} is no run of HAN's or VALOR's network")
    weights = sorted(folder.glob("task-*.pt"))
    if not weights:
        raise StoreError(f"{folder} has no task-*.pt")
    objective.load(weights[-1])
    objective.to(device)
    found = list(_parsed(objective, Scoring(stream, 0, device)))
    sql = "SELECT label FROM labels WHERE dataset = ? ORDER BY label_id"
    dataset = found[0][0][0].partition("/")[0]
    labels = [str(row["label"]) for row in opened.query(sql, [dataset]).rows()]
    seconds, video, truth = (torch.cat([parts[n] for _, parts in found]) for n in range(3))
    clip_ids = [clip_id for ids, _ in found for clip_id in ids]
    teachers = _teachers(objective, opened, clip_ids)
    if not isinstance(objective, EventObjective):
        return Predictions(clip_ids, labels, seconds, video, truth, teachers)
    labels = [*labels, "background"]
    return Predictions(
        clip_ids, labels, seconds, video, truth, teachers, ("heard and seen",), one_class=True
    )


@torch.no_grad()
def _parsed(
    objective: ParsingObjective, scoring: Scoring
) -> Iterator[tuple[list[str], tuple[Tensor, ...]]]:
    with eval_mode(objective):
        for batch in scoring.batches(objective.spec(training=False)):
            parsed = objective.parse(batch)
            if isinstance(objective, EventObjective):
                own = localise(parsed)
                seconds, truth = own.logits.softmax(-1), seconds_of(batch)
                parts = (seconds[:, :, None], own.clip, truth[:, :, None])
            else:
                parts = (parsed.logits.sigmoid(), parsed.video, truth_of(batch))
            yield batch.clip_ids, tuple(part.float().cpu() for part in parts)


def _teachers(objective: ParsingObjective, store: OpenStore, clip_ids: list[str]) -> Tensor | None:
    """Return the pseudo labels of clips; None if the system needs none or a clip has none."""
    found = []
    for name in objective.inputs.teachers:
        try:
            values = store.read(name, clip_ids)
        except StoreError:  # pseudo labels of evaluation clips are for looking at alone
            return None
        found.append(torch.from_numpy(np.stack([values[clip_id] for clip_id in clip_ids])))
    if not found:
        return None
    if isinstance(objective, EventObjective):
        return both_teachers(*found)[:, :, None]
    return torch.stack(found, dim=2)


def _store_of(folder: Path) -> str:
    try:
        return str(json.loads((folder / RECORD).read_text())["store"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{folder} does not say which store it was trained on; give --store"
        ) from error
