"""What a trained parsing network says of the clips that its run reports on."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avstore.manifests.store import StoreError
from avstore.train.config import Config, parse_config
from avstore.train.data import OpenStore, open_store
from avstore.train.errors import UserError
from avstore.train.experiment import build_objective, wanted_of
from avstore.train.objective import eval_mode
from avstore.train.results import RESULTS
from avstore.train.runs import RECORD, read_run
from avstore.train.scoring import Scoring
from avstore.train.systems.valor.objective import ValorObjective, truth_of
from avstore.train.tasks import load_tasks


@dataclass(frozen=True)
class Predictions:
    """Probabilities and truths of clips; modalities are audio, then visual.

    Attributes:
        clip_ids: The clips, N.
        labels: Names of the classes, C.
        seconds: Probability of each class in each second, [N, 10, 2, C].
        video: Probability of each class in the clip, [N, C].
        truth: 0 or 1, [N, 10, 2, C].
        teachers: Pseudo labels, [N, 10, 2, C]; None if the network has not learnt from any.
    """

    clip_ids: list[str]
    labels: list[str]
    seconds: Tensor
    video: Tensor
    truth: Tensor
    teachers: Tensor | None

    def events(self, threshold: float) -> Tensor:
        """Return which classes are in each second, of those in the clip, bool [N, 10, 2, C]."""
        return (self.seconds >= threshold) & (self.video >= threshold)[:, None, None]

    @property
    def annotated(self) -> Tensor:
        """Which clips have a dense annotation, bool [N]."""
        return self.truth.flatten(1).any(1)


def load_run(folder: Path) -> Config:
    """Return the configuration of a finished run of HAN or VALOR.

    Raises:
        StoreError: The folder holds no run.
        UserError: The run is of another system, or not finished.
    """
    run = read_run(folder, folder.name)
    if (system := run.settings.get("system", "cavmae")) != "valor":
        raise UserError(f"{folder} is a run of system {system}, not valor")
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
    if not isinstance(objective, ValorObjective):
        raise UserError(f"{folder} is no run of HAN or VALOR")
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
    return Predictions(clip_ids, labels, seconds, video, truth, teachers)


@torch.no_grad()
def _parsed(
    objective: ValorObjective, scoring: Scoring
) -> Iterator[tuple[list[str], tuple[Tensor, ...]]]:
    with eval_mode(objective):
        for batch in scoring.batches(objective.spec(training=False)):
            parsed = objective.parse(batch)
            parts = (parsed.logits.sigmoid(), parsed.video, truth_of(batch))
            yield batch.clip_ids, tuple(part.float().cpu() for part in parts)


def _teachers(objective: ValorObjective, store: OpenStore, clip_ids: list[str]) -> Tensor | None:
    """Return the pseudo labels of clips; None if the system needs none or a clip has none."""
    found = []
    for name in objective.settings.teachers:
        try:
            values = store.read(name, clip_ids)
        except StoreError:  # pseudo labels of evaluation clips are for looking at alone
            return None
        found.append(torch.from_numpy(np.stack([values[clip_id] for clip_id in clip_ids])))
    return torch.stack(found, dim=2) if found else None


def _store_of(folder: Path) -> str:
    try:
        return str(json.loads((folder / RECORD).read_text())["store"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{folder} does not say which store it was trained on; give --store"
        ) from error
