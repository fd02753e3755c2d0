"""The training loop: for each task, train on its batches, then evaluate on all tasks.

A run consumes its plan (data/plan.py), so its position is a task and a step of the plan. A
checkpoint holds it with everything that the next step depends on, so that a resumed run gives the
same losses, on as many processes or another number of them.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice
from math import nan
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from avstore.train import checkpoint, dist
from avstore.train.clip_scores import write_clip_scores
from avstore.train.config import RunConfig
from avstore.train.data import Batch, ContinualPlan, Loader
from avstore.train.data.resume_check import SampleListRecord
from avstore.train.errors import UserError
from avstore.train.interrupts import Interrupted, SignalHandler
from avstore.train.loader_settings import policy
from avstore.train.objective import Scores
from avstore.train.optim import Progress, set_lr
from avstore.train.progress import Display, say
from avstore.train.results import EPOCH, Row, score_rows
from avstore.train.runs import RECORD
from avstore.train.scoring import Scoring
from avstore.train.selection import Selection
from avstore.train.step import Stepper
from avstore.train.task_matrix import Measure
from avstore.train.tasks import Stream
from avstore.train.tracking import Tracker

_LOG = logging.getLogger("avstore")


@dataclass
class TrainingLoop:
    """A run's parts and its position.

    Attributes:
        config: The configuration, with the stream's name and the method's options filled in.
        stream: The tasks, which are all evaluated.
        plan: What each step trains on.
        stepper: Model, method and optimiser.
        folder: Where results go.
        tracker: Takes losses and scores.
        signals: Handler of SIGINT and SIGTERM.
        task: Number of the task of the plan.
        steps: Steps done of the run.
        between_steps: Whether the method's state is that after `steps` steps; it is not while a
            task ends.
        rows: Results so far.
        selection: Scores of epochs, and the weights that a run of one task reports.
        scoring: What is scored after a task.
        validation: What is scored after an epoch.
        saved: Task, steps and scored epochs of the last checkpoint that this process saved.
    """

    config: RunConfig
    stream: Stream
    plan: ContinualPlan
    stepper: Stepper
    folder: Path
    tracker: Tracker
    signals: SignalHandler
    task: int = 0
    steps: int = 0
    between_steps: bool = True
    rows: list[Row] = field(default_factory=list)
    saved: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        c = self.config
        self.selection = Selection(c.select, c.average)
        self.scoring = Scoring(self.stream, c.data.workers, self.stepper.device)
        validated = self.stream.validated if c.select_on == "val" else self.stream
        self.validation = replace(self.scoring, stream=validated)

    @property
    def names(self) -> list[str]:
        """Names of what is trained on, in order."""
        return [task.name for task in self.plan.tasks]

    @property
    def total(self) -> int:
        """Steps of the run."""
        return len(self.plan)

    def run(self, console: Console) -> None:
        """Train and evaluate from the current position to the end.

        Raises:
            Interrupted: On a signal, between steps and after a checkpoint.
        """
        display = Display(console, self.total, self.steps)
        try:
            with display.shown(dist.rank() == 0):
                batches = display.meter.timed(self.batches())
                while self.task < len(self.plan.tasks):
                    self.train_task(batches, display)
                    scores = self.score(final=True) if dist.rank() == 0 else None
                    with self.signals.deferred():
                        self.end_task(scores, console)
        except Interrupted as interrupt:
            if interrupt.clean and not dist.active() and self.between_steps:
                self.save()
            raise Interrupted(f"stopped after step {self.steps} of {self.total}") from None
        self.rows.append(self.row(None, "samples_per_second", display.meter.rate))
        self.rows.append(self.row(None, "data_wait_share", display.meter.wait_share))

    def score_initial(self, console: Console) -> None:
        """Score the weights as they are, as those after the only task."""
        if dist.rank() == 0:
            self.record(self.score(final=True), console)

    def batches(self) -> Iterator[Batch]:
        """Yield this process's part of each step of the plan, from the current one."""
        loader = Loader(
            self.plan,
            self.stepper.method.objective.spec(training=True),
            rank=dist.rank(),
            world_size=dist.world_size(),
            workers=self.config.data.workers,
            policy=policy(self.config.data),
        )
        loader.step = self.steps
        yield from loader

    def train_task(self, batches: Iterator[Batch], display: Display) -> None:
        """Take the remaining steps of the current task."""
        first, end = self.plan.boundaries[self.task : self.task + 2]
        method = self.stepper.method
        if self.steps == first:
            method.task_started(self.task)
        self.score_epoch()
        for batch in islice(batches, int(end) - self.steps):
            with self.signals.deferred():
                self.train_on(batch, display)
            self.score_epoch()
        self.save()
        self.between_steps = False
        if (chosen := self.selection.chosen()) is not None:
            method.evaluated().load_state_dict(chosen)
        method.task_ended(self.task, self.plain_batches)

    def plain_batches(self) -> Iterator[Batch]:
        """Yield the training clips of the current task once, without augmentation."""
        spec = self.stepper.method.objective.spec(training=False)
        name = self.names[self.task]
        own = [task.train for task in self.stream.tasks if name in (task.name, "joint")]
        for samples in own:
            for batch in Loader(samples, spec, workers=self.config.data.workers):
                yield batch.to(self.stepper.device)

    def train_on(self, batch: Batch, display: Display) -> None:
        """Take one step, and save a checkpoint every `steps_per_checkpoint` steps."""
        c, optimizer = self.config, self.stepper.optimizer
        per_epoch = self.plan.steps_per_epoch(self.task)
        scores = self.selection.scores
        at = Progress(self.steps, self.total, per_epoch, c.batch_size, scores)
        set_lr(optimizer, c.optim, at)
        epoch = self.plan.position(self.steps).epoch
        losses = self.stepper.step(batch, self.steps)
        self.steps += 1
        losses["loss"] = sum(losses.values())
        losses |= self.stepper.diagnostics
        self.rows += [self.row(None, name, value) for name, value in losses.items()]
        self.tracker.log(losses, self.steps)
        where = f"{self.names[self.task]} {epoch + 1}/{c.epochs}"
        display.step(where, losses["loss"], len(batch) * dist.world_size())
        if self.steps % c.steps_per_checkpoint == 0:
            self.save()

    def score_epoch(self) -> None:
        """Score after an epoch, if the config says so and it has not been scored yet."""
        _, epoch, step, _ = self.position()
        done = self.task * self.config.epochs + epoch
        if self.config.evaluate != "epoch" or step or done == len(self.selection.scores):
            return
        values = self.score(final=False)["all"] if dist.rank() == 0 else {}
        self.rows += [self.row(EPOCH, name, value) for name, value in values.items()]
        score = dist.of_first(self.headline(values) if values else 0.0)
        weights = self.stepper.method.evaluated().state_dict()
        self.selection.add(score, weights if self.selection.needs_weights else {})

    def headline(self, values: Mapping[str, float]) -> float:
        """Return the score that the task matrix shows, of the scores of some clips.

        It is nan if no class can be scored.
        """
        shown = self.measure.shown
        return sum(values.get(name, nan) for name in shown) / len(shown)

    @cached_property
    def measure(self) -> Measure:
        """What the task matrix shows."""
        return self.stepper.method.objective.measure(self.scoring.clips)

    def score(self, *, final: bool) -> Scores:
        """Return the scores after a task, or after an epoch."""
        tasks = len(self.stream.tasks)
        trained = self.task + 1 if len(self.names) == tasks else tasks
        scoring = self.scoring if final else self.validation
        return scoring.scores(self.stepper.method.evaluated(), trained, final=final)

    def end_task(self, scores: Scores | None, console: Console) -> None:
        """Record the scores and save the weights (rank 0), then move to the next task."""
        if scores is not None:
            self.record(scores, console)
            method = self.stepper.method
            avm, model = getattr(method, "avm", None), method.evaluated().weights()
            weights = {"config": self.config.model_dump(mode="json"), "model": model}
            if isinstance(avm, torch.nn.Module):
                weights["avm"] = avm.state_dict()
            checkpoint.save_tensors(self.folder / f"task-{self.task + 1:02d}.pt", weights)
        _LOG.info("%s: task %s ends after step %d", self.folder, self.names[self.task], self.steps)
        self.task += 1
        self.between_steps = True
        self.save()

    def record(self, scores: Scores, console: Console) -> None:
        """Add the scores to the rows."""
        self.rows += score_rows(scores, self.folder.name, self.trained, self.steps)
        self.tracker.log({f"eval/{k}": v for k, v in scores["all"].items()}, self.steps)
        by_clip = self.stepper.method.evaluated().clip_scores
        if by_clip is not None:
            write_clip_scores(self.folder, by_clip)
        value = self.headline(scores["all"])
        name = self.measure.name
        say(console, f"after {self.names[self.task]}: {name} over all tasks {value:.1f} %")

    @property
    def trained(self) -> str:
        """Name of the task that is trained, or was trained last."""
        return self.names[min(self.task, len(self.names) - 1)]

    def row(self, task: str | None, metric: str, value: float) -> Row:
        """Return one row of the results, at the current position."""
        return {
            "run": self.folder.name,
            "trained": self.trained,
            "task": task,
            "step": self.steps,
            "metric": metric,
            "value": value,
        }

    def save(self) -> None:
        """Save a checkpoint of everything that the next step depends on, if it is not saved yet."""
        state = (self.task, self.steps, len(self.selection.scores))
        if state == self.saved:
            return
        shared = {
            "fingerprint": self.config.fingerprint,
            "lists": self.stream.fingerprints,
            "clips": [asdict(SampleListRecord.of(task.train)) for task in self.stream.tasks],
            "position": self.position(),
            "rows": self.rows,
            "selection": self.selection.state_dict(),
            **self.stepper.shared_state(),
        }
        checkpoint.save_checkpoint(
            self.folder / "checkpoints", self.steps, shared, self.stepper.own_state()
        )
        self.saved = state
        _LOG.info("%s: checkpoint of step %d saved", self.folder, self.steps)

    def position(self) -> list[int]:
        """Return task, epoch and step of the epoch of the next step, and the steps done."""
        if self.task == len(self.names) or self.steps == self.plan.boundaries[self.task + 1]:
            return [self.task, self.config.epochs, 0, self.steps]
        at = self.plan.position(self.steps)
        return [at.task, at.epoch, at.step, self.steps]

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
        shared, parts = found
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
        self.stepper.load(shared, parts)
        self.task, epoch, step, self.steps = shared["position"]
        self.rows = shared["rows"]
        self.selection.load_state_dict(shared["selection"])
        if changed:
            self.steps = self.plan.first_step(self.task, epoch + (step > 0))
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
