"""Continual audio-video pre-training, from shards to a task × task matrix.

    python train/run.py --shards data/shards [--recipe tiny] [--stream S] [--method finetune]

Top to bottom: configure, load the stream, for each task train and evaluate on all, report.
Distributed: torchrun --nproc-per-node N train/run.py …
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Threads that wait for one another must not spin: on a busy machine that costs tenfold.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if __package__ in (None, ""):  # run as a file: the project's root is its parent's parent
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while it is being imported

import torch
from rich.console import Console

from avstore.train import checkpoint, dist
from avstore.train.batch_show import RECORD, record
from avstore.train.config import Config, load_config, other_settings, recipe_names
from avstore.train.data import (
    Batch,
    Remembered,
    SampleList,
    batches,
    known_statistics,
    open_store,
    steps_per_epoch,
)
from avstore.train.errors import UserError, make_folder
from avstore.train.evaluation.embed import Gallery, embed_all
from avstore.train.evaluation.forgetting import gap_difference
from avstore.train.evaluation.retrieval import chance, modality_gap, retrieval
from avstore.train.experiment import batch_spec, build, check_options, pick_device
from avstore.train.interrupts import Ending, StoppedError, exit_code
from avstore.train.methods import METHODS, find_method
from avstore.train.optim import set_lr
from avstore.train.progress import Display
from avstore.train.results import Row, matrix, summaries, summary_table, task_table, write
from avstore.train.step import Stepper
from avstore.train.tasks import Stream, load_stream, union
from avstore.train.tracking import Tracker, make_tracker


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    p = argparse.ArgumentParser(description="Continual audio-video pre-training from shards.")
    p.add_argument("--shards", required=True, help="STORE, STORE/shards, or s3://…")
    p.add_argument("--recipe", default="tiny", help=f"{', '.join(recipe_names())}, or a .toml")
    p.add_argument("--stream", help="task stream (default: the first whose tasks all have clips)")
    p.add_argument("--method", help=f"{', '.join(METHODS)}, or module:Class")
    p.add_argument("--seed", type=int)
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="optim.lr=1e-4")
    p.add_argument("--out", type=Path, help="default: runs/<recipe>-<method>-<stream>-seed<seed>")
    p.add_argument("--device", help="default: cuda where there is one, else cpu")
    p.add_argument("--workers", type=int, help="loader processes")
    p.add_argument(
        "--allow-changed-data",
        action="store_true",
        help="go on where the store's clips have changed, with a new epoch",
    )
    p.add_argument("--track", choices=["none", "tensorboard", "wandb"], default="none")
    return p.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """The exit code: `avstore.train.interrupts.exit_code`."""
    args = parse(argv)
    console = Console(highlight=False, soft_wrap=True)
    try:
        return exit_code(
            lambda ending: train(args, console, ending),
            "the same command continues from the last checkpoint, or begins anew",
        )
    finally:
        dist.stop()


def train(args: argparse.Namespace, console: Console, ending: Ending) -> None:
    """The whole run."""
    settings = {"method": args.method, "stream": args.stream, "seed": args.seed}
    sets = [*args.set, *([f"data.workers={args.workers}"] if args.workers is not None else [])]
    config = load_config(args.recipe, settings, sets)
    method_class = find_method(config.method)
    options = check_options(method_class, config)
    store = open_store(args.shards)
    stream = load_stream(store, config.stream)
    if config.data.statistics:
        mean, std = known_statistics(store, config.data.statistics)
        data = config.data.model_copy(update={"mean": mean, "std": std})
        config = config.model_copy(update={"data": data})
    config = config.model_copy(update={"stream": stream.name, "options": options})
    name = f"{config.recipe}-{config.method.replace(':', '.')}-{stream.name}-seed{config.seed}"
    folder = args.out or Path("runs") / name
    if finished(folder, config, stream, console):
        return
    device = pick_device(args.device)
    dist.start(device.type)
    console.quiet = dist.rank() > 0
    make_folder(folder)
    lists = [t.train for t in stream.tasks]
    if method_class.union_of_tasks:
        lists = [union(store, stream)]
    check_split(config, lists)
    stepper = build(config, method_class, options, device, len(lists[0]))
    tracker = make_tracker(args.track, folder, name)
    run = Run(config, stream, lists, stepper, folder, tracker, ending)
    told = record(config, lists, store.root, dist.active())
    run.restore(console, args.allow_changed_data)
    if dist.rank() == 0:
        checkpoint.write_atomically(folder / RECORD, json.dumps(told, indent=2).encode())
    parameters = sum(p.numel() for p in stepper.method.model.parameters())
    console.print(
        f"{name}: {len(lists)} task(s), {sum(map(len, lists))} clips, "
        f"{parameters / 1e6:.1f} M parameters, {device}, {dist.world_size()} process(es)"
    )
    run.go(console)
    if dist.rank() == 0:
        run.report(console)


def check_split(config: Config, lists: list[SampleList]) -> None:
    """Every process needs a part of every batch. Raises UserError."""
    world = dist.world_size()
    if config.batch_size % world or min(map(len, lists)) < world:
        raise UserError(
            f"batch_size {config.batch_size} and the smallest task ({min(map(len, lists))} clips) "
            f"must give each of the {world} processes the same, and something, to do"
        )


@dataclass
class Run:
    """A run's parts and where it stands: task, epoch, step in the epoch, step overall."""

    config: Config
    stream: Stream
    lists: list[SampleList]
    stepper: Stepper
    folder: Path
    tracker: Tracker
    ending: Ending
    task: int = 0
    epoch: int = 0
    step: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        self.rows: list[Row] = []
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
        """What is trained, in order."""
        return self.stream.names if len(self.lists) == len(self.stream.tasks) else ["joint"]

    def go(self, console: Console) -> None:
        """Train what is left. Told to stop, it does so between steps, with a checkpoint."""
        display = Display(console, self.total, self.steps)
        try:
            with display.shown(dist.rank() == 0):
                while self.task < len(self.lists):
                    for batch in display.meter.timed(self.batches()):
                        with self.ending.held():
                            self.train_on(batch, display)
                    gallery = self.embedded() if dist.rank() == 0 else None
                    with self.ending.held():
                        self.end_task(gallery, console)
        except StoppedError as stopped:
            if stopped.whole and not dist.active():
                self.save()
            raise StoppedError(f"stopped after step {self.steps} of {self.total}") from None
        self.rows.append(self.row(None, "samples_per_second", display.meter.rate))
        self.rows.append(self.row(None, "data_wait_share", display.meter.wait_share))

    def batches(self) -> Iterator[Batch]:
        """The rest of this task's batches, over epochs; moves `epoch` along."""
        while self.epoch < self.config.epochs:
            yield from batches(
                self.lists[self.task],
                self.specs[self.task],
                # Epochs are numbered through, so that no two tasks share an order or a crop.
                seed=self.config.seed,
                epoch=self.task * self.config.epochs + self.epoch,
                start_step=self.step,
                rank=dist.rank(),
                world_size=dist.world_size(),
                workers=self.config.data.workers,
            )
            self.epoch, self.step = self.epoch + 1, 0

    def train_on(self, batch: Batch, display: Display) -> None:
        """One step, and a checkpoint now and then."""
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

    def embedded(self) -> Gallery:
        """All tasks' evaluation clips by the model as it is, in one gallery."""
        spec = batch_spec(self.config, evaluation=True)
        lists = [task.evaluation for task in self.stream.tasks]
        model, device = self.stepper.method.evaluated(), self.stepper.device
        return embed_all(model, lists, spec, device, self.config.data.workers)

    def end_task(self, gallery: Gallery | None, console: Console) -> None:
        """After a task: its scores and weights (by the process that has a gallery); next task."""
        if gallery is not None:
            self.score(gallery, console)
            model, avm = self.stepper.method.evaluated(), getattr(self.stepper.method, "avm", None)
            weights = {"config": self.config.model_dump(mode="json"), "model": model.state_dict()}
            if isinstance(avm, torch.nn.Module):
                weights["avm"] = avm.state_dict()
            checkpoint.save_tensors(self.folder / f"task-{self.task + 1:02d}.pt", weights)
        self.task, self.epoch, self.step = self.task + 1, 0, 0
        self.save()

    def score(self, gallery: Gallery, console: Console) -> None:
        """Retrieval and modality gap on every task's clips."""
        tasks = self.stream.tasks
        groups = {t.name: gallery.rows(t.evaluation.clip_ids) for t in tasks}
        scores = retrieval(gallery.audio, gallery.video, groups, self.config.ties)
        for name, rows in {**groups, "all": list(range(len(gallery.clip_ids)))}.items():
            gap = modality_gap(gallery.audio[rows], gallery.video[rows])
            scores[name]["modality_gap"] = gap
        seen = [row for t in tasks[: self.task + 1] for row in groups[t.name]]
        gap = modality_gap(gallery.audio[seen], gallery.video[seen])
        scores["all"]["modality_gap_seen"] = gap
        for task, found in scores.items():
            self.rows += [self.row(task, metric, value) for metric, value in found.items()]
        self.tracker.log({f"eval/{k}": v for k, v in scores["all"].items()}, self.steps)
        both = (scores["all"]["a2v_avg"] + scores["all"]["v2a_avg"]) / 2
        console.print(f"after {self.names[self.task]}: mean recall over all tasks {both:.1f} %")

    def row(self, task: str | None, metric: str, value: float) -> Row:
        """One row of the results."""
        trained = self.names[min(self.task, len(self.lists) - 1)]
        return {
            "run": self.folder.name,
            "trained": trained,
            "task": task,
            "step": self.steps,
            "metric": metric,
            "value": value,
        }

    def save(self) -> None:
        """A checkpoint of everything that the next step depends on."""
        shared = {
            "fingerprint": self.config.fingerprint,
            "lists": self.stream.fingerprints,
            "clips": [asdict(Remembered.of(task.train)) for task in self.stream.tasks],
            "position": [self.task, self.epoch, self.step, self.steps],
            "rows": self.rows,
            **self.stepper.shared_state(),
        }
        checkpoint.save(self.folder / "checkpoints", self.steps, shared, self.stepper.own_state())

    def restore(self, console: Console, allow_changed_data: bool = False) -> None:
        """Continue from the folder's checkpoint; refuse one of other settings, or (unless it is
        allowed) of other clips, naming what came and went."""
        found = checkpoint.load(self.folder / "checkpoints")
        if found is None:
            return
        shared, own = found
        if shared["fingerprint"] != self.config.fingerprint:
            recorded = json.loads((self.folder / RECORD).read_text())
            raise other_settings(self.folder, recorded, self.config)
        changed = self.changed(shared)
        if changed and not allow_changed_data:
            raise UserError(
                f"{self.folder} was trained on other clips than the store has now: "
                f"{'; '.join(changed)}; give another --out, or --allow-changed-data to go on with "
                "a new epoch"
            )
        self.stepper.load(shared, own)
        self.task, self.epoch, self.step, self.steps = shared["position"]
        self.rows = shared["rows"]
        if changed and self.step:
            self.epoch, self.step = self.epoch + 1, 0
        console.print(f"continuing {self.folder} from step {self.steps} of {self.total}")

    def changed(self, shared: dict[str, Any]) -> list[str]:
        """Tasks whose clips are others than the checkpoint's, and how."""
        found = []
        for task, old, new, clips in zip(
            self.stream.tasks,
            shared["lists"],
            self.stream.fingerprints,
            shared["clips"],
            strict=True,
        ):
            if old != new:
                remembered = Remembered(**clips)
                same = remembered.fingerprint == task.train.fingerprint
                found.append(
                    f"{task.name}, {'evaluation' if same else remembered.difference(task.train)}"
                )
        return found

    def report(self, console: Console) -> None:
        """Table, plot, JSON and rows; then the run is complete."""
        from avstore.train.plots import plot_run  # noqa: PLC0415 -- a second to load, and not to begin with

        names = self.stream.names
        level = chance(len({clip for t in self.stream.tasks for clip in t.evaluation.clip_ids}))
        found = summaries(self.rows, names)
        plot_run(self.folder / "matrix.png", self.rows, names, self.folder.name, level)
        told: dict[str, Any] = {
            "fingerprint": self.config.fingerprint,
            "lists": self.stream.fingerprints,
            "config": self.config.model_dump(mode="json"),
            "tasks": names,
            "chance_avg": level,
            "summary": {metric: asdict(s) for metric, s in found.items()},
            "modality_gap_difference": gap_difference(matrix(self.rows, names, "modality_gap")),
            "torch": torch.__version__,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        write(self.folder, self.rows, told)
        console.print(task_table(self.rows, names, level))
        console.print(summary_table(found))
        console.print(f"plot {self.folder / 'matrix.png'}, rows {self.folder / 'results.duckdb'}")


def finished(folder: Path, config: Config, stream: Stream, console: Console) -> bool:
    """Whether this very run is complete already; says so."""
    path = folder / "results.json"
    if not path.is_file():
        return False
    results = json.loads(path.read_text())
    if results["fingerprint"] != config.fingerprint:
        raise other_settings(folder, results, config)
    if results["lists"] != stream.fingerprints:
        raise UserError(f"{folder} holds a finished run on other clips; give another --out")
    console.print(f"{folder} is finished already; its results are in {path}")
    return True


if __name__ == "__main__":
    sys.exit(main())
