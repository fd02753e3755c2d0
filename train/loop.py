"""The training loop: for each task, train on its batches, then evaluate on all tasks.

A run's position is (task, epoch, step of the epoch, step of the run). A checkpoint holds it with
everything that the next step depends on, so that a resumed run gives the same losses.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from avstore.train import checkpoint, dist
from avstore.train.config import Config
from avstore.train.data import Batch, SampleList, batches, steps_per_epoch
from avstore.train.data.resume_check import SampleListRecord
from avstore.train.errors import UserError
from avstore.train.evaluation.retrieval import modality_gap, retrieval
from avstore.train.experiment import batch_spec
from avstore.train.interrupts import Interrupted, SignalHandler
from avstore.train.optim import set_lr
from avstore.train.progress import Display, say
from avstore.train.results import Row
from avstore.train.runs import RECORD
from avstore.train.step import Stepper
from avstore.train.systems.cavmae.embed import Gallery, embed_all
from avstore.train.tasks import Stream
from avstore.train.tracking import Tracker

_LOG = logging.getLogger("avstore")


@dataclass
class TrainingLoop:
    """A run's parts and its position.

    Attributes:
        config: The configuration, with the stream's name and the method's options filled in.
        stream: The tasks, which are all evaluated.
        lists: What is trained on, in order: a list a task, or one list of all.
        stepper: Model, method and optimiser.
        folder: Where results go.
        tracker: Takes losses and scores.
        signals: Handler of SIGINT and SIGTERM.
        task: Index in `lists`.
        epoch: Epoch of the task, from 0.
        step: Steps done of the epoch.
        steps: Steps done of the run.
        rows: Results so far.
    """

    config: Config
    stream: Stream
    lists: list[SampleList]
    stepper: Stepper
    folder: Path
    tracker: Tracker
    signals: SignalHandler
    task: int = 0
    epoch: int = 0
    step: int = 0
    steps: int = 0
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        c = self.config
        self.specs = [
            batch_spec(c, drop_last=len(x) >= c.batch_size, pad_last=dist.active())
            for x in self.lists
        ]
        self.per_epoch = [
            steps_per_epoch(x, s) for x, s in zip(self.lists, self.specs, strict=True)
        ]
        self.total = c.epochs * sum(self.per_epoch)

    @property
    def names(self) -> list[str]:
        """Names of what is trained on, in order."""
        return self.stream.names if len(self.lists) == len(self.stream.tasks) else ["joint"]

    def run(self, console: Console) -> None:
        """Train and evaluate from the current position to the end.

        Raises:
            Interrupted: On a signal, between steps and after a checkpoint.
        """
        display = Display(console, self.total, self.steps)
        try:
            with display.shown(dist.rank() == 0):
                while self.task < len(self.lists):
                    for batch in display.meter.timed(self.batches()):
                        with self.signals.deferred():
                            self.train_on(batch, display)
                    gallery = self.embed() if dist.rank() == 0 else None
                    with self.signals.deferred():
                        self.end_task(gallery, console)
        except Interrupted as interrupt:
            if interrupt.clean and not dist.active():
                self.save()
            raise Interrupted(f"stopped after step {self.steps} of {self.total}") from None
        self.rows.append(self.row(None, "samples_per_second", display.meter.rate))
        self.rows.append(self.row(None, "data_wait_share", display.meter.wait_share))

    def batches(self) -> Iterator[Batch]:
        """Yield the remaining batches of this task, over its epochs, and advance `epoch`."""
        while self.epoch < self.config.epochs:
            yield from batches(
                self.lists[self.task],
                self.specs[self.task],
                # Epochs count through all tasks, so that no two tasks share an order or a crop.
                seed=self.config.seed,
                epoch=self.task * self.config.epochs + self.epoch,
                start_step=self.step,
                rank=dist.rank(),
                world_size=dist.world_size(),
                workers=self.config.data.workers,
            )
            self.epoch, self.step = self.epoch + 1, 0

    def train_on(self, batch: Batch, display: Display) -> None:
        """Take one step, and save a checkpoint every `steps_per_checkpoint` steps."""
        c, optimizer = self.config, self.stepper.optimizer
        set_lr(optimizer, c.optim, self.steps, self.total, self.per_epoch[self.task])
        losses = self.stepper.step(batch, self.steps)
        self.step, self.steps = self.step + 1, self.steps + 1
        losses["loss"] = sum(losses.values())
        self.rows += [self.row(None, name, value) for name, value in losses.items()]
        self.tracker.log(losses, self.steps)
        where = f"{self.names[self.task]} {self.epoch + 1}/{c.epochs}"
        display.step(where, losses["loss"], len(batch) * dist.world_size())
        if self.steps % c.steps_per_checkpoint == 0:
            self.save()

    def embed(self) -> Gallery:
        """Return the embeddings of all tasks' evaluation clips, in one gallery."""
        spec = batch_spec(self.config, evaluation=True)
        lists = [task.evaluation for task in self.stream.tasks]
        model, device = self.stepper.method.eval_model(), self.stepper.device
        return embed_all(model, lists, spec, device, self.config.data.workers)

    def end_task(self, gallery: Gallery | None, console: Console) -> None:
        """Score the gallery and save the weights (rank 0), then move to the next task."""
        if gallery is not None:
            self.score(gallery, console)
            method = self.stepper.method
            model, avm = method.eval_model(), getattr(method, "avm", None)
            weights = {"config": self.config.model_dump(mode="json"), "model": model.state_dict()}
            if isinstance(avm, torch.nn.Module):
                weights["avm"] = avm.state_dict()
            checkpoint.save_tensors(self.folder / f"task-{self.task + 1:02d}.pt", weights)
        _LOG.info("%s: task %s ends after step %d", self.folder, self.names[self.task], self.steps)
        self.task, self.epoch, self.step = self.task + 1, 0, 0
        self.save()

    def score(self, gallery: Gallery, console: Console) -> None:
        """Add retrieval scores and modality gaps of every task's clips to the rows."""
        tasks = self.stream.tasks
        groups = {t.name: gallery.rows(t.evaluation.clip_ids) for t in tasks}
        scores = retrieval(gallery.audio, gallery.video, groups, self.config.ties)
        for name, rows in {**groups, "all": list(range(len(gallery.clip_ids)))}.items():
            gap = modality_gap(gallery.audio[rows], gallery.video[rows])
            scores[name]["modality_gap"] = gap
        seen = [row for t in tasks[: self.task + 1] for row in groups[t.name]]
        gap = modality_gap(gallery.audio[seen], gallery.video[seen])
        scores["all"]["modality_gap_seen"] = gap
        for task, values in scores.items():
            self.rows += [self.row(task, metric, value) for metric, value in values.items()]
        self.tracker.log({f"eval/{k}": v for k, v in scores["all"].items()}, self.steps)
        both = (scores["all"]["a2v_avg"] + scores["all"]["v2a_avg"]) / 2
        say(console, f"after {self.names[self.task]}: mean recall over all tasks {both:.1f} %")

    def row(self, task: str | None, metric: str, value: float) -> Row:
        """Return one row of the results, at the current position."""
        return {
            "run": self.folder.name,
            "trained": self.names[min(self.task, len(self.lists) - 1)],
            "task": task,
            "step": self.steps,
            "metric": metric,
            "value": value,
        }

    def save(self) -> None:
        """Save a checkpoint of everything that the next step depends on."""
        shared = {
            "fingerprint": self.config.fingerprint,
            "lists": self.stream.fingerprints,
            "clips": [asdict(SampleListRecord.of(task.train)) for task in self.stream.tasks],
            "position": [self.task, self.epoch, self.step, self.steps],
            "rows": self.rows,
            **self.stepper.shared_state(),
        }
        checkpoint.save_checkpoint(
            self.folder / "checkpoints", self.steps, shared, self.stepper.own_state()
        )
        _LOG.info("%s: checkpoint of step %d saved", self.folder, self.steps)

    def restore(self, console: Console, allow_changed_data: bool = False) -> None:
        """Continue from the folder's last checkpoint, if there is one.

        Args:
            console: Says which step the run continues from.
            allow_changed_data: Accept a store whose clips have changed, and begin a new epoch.

        Raises:
            UserError: The checkpoint has other settings or other clips; names them.
        """
        found = checkpoint.load_checkpoint(self.folder / "checkpoints")
        if found is None:
            return
        shared, own = found
        if shared["fingerprint"] != self.config.fingerprint:
            recorded = json.loads((self.folder / RECORD).read_text())
            raise self.config.other_settings(self.folder, recorded)
        changed = self.changed_clips(shared)
        if changed and not allow_changed_data:
            raise UserError(
                f"{self.folder} was trained on other clips than the store holds now: "
                f"{'; '.join(changed)}; give another --out, or --allow-changed-data to continue "
                "with a new epoch"
            )
        self.stepper.load(shared, own)
        self.task, self.epoch, self.step, self.steps = shared["position"]
        self.rows = shared["rows"]
        if changed and self.step:
            self.epoch, self.step = self.epoch + 1, 0
        say(console, f"continuing {self.folder} from step {self.steps} of {self.total}")

    def changed_clips(self, shared: dict[str, Any]) -> list[str]:
        """Return, a line a task, how its clips differ from a checkpoint's."""
        tasks = self.stream.tasks
        lines = []
        for task, old, new, clips in zip(
            tasks, shared["lists"], self.stream.fingerprints, shared["clips"], strict=True
        ):
            if old != new:
                record = SampleListRecord(**clips)
                same = record.fingerprint == task.train.fingerprint
                difference = "evaluation" if same else record.difference(task.train)
                lines.append(f"{task.name}, {difference}")
        return lines
